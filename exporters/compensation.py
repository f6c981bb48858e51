"""Rounding that compensates: mantissas chosen together, so that their errors cancel.

A neuron receives ``w z`` for a row w of weights and counts z. Each weight to its nearest mantissa
makes every error of w small; what matters is the error of the sum, whose mean square is ``d C d``
for the errors d of the row and the second moments C of the counts. Columns are rounded one after
the other, those of the largest moments first, and those that are left take up the error so far
(GPTQ, arXiv 2210.17323); then each mantissa in turn moves to where the sum's error is least.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

# Added to each moment, as a share of their mean: calibration has seen few inputs, and errors of
# weights matter to what is sent back too.
DAMPING = 1.0
SWEEPS = 3


def compensated(weight: Reals, mantissa_max: int, moments: Reals) -> Reals:
    """Mantissas of weights in units of their columns.

    Parameters
    ----------
    weight : float64 [rows, columns]
        In units of a mantissa.
    mantissa_max : int
        Largest mantissa.
    moments : float64 [columns, columns]
        Mean products of what is sent, in the units that these weights meet.

    Returns
    -------
    float64 [rows, columns]
        Whole numbers.
    """
    size = len(moments)
    damped = moments + DAMPING * np.diag(moments).mean() * np.eye(size)
    if not damped.any():
        return np.clip(np.rint(weight), -mantissa_max, mantissa_max)
    order = np.argsort(-np.diag(damped), kind="stable")
    held = damped[np.ix_(order, order)]
    found = _error_passed_on(weight[:, order], mantissa_max, held)
    found = settled(found, weight[:, order], mantissa_max, held)
    whole = np.empty_like(found)
    whole[:, order] = found
    return whole


def _error_passed_on(weight: Reals, mantissa_max: int, moments: Reals) -> Reals:
    """Columns in order; each error goes to the columns that are left."""
    factor = np.linalg.cholesky(np.linalg.inv(moments)).T
    left, found = weight.copy(), np.zeros_like(weight)
    for column in range(len(moments)):
        now = left[:, column]
        found[:, column] = np.clip(np.rint(now), -mantissa_max, mantissa_max)
        error = (now - found[:, column]) / factor[column, column]
        left[:, column + 1 :] -= error[:, None] * factor[column, column + 1 :]
    return found


def settled(
    found: Reals, weight: Reals, mantissa_max: int, moments: Reals, sweeps: int = SWEEPS
) -> Reals:
    """Each mantissa where it is best, given all others."""
    slope = (found - weight) @ moments
    for _ in range(sweeps):
        moved = False
        for column in range(len(moments)):
            now = found[:, column]
            best = np.rint(now - slope[:, column] / moments[column, column])
            change = np.clip(best, -mantissa_max, mantissa_max) - now
            if change.any():
                moved = True
                slope += change[:, None] * moments[column]
                found[:, column] += change
        if not moved:
            break
    return found
