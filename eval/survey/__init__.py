"""Surveys: which anchors and pairs reviewers are asked about, and how many it takes."""
