"""Reading filled-in label files: each row becomes a judgement, is rejected with a reason, or is counted."""

from mmprod.eval.labels.read import MAX_BYTES, LabelFile, read_copy, read_labels
from mmprod.eval.labels.rejected import write_rejected

__all__ = ["MAX_BYTES", "LabelFile", "read_copy", "read_labels", "write_rejected"]
