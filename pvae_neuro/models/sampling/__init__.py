"""Random latents that carry gradients: relaxed and exact Poisson counts, normal numbers."""
