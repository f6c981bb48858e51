"""Sparsity of responses after Vinje and Gallant (2000, doi:10.1126/science.287.5456)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError

Responses = NDArray[np.floating[Any]]


def sparsity(responses: Responses, axis: int, *, silent: float | None = None) -> float:
    """``(1 - <|r|>² / <r²>) / (1 - 1/n)`` along an axis, averaged over the other.

    0 where all respond alike, 1 where a single one responds. For responses [N images, K latents],
    axis 0 gives lifetime sparsity (over images) and axis 1 population sparsity (over latents).

    Parameters
    ----------
    responses : float [N, K]
    axis : int
    silent : float, optional
        The sparsity of what never responds; by default it is left out, and the result is NaN if
        nothing responds.

    Raises
    ------
    InputError
        If there are fewer than two responses along the axis.
    """
    count = responses.shape[axis]
    if count < 2:
        raise InputError(f"sparsity: expected at least 2 responses along axis {axis}, got {count}")
    sizes = np.abs(responses.astype(np.float64))
    squares = np.square(sizes).mean(axis=axis)
    alive = squares > 0
    filled = np.square(sizes.mean(axis=axis)[alive]) / squares[alive]
    found = (1.0 - filled) / (1.0 - 1.0 / count)
    if silent is not None:
        found = np.concatenate([found, np.full(len(alive) - len(found), silent)])
    return float(found.mean()) if len(found) else float("nan")


def lifetime_sparsity(samples: Responses) -> float:
    """Lifetime sparsity of samples [N, K], silent latents as 1.

    PoissonVAE ``analysis/eval.py``, ``sparse_score``, on magnitudes as ``analysis/final.py`` calls
    it; its training log gives it signed Gaussian samples, whose sums cancel and look sparse.
    """
    return sparsity(samples, 0, silent=1.0)


def population_sparsity(samples: Responses) -> float:
    """Population sparsity of samples [N, K], silent images as 1; see :func:`lifetime_sparsity`."""
    return sparsity(samples, 1, silent=1.0)
