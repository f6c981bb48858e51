"""Lowering to the predictive topology: error neurons feed back through the dictionary.

Float: ``e = x - Phi z``, ``u += Phi^T (eta Sigma^-1 e) - eta b``. Integer: both directions use the
same mantissas, so the quantized dictionary is itself the decoder; the gain eta / sigma^2 is a
fixed-point multiply in the error neuron. Source: papers, iP-VAE eq. 7 and predictive coding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowering import (
    Scales,
    best_exponent,
    fit_exponent,
    input_encoding,
    mantissas,
    saturated,
)
from pvae_neuro.network import (
    ACCUMULATOR_MAX,
    Choice,
    Connection,
    ErrorPopulation,
    Hop,
    IntegerNetwork,
    PoissonPopulation,
    Readout,
)
from pvae_neuro.saved.model_file import SavedModel

GAIN_BITS = 16
# Far below any dictionary entry that matters.
LEAST_EXPONENT = -40
# The feedback's right shift adds half a unit of its result first; certify proves that it fits.
ROUNDING_ROOM = 1 << 14


def lower_predictive(
    model: SavedModel,
    scales: Scales,
    population: PoissonPopulation,
    calibration: Calibration,
) -> IntegerNetwork:
    """Build the predictive network.

    Parameters
    ----------
    model : SavedModel
    scales : Scales
    population : PoissonPopulation
    calibration : Calibration
        Its largest errors fix the unit of the graded spikes.

    Returns
    -------
    IntegerNetwork
    """
    dictionary = model.dictionary.astype(np.float64)
    weight_exponent = best_exponent(dictionary, scales.mantissa_max, least=LEAST_EXPONENT)
    weight = mantissas(dictionary, weight_exponent, scales.mantissa_max).astype(np.int8)
    # The error lives in the finer unit of input and weights.
    input_bits = max(scales.input_frac_bits, -weight_exponent)
    errors, feedback_exponent, choices = _errors(
        model, scales, calibration, weight, weight_exponent, input_bits
    )
    name = population.name
    return IntegerNetwork(
        topology="predictive",
        input=input_encoding(model, input_bits),
        populations=(population, errors),
        connections=(
            Connection(
                "prediction",
                name,
                errors.name,
                np.negative(weight),
                input_bits + weight_exponent,
                scales.weight_bits,
            ),
            Connection(
                "feedback",
                errors.name,
                name,
                np.ascontiguousarray(weight.T),
                feedback_exponent,
                scales.weight_bits,
            ),
        ),
        schedule=(Hop(errors.name, ("prediction",)), Hop(name, ("feedback",))),
        readout=Readout(name, weight.astype(np.int16), -weight_exponent),
        choices=(
            *scales.choices,
            Choice(
                "dictionary exponent",
                weight_exponent,
                f"finest unit of {scales.weight_bits} bits with few saturated, for entries up to "
                f"{np.abs(dictionary).max():.4g}; "
                f"{saturated(dictionary, weight_exponent, scales.mantissa_max)} saturate",
            ),
            *choices,
        ),
    )


def _errors(
    model: SavedModel,
    scales: Scales,
    calibration: Calibration,
    weight: NDArray[np.int8],
    weight_exponent: int,
    input_bits: int,
) -> tuple[ErrorPopulation, int, tuple[Choice, ...]]:
    # A pixel that no mantissa reaches can neither be predicted nor change a potential.
    live = np.any(weight != 0, axis=1)
    # Potential units per unit of input error and unit of weight.
    push = model.step_size / model.variance * 2.0 ** (scales.frac_bits + weight_exponent) * live
    limit = _message_limit(weight)
    largest = float((push * calibration.error).max())
    message_bits = int(np.floor(np.log2(limit / largest)))
    gain = push * 2.0 ** (message_bits - input_bits)
    gain_shift = max(1, -fit_exponent(gain, (1 << (GAIN_BITS - 1)) - 1))
    errors = ErrorPopulation(
        "errors", mantissas(gain, -gain_shift).astype(np.int32), gain_shift, limit
    )
    choices = (
        Choice(
            "message limit",
            limit,
            "largest graded spike that keeps every feedback accumulator within 24 bits",
        ),
        Choice(
            "message unit",
            2.0**-message_bits,
            f"finest unit, in potential units per weight, in which the largest weighted error "
            f"{largest:.4g} of calibration stays below the message limit",
        ),
        Choice("gain shift", gain_shift, f"largest that keeps the gains within {GAIN_BITS} bits"),
    )
    return errors, -message_bits, choices


def _message_limit(weight: NDArray[np.int8]) -> int:
    """Largest message for which no column of the dictionary can overflow 24 bits."""
    l1 = int(np.abs(weight.astype(np.int64)).sum(axis=0).max())
    return (ACCUMULATOR_MAX - ROUNDING_ROOM) // max(1, l1)
