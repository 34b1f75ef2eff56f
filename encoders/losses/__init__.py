"""Training losses as pure functions of tensors, each equal to a plain reference in the tests.

Rows are unit vectors, and column i belongs to row i: a pair's own partner is a positive of it even where
its identity is unknown. Everything is computed in fp32 (float64 stays), under autocast too. Features of
several processes are gathered by the caller.
"""
