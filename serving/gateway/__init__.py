"""The gateway in front of Triton: one address, probed readiness, request checks, reloads without downtime."""
