"""Decoder elements of a model, their kurtosis, and the sparsity of responses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
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


def sparsity(responses: NDArray[np.floating[Any]], axis: int) -> float:
    """Sparsity of responses after Vinje and Gallant (2000, doi:10.1126/science.287.5456).

    ``(1 - <|r|>² / <r²>) / (1 - 1/n)`` along an axis, averaged over the other: 0 where all respond
    alike, 1 where a single one responds. Those that never respond are left out; NaN if none does.
    For responses [N images, K latents], axis 0 gives lifetime sparsity (over images) and axis 1
    population sparsity (over latents).
    """
    count = responses.shape[axis]
    if count < 2:
        raise InputError(f"sparsity: expected at least 2 responses along axis {axis}, got {count}")
    sizes = np.abs(responses.astype(np.float64))
    squares = np.square(sizes).mean(axis=axis)
    alive = squares > 0
    if not alive.any():
        return float("nan")
    filled = sizes.mean(axis=axis)[alive] ** 2 / squares[alive]
    return float((1.0 - filled).mean() / (1.0 - 1.0 / count))
