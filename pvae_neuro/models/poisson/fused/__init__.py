"""Windows of time steps on compiled kernels, with gradients written by hand."""
