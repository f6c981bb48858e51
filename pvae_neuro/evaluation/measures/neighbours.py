"""Nearest neighbours with few labels (arXiv:2405.14473, tables 3 and 5)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.utils.optional import require
from pvae_neuro.utils.progress import Advance, no_advance

NEIGHBOURS = 5
LABELS = (200, 1000, 5000)
"""Numbers of labelled samples of the published tables; the last is half of MNIST's test digits."""
DRAWS = 100
"""How often the authors draw labelled samples."""


def neighbour_accuracies(
    codes: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    *,
    counts: tuple[int, ...] = LABELS,
    draws: int = DRAWS,
    seed: int = 0,
    advance: Advance = no_advance,
) -> dict[int, list[float]]:
    """Accuracies of nearest neighbours on the second half of the samples, by count and draw.

    Five neighbours, one vote each, Euclidean distance between codes as they are: PoissonVAE
    ``analysis/eval.py``, ``knn_analysis``. The authors' codes (``base/helper.py``, ``model2key``)
    are ``log_dr`` of Poisson latents and ``loc`` of Gaussian ones, never samples:
    :meth:`~pvae_neuro.models.base.Model.code`. Their draws come from one stream over all counts;
    here each has a seed of its own, so that every model is given the same labelled samples.

    Parameters
    ----------
    codes : float [N, K]
        The space in which distances are measured.
    labels : int64 [N]
    counts : tuple of int
        Numbers of labelled samples.
    draws : int
        How often labelled samples are drawn from the first half; once where all of it is labelled.
    seed : int
        Of the draws.
    advance : callable
        Takes the draws done since its last call.

    Raises
    ------
    InputError
        If half of the samples are fewer than the largest count, or numbers of codes and labels
        differ.
    """
    if codes.ndim != 2 or len(codes) != len(labels):
        raise InputError(
            f"codes: expected [N, K] with N labels, got codes of shape {codes.shape} and "
            f"{len(labels)} labels"
        )
    half = len(codes) // 2
    if half < max(counts, default=0):
        raise InputError(
            f"digits: expected at least {2 * max(counts):,}, half of them to be labelled, got "
            f"{len(codes):,}; use the whole test set"
        )
    found: dict[int, list[float]] = {}
    for count in counts:
        found[count] = []
        for draw in range(1 if count == half else draws):
            chosen = np.random.default_rng([seed, count, draw]).permutation(half)[:count]
            found[count].append(_accuracy(codes, labels, chosen, half))
            advance(1)
    return found


def _accuracy(
    codes: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    chosen: NDArray[np.int64],
    half: int,
) -> float:
    sklearn = require("sklearn.neighbors", "experiments", "nearest neighbours")
    # Search trees gain nothing in so many dimensions.
    neighbours = sklearn.KNeighborsClassifier(n_neighbors=NEIGHBOURS, algorithm="brute")
    neighbours.fit(codes[chosen], labels[chosen])
    return float(neighbours.score(codes[half:], labels[half:]))
