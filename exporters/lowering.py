"""What both topologies share: widths, power-of-two scales, the input and the readout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Choice, InputEncoding, Readout
from pvae_neuro.saved.model_file import SavedModel

READOUT_BITS = 16
SATURATED_SHARE = 1 / 2000


@dataclass(frozen=True)
class Scales:
    """Widths and fixed-point positions that a lowering works with.

    Attributes
    ----------
    weight_bits : int
        Width of a mantissa, sign included.
    frac_bits : int
        Fixed-point position of the potential.
    input_frac_bits : int
        Fixed-point position of the input.
    choices : tuple of Choice
        Chosen so far.
    """

    weight_bits: int
    frac_bits: int
    input_frac_bits: int
    choices: tuple[Choice, ...] = ()

    @property
    def mantissa_max(self) -> int:
        """Largest mantissa of a weight."""
        return (1 << (self.weight_bits - 1)) - 1


def fit_exponent(values: NDArray[np.float64], mantissa_max: int) -> int:
    """Smallest e such that every ``rint(value / 2**e)`` lies within the mantissa range.

    Parameters
    ----------
    values : float64 [...]
    mantissa_max : int

    Returns
    -------
    int
    """
    largest = float(np.abs(values).max())
    if largest == 0.0:
        return 0
    exponent = int(np.floor(np.log2(largest / mantissa_max)))
    while np.rint(largest / 2.0**exponent) > mantissa_max:
        exponent += 1
    return exponent


def best_exponent(values: NDArray[np.float64], mantissa_max: int, least: int) -> int:
    """Finest exponent at which no more than ``SATURATED_SHARE`` of the mantissas saturate.

    Trained weights are heavy-tailed: halving the unit for all is worth more than the few largest
    that then saturate, as long as they stay few (docs/decisions.md).

    Parameters
    ----------
    values : float64 [...]
    mantissa_max : int
    least : int
        Smallest exponent to consider.

    Returns
    -------
    int
    """
    exponent = max(least, fit_exponent(values, mantissa_max))
    allowed = SATURATED_SHARE * values.size
    while exponent > least and saturated(values, exponent - 1, mantissa_max) <= allowed:
        exponent -= 1
    return exponent


def mantissas(
    values: NDArray[np.float64], exponent: int, mantissa_max: int | None = None
) -> NDArray[np.float64]:
    """Round to mantissas of unit 2**exponent, half to even; saturate where a limit is given."""
    rounded: NDArray[np.float64] = np.rint(values / 2.0**exponent)
    return rounded if mantissa_max is None else np.clip(rounded, -mantissa_max, mantissa_max)


def saturated(values: NDArray[np.float64], exponent: int, mantissa_max: int) -> int:
    """How many mantissas saturate."""
    return int((np.abs(np.rint(values / 2.0**exponent)) > mantissa_max).sum())


def input_encoding(model: SavedModel, frac_bits: int) -> InputEncoding:
    """Encode inputs over the model's declared range."""
    config = model.config
    return InputEncoding(
        config.pixels, config.input_low, config.input_high, frac_bits, config.image_shape
    )


def wide_readout(model: SavedModel, source: str) -> Readout:
    """16-bit dictionary for the host, finer than any weight on the chip."""
    dictionary = model.dictionary.astype(np.float64)
    exponent = fit_exponent(dictionary, (1 << (READOUT_BITS - 1)) - 1)
    return Readout(source, mantissas(dictionary, exponent).astype(np.int16), -exponent)
