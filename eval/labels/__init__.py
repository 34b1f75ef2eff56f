"""Filled-in label files: every row becomes a judgement, is given back with its reason, or is counted."""

from mmprod.eval.labels.read import MAX_BYTES, LabelFile, read_copy, read_labels
from mmprod.eval.labels.rejected import write_rejected

__all__ = ["MAX_BYTES", "LabelFile", "read_copy", "read_labels", "write_rejected"]
