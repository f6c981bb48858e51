"""A dictionary in mantissas: one power of two for all weights, or one for each latent.

With units by latent the column of latent k is ``mantissa * 2**(exponent + spread[k])``. The latent
sends its counts times ``2**spread[k]`` and takes what comes back times the same, by shifts of its
own; so the connection keeps one exponent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.compensation import compensated
from pvae_neuro.exporters.scales import (
    LARGEST_SUM,
    Scales,
    column_exponents,
    mantissas,
)
from pvae_neuro.network import Choice
from pvae_neuro.saved.model_file import SavedModel

# Far below any dictionary entry that matters.
LEAST_EXPONENT = -31
# A scaled count stays within 16 bits.
SENT_BITS = 15


@dataclass(frozen=True, eq=False)
class Rounded:
    """A rounded dictionary.

    Attributes
    ----------
    mantissas : float64 [M, K]
        Whole numbers.
    exponent : int
        Of the finest unit.
    spread : int64 [K]
        How much coarser each latent's unit is, as a power of two.
    choices : tuple of Choice
    """

    mantissas: NDArray[np.float64]
    exponent: int
    spread: NDArray[np.int64]
    choices: tuple[Choice, ...]


def rounded(model: SavedModel, scales: Scales, calibration: Calibration) -> Rounded:
    """Round the dictionary of a linear model as the scales say."""
    dictionary = model.dictionary.astype(np.float64)
    largest = scales.mantissa_max
    columns, reason = _exponents(model, dictionary, scales)
    exponent = int(columns.min())
    spread = columns - exponent
    choices = [Choice("dictionary exponent", exponent, reason)]
    if scales.compensate and calibration.moments is not None:
        unit = np.ldexp(1.0, spread)
        inputs = unit[:, None] * calibration.moments * unit
        found = compensated(np.ldexp(dictionary, -columns), largest, inputs)
        choices.append(_compensation(dictionary, found, columns, calibration.moments, largest))
    else:
        found = np.clip(mantissas(np.ldexp(dictionary, -columns), 0), -largest, largest)
    return Rounded(found, exponent, spread, tuple(choices))


def _exponents(
    model: SavedModel, dictionary: NDArray[np.float64], scales: Scales
) -> tuple[NDArray[np.int64], str]:
    """Exponent of each latent, and why."""
    if not scales.latent_units:
        exponent = scales.exponent("prediction", dictionary, LEAST_EXPONENT)
        which = f"entries up to {np.abs(dictionary).max():.4g}"
        reason = scales.exponent_reason(dictionary, exponent, which)
        return np.full(dictionary.shape[1], exponent), reason
    # In a finer unit the predictions of some image would leave 24 bits.
    reach = float(np.abs(dictionary).sum(axis=1).max()) * scales.max_count
    reach += max(abs(model.config.input_low), abs(model.config.input_high))
    least = max(LEAST_EXPONENT, math.ceil(math.log2(max(2 * reach, 1e-9) / LARGEST_SUM)))
    columns = column_exponents(dictionary, scales.mantissa_max, least)
    columns = columns + scales.exponent_steps.get("prediction", 0)
    most = SENT_BITS - scales.max_count.bit_length()
    columns = np.maximum(columns, max(least, int(columns.max()) - most))
    return columns, (
        f"finest of {len(np.unique(columns))} units, one for each latent: that at which the "
        f"squared error of its {scales.weight_bits}-bit weights is least; the coarsest is "
        f"2^{int(columns.max())}"
    )


def _compensation(
    dictionary: NDArray[np.float64],
    found: NDArray[np.float64],
    columns: NDArray[np.int64],
    moments: NDArray[np.float64],
    largest: int,
) -> Choice:
    def error(whole: NDArray[np.float64]) -> float:
        wrong = np.ldexp(whole, columns) - dictionary
        return float(((wrong @ moments) * wrong).sum())

    nearest = np.clip(np.rint(np.ldexp(dictionary, -columns)), -largest, largest)
    before, after = error(nearest), error(found)
    return Choice(
        "rounding error of predictions",
        after,
        f"mean square over the calibration inputs, summed over pixels, with mantissas chosen "
        f"together; {before:.4g} with each to its nearest",
    )
