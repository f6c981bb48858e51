"""Poisson families: iterative with one or two levels, and amortized."""
