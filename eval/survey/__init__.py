"""Surveys: planning their size, and drawing the anchors and pairs for reviewers."""
