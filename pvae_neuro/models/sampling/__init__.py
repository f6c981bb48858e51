"""Random counts and Gaussian values through which gradients pass."""
