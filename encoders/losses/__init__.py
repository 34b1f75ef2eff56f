"""Training losses as pure functions of tensors; the tests compare each with a simple reference.

Rows are unit vectors. Row i and column i belong to one pair, so they are positives of each other even if the
pair's identity is unknown. Everything is computed in fp32 (float64 stays), also under autocast. The caller
gathers the features of several processes.
"""
