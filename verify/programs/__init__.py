"""Functions of PyTorch and JAX as cases: their programs, run on tracers, without a rule of theirs."""
