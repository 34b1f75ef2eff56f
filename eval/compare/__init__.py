"""One system against another and one week against the next."""
