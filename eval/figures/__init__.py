"""Figures from verdicts: precision, P@k, mAP@k, recall, thresholds and groups, with intervals."""
