"""Measures of ranked lists: each a value with its name, its cut-off and its estimators, a file a measure."""
