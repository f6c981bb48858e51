"""Entropy of codes of integers, and the step at which a code of real numbers has a given one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_BISECTIONS = 40


def rounded(codes: Float32, step: float) -> Float32:
    """Codes in whole numbers of a step."""
    return np.rint(codes / np.float32(step))


def entropy(codes: NDArray[np.floating[Any]]) -> float:
    """Bits of a code [N, K] of integers: entropies of single latents over images, summed."""
    return _of_sorted(np.sort(codes, axis=0))


def _of_sorted(codes: NDArray[np.floating[Any]]) -> float:
    """:func:`entropy` of a code whose latents are each in ascending order."""
    ordered = codes.T
    # Equal values of a latent are neighbours: each run of them begins where the value changes.
    begins = np.ones(ordered.shape, bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    shares = np.diff(np.flatnonzero(begins), append=begins.size) / len(codes)
    return -float((shares * np.log2(shares)).sum())


def step_of(codes: Float32, bits: float) -> float:
    """The step at which rounded codes have this entropy, by bisection over its logarithm."""
    # Rounding keeps the order.
    ordered = np.sort(codes, axis=0)
    low, high = 1e-4, 2.0 * float(np.abs(codes).max()) + 1e-4
    for _ in range(_BISECTIONS):
        middle = float(np.sqrt(low * high))
        # Entropy falls as the step grows.
        more = _of_sorted(rounded(ordered, middle)) > bits
        low, high = (middle, high) if more else (low, middle)
    return high
