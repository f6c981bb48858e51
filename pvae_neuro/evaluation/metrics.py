"""Decoder elements of a model, and their kurtosis."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pvae_neuro.models.base import Model
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.saved.model_file import SavedModel

Float32 = NDArray[np.float32]


def elements(model: Model | SavedModel) -> Float32:
    """What one unit of each latent adds to the reconstruction, [K, M], most kurtotic first.

    For a linear decoder these are the columns of its dictionary.
    """
    module = model_from_saved(model) if isinstance(model, SavedModel) else model
    with torch.no_grad():
        size = module.config.latents
        ones = torch.eye(size, device=next(module.parameters()).device)
        added = (module.decode(ones) - module.decode(torch.zeros_like(ones))).cpu().numpy()
    order: NDArray[np.int64] = np.argsort(-kurtosis(added), kind="stable")
    return np.asarray(added[order], np.float32)


def kurtosis(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Excess kurtosis of each row of [n, M]; zero for a row without variance."""
    centered = values - values.mean(axis=1, keepdims=True, dtype=np.float64)
    variance = (centered**2).mean(axis=1)
    fourth = (centered**4).mean(axis=1)
    flat = variance <= 1e-24
    return np.where(flat, 0.0, fourth / np.where(flat, 1.0, variance) ** 2 - 3.0)
