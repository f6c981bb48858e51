"""The linear model's training window on compiled kernels, with gradients written by hand."""
