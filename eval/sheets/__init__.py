"""Sheets of questions for reviewers: CSV, XLSX, a page that needs no server, Label Studio."""
