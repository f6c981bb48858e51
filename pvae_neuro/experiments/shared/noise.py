"""Noise in images."""

from __future__ import annotations

import numpy as np

from pvae_neuro.saved.model_file import Float32


def noisy(pixels: Float32, sd: float, seed: int) -> Float32:
    """Pixels [N, M] in [0, 1] with normal noise of a seed, clipped to [0, 1]."""
    noise = np.random.default_rng(seed).standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(pixels + np.float32(sd) * noise, 0, 1)
