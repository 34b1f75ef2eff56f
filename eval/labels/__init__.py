"""Filled-in label files: every row becomes a judgement, is given back with its reason, or is counted."""

from mmprod.eval.labels.read import LabelFile, read_labels
from mmprod.eval.labels.rejected import write_rejected

__all__ = ["LabelFile", "read_labels", "write_rejected"]
