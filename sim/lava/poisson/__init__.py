"""Poisson neurons as a Lava Process."""
