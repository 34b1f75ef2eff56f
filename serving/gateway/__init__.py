"""The gateway in front of Triton: one address, true readiness, clear refusals, reloads without a gap."""
