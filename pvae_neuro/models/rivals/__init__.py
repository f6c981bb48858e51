"""Families that the iterative Poisson VAE is compared with."""
