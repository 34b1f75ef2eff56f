"""Stages of the review loop: survey, sheets, judgements, evaluation."""
