"""Writes sheets of questions for reviewers: CSV, XLSX, an HTML page without a server, Label Studio."""
