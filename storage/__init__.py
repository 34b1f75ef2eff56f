"""Durable files, locks and generations. The lowest layer: it imports none of the other folders."""
