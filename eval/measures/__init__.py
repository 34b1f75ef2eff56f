"""Measures of ranked lists, one per file: each has a name, a cut-off and its estimators."""
