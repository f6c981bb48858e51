"""Families that the Poisson VAE is compared with."""
