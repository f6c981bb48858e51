"""Poisson VAEs, iterative and amortized."""
