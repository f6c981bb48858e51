"""Measures that several experiments use: distance, interpolation, classification."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

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
