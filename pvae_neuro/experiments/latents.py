"""What experiments measure on latents: how sparse they are, and how well a class reads off them."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineUnavailableError, InputError
from pvae_neuro.evaluation.infer import Trace, infer
from pvae_neuro.experiments.context import Context
from pvae_neuro.saved.model_file import Float32, SavedModel

AMORTIZED = ("pvae-", "gvae-")
"""Families whose inference is one pass through an encoder begin so."""


def is_amortized(family: str) -> bool:
    """Whether inference is one pass, so that further iterations only sample again."""
    return family.startswith(AMORTIZED)


def iterations_of(family: str, steps: int) -> int:
    """Iterations to infer with: ``steps``, or one where inference is one pass."""
    return 1 if is_amortized(family) else steps


def weights_digest(model: SavedModel) -> str:
    """Short digest of a model's arrays, for the settings of :meth:`Context.part`."""
    digest = hashlib.sha256()
    for name in sorted(model.arrays):
        digest.update(name.encode() + np.ascontiguousarray(model.arrays[name]).tobytes())
    return digest.hexdigest()[:16]


def telling(context: Context, stage: str, total: int) -> Callable[[int], None]:
    """Turn amounts of work done since the last call into how far a stage is.

    Parameters
    ----------
    context : Context
    stage : str
    total : int
        Units of the whole stage.

    Returns
    -------
    callable
        Takes the units done since its last call.
    """
    done = 0

    def progress(amount: int) -> None:
        nonlocal done
        done += amount
        context.tell(stage, done, total)

    return progress


def infer_shown(
    context: Context, stage: str, model: SavedModel, inputs: Float32, steps: int, average: int = 1
) -> Trace:
    """:func:`~pvae_neuro.evaluation.infer.infer` with the run's seed, its progress told."""
    progress = telling(context, stage, len(inputs) * steps)
    return infer(model, inputs, steps, context.seed, average=average, progress=progress)


def curves_of(trace: Trace) -> dict[str, list[float]]:
    """Curves of a trace as plain values, for JSON."""
    names = ("mse", "mse_mean", "r2", "r2_mean", "zeros", "change")
    return {name: getattr(trace, name).tolist() for name in names}


def distance(r2: float, zeros: float) -> float:
    """Distance from perfect reconstruction at perfect sparsity.

    ``d = sqrt((1 - R²)² + (1 - zeros)²)``, arXiv:2410.19315, figure 4.
    """
    return math.hypot(1.0 - r2, 1.0 - zeros)


def interpolate(points: list[tuple[float, float]], at: float) -> float | None:
    """Value between the neighbouring settings of a sweep, linear.

    Parameters
    ----------
    points : list of (float, float)
        Places and values, in any order.
    at : float
        Place asked for.

    Returns
    -------
    float or None
        None where the place lies outside the sweep.
    """
    places = np.array(sorted(points), dtype=np.float64)
    if not len(places) or not places[0, 0] <= at <= places[-1, 0]:
        return None
    return float(np.interp(at, places[:, 0], places[:, 1]))


def sparsity(responses: NDArray[np.floating[Any]], axis: int) -> float:
    """Sparsity of responses in the sense of Vinje and Gallant (2000, doi:10.1126/science.287.5456).

    ``(1 - <|r|>² / <r²>) / (1 - 1/n)`` along an axis, averaged over the other: 0 where all respond
    alike, 1 where a single one responds. What never responds is left out.

    Parameters
    ----------
    responses : float [N, K]
        One row an image.
    axis : int
        0 for lifetime sparsity (over images), 1 for population sparsity (over latents).

    Returns
    -------
    float
        NaN if nothing responds.

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
    """Accuracy of a logistic regression on latents.

    Parameters
    ----------
    train, test : float32 [N, K]
        Latents. All are divided by one number, the root mean square of the training ones, so that
        the penalty means the same for counts and for Gaussian latents.
    train_labels, test_labels : int64 [N]
    penalty : float
        Inverse strength of the L2 penalty, scikit-learn's ``C``.
    iterations : int
        At most, of L-BFGS.

    Returns
    -------
    float
        Share of the test images that it gets right.

    Raises
    ------
    EngineUnavailableError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise EngineUnavailableError(
            "classification needs scikit-learn: pip install scikit-learn"
        ) from error
    scale = float(np.sqrt(np.mean(np.square(train, dtype=np.float64)))) or 1.0
    regression = LogisticRegression(C=penalty, max_iter=iterations)
    with warnings.catch_warnings():
        # The bound on iterations is meant: accuracy stands still long before the weights do.
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(train / scale, train_labels)
    return float(regression.score(test / scale, test_labels))
