"""Measures that several experiments use: distance, sparsity, interpolation, classification."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.saved.model_file import Float32
from pvae_neuro.utils.optional import require


def distance(r2: float, zeros: float) -> float:
    """Distance from perfect reconstruction at perfect sparsity.

    ``d = sqrt((1 - R²)² + (1 - zeros)²)``, arXiv:2410.19315, figure 4.
    """
    return math.hypot(1.0 - r2, 1.0 - zeros)


def interpolate(points: list[tuple[float, float]], at: float) -> float | None:
    """Value at ``at``, linear between neighbouring points (x, value); None outside of them."""
    ordered = np.array(sorted(points), dtype=np.float64)
    if not len(ordered) or not ordered[0, 0] <= at <= ordered[-1, 0]:
        return None
    return float(np.interp(at, ordered[:, 0], ordered[:, 1]))


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


def classification_accuracy(
    train: Float32,
    train_labels: NDArray[np.int64],
    test: Float32,
    test_labels: NDArray[np.int64],
    *,
    penalty: float = 1.0,
    iterations: int = 300,
) -> float:
    """Accuracy, between 0 and 1, of a logistic regression on latents [N, K].

    All latents are divided by the root mean square of the training ones, so that ``penalty``
    (scikit-learn's ``C``, the inverse strength of the L2 penalty) means the same for counts and for
    Gaussian latents. ``iterations`` limits L-BFGS.
    """
    models = require("sklearn.linear_model", "experiments", "classification")
    exceptions = require("sklearn.exceptions", "experiments", "classification")
    scale = float(np.sqrt(np.mean(np.square(train, dtype=np.float64)))) or 1.0
    regression = models.LogisticRegression(C=penalty, max_iter=iterations)
    with warnings.catch_warnings():
        # Stopping early is intended: accuracy settles long before the weights do.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        regression.fit(train / scale, train_labels)
    return float(regression.score(test / scale, test_labels))
