"""From answers to verdicts, and how far reviewers can be relied on."""
