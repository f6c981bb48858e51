"""How much a model fires on its own training images: what its file keeps, to compare with.

Training writes it as ``activity`` into the provenance of the model; :func:`trained_share` reads
of it what calibration needs. Files that something else wrote have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.saved.model_file import ModelConfig

KEY = "activity"
PERCENTILES = (50, 90, 99, 100)
# Numbers are kept to so many digits: the last ones hang on how a processor adds up.
DIGITS = 4
# What overflows is kept as this.
LARGEST = 1e30


def trained_share(config: ModelConfig) -> float | None:
    """Share of latents that fire on the model's training images; None where the file has none."""
    kept = config.training.get(KEY)
    active = kept.get("active") if isinstance(kept, Mapping) else None
    if isinstance(active, bool) or not isinstance(active, int | float):
        return None
    return float(active) if 0.0 <= active <= 1.0 else None


def described(latents: NDArray[Any], rates: NDArray[Any], iterations: int) -> dict[str, Any]:
    """What a file keeps of latents and their means.

    Parameters
    ----------
    latents, rates : float [N, K]
        Latents, such as spike counts, after the last iteration, and their posterior means.
    iterations : int

    Returns
    -------
    dict
        ``images``, ``iterations``, ``active`` (share of latents that are not zero), ``mean``
        magnitude of a latent, and percentiles of the magnitudes of ``counts`` and ``rates``.
    """
    sizes = _sizes(latents)
    return {
        "images": len(latents),
        "iterations": iterations,
        "active": _rounded((sizes > 0).mean()),
        "mean": _rounded(sizes.mean()),
        "counts": _percentiles(sizes),
        "rates": _percentiles(_sizes(rates)),
    }


def _sizes(values: NDArray[Any]) -> NDArray[np.float64]:
    """Magnitudes; what overflowed is the largest."""
    finite = np.nan_to_num(np.abs(values.astype(np.float64)), nan=LARGEST, posinf=LARGEST)
    return np.minimum(finite, LARGEST)


def _percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    found = np.percentile(values, PERCENTILES, method="lower")
    return {f"{p}": _rounded(value) for p, value in zip(PERCENTILES, found, strict=True)}


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
