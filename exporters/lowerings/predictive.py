"""The predictive circuit: error neurons feed back through the dictionary.

Float: ``e = x - Phi z``, ``u += Phi^T (eta Sigma^-1 e) - eta b``. Integer: both directions use the
same mantissas, stored once, so the quantized dictionary is itself the decoder; the gain
eta / sigma^2 is a fixed-point product in the error neuron. Source: arXiv 2410.19315, eq. 7, and
predictive coding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.linear import (
    LATENTS,
    LinearLowering,
    float_latents,
    inner_choices,
    input_of,
    integer_latents,
    integration,
    step_over_variance,
)
from pvae_neuro.exporters.remedies import refused
from pvae_neuro.exporters.scales import (
    LARGEST_SUM,
    Scales,
    best_exponent,
    check_exponent,
    fit_exponent,
    mantissas,
    row_reach,
    saturated,
    words,
)
from pvae_neuro.network import (
    Activation,
    Choice,
    Connection,
    Constant,
    Dense,
    Encoding,
    FloatCircuit,
    Input,
    IntegerNetwork,
    OneToOne,
    Population,
    Readout,
    Variable,
    shared,
    transpose_of,
)
from pvae_neuro.network.operations import LARGEST_SHIFT
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.network.program import Program
from pvae_neuro.neurons.error import COMPARE
from pvae_neuro.neurons.poisson import INTEGRATE, INTEGRATE_INNER
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.reproducible import power_below

GAIN_BITS = 16
# Far below any dictionary entry that matters.
LEAST_EXPONENT = -31
INPUT, ERRORS = "pixels", "errors"


class Predictive(LinearLowering):
    """Error neurons per pixel; the dictionary is used both ways."""

    name = "predictive"

    def hops(self, model: SavedModel) -> tuple[str, ...]:
        """The errors."""
        return (f"{ERRORS}.m",)

    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""
        self.check(model)
        infinite = float("inf")
        errors = error_population(
            model, step_over_variance(model), shared(0.0), infinite, shared(0.0)
        )
        dictionary = model.dictionary.astype(np.float64)
        return FloatCircuit(
            name=self.name,
            input=input_of(model),
            encodings=(Encoding(INPUT, "x"),),
            populations=(_input_population(model, 0.0), float_latents(model, _rule(model)), errors),
            connections=pixel_connections(model, dictionary, 0, 0),
            iteration=_ITERATION,
            final=_FINAL,
            readout=Readout(LATENTS, "z", None, "prediction"),
            soft=model.config.clamp == "soft",
            dtype=dtype,
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; the largest errors of calibration fix the unit of messages."""
        self.check(model)
        dictionary = model.dictionary.astype(np.float64)
        weight_exponent = best_exponent(dictionary, scales.mantissa_max, least=LEAST_EXPONENT)
        weight = mantissas(dictionary, weight_exponent, scales.mantissa_max).astype(np.int8)
        # The error lives in the finer unit of input and weights.
        input_bits = max(scales.input_frac_bits, -weight_exponent)
        prediction_exponent = check_exponent(input_bits + weight_exponent, "prediction")
        image = input_of(model, input_bits)
        _check_pixels(image)
        largest_error = _largest_error(image, weight, prediction_exponent, scales.max_count)
        found = _messages(
            model, scales, calibration, weight, weight_exponent, input_bits, largest_error
        )
        connections = pixel_connections(model, weight, prediction_exponent, -found.message_bits)
        received = sent_back(connections[-1], found.limit)
        errors = error_population(
            model, found.gain, shared(found.gain_shift), found.limit, shared(0)
        )
        return IntegerNetwork(
            name=self.name,
            input=image,
            encodings=(Encoding(INPUT, "x"),),
            populations=(
                _input_population(model, 0),
                integer_latents(model, scales, _rule(model), received),
                errors,
            ),
            connections=connections,
            iteration=_ITERATION,
            final=_FINAL,
            readout=Readout(LATENTS, "z", None, "prediction", -weight_exponent),
            choices=(
                *scales.choices,
                *inner_choices(model),
                Choice(
                    "dictionary exponent",
                    weight_exponent,
                    f"finest unit of {scales.weight_bits} bits with few saturated, for entries up "
                    f"to {np.abs(dictionary).max():.4g}; "
                    f"{saturated(dictionary, weight_exponent, scales.mantissa_max)} saturate",
                ),
                *found.choices,
            ),
            family=model.config.family,
        )


_ITERATION = (
    Activation(LATENTS, "fire"),
    Activation(ERRORS, "compare", ("pixels", "prediction")),
    Activation(LATENTS, "integrate", ("feedback",)),
)
_FINAL = (Activation(LATENTS, "fire"),)


def _rule(model: SavedModel) -> Program:
    return integration(model, INTEGRATE, INTEGRATE_INNER)


def _input_population(model: SavedModel, zero: float) -> Population:
    return Population(INPUT, model.config.pixels, (Variable("x", shared(zero)),))


def error_population(
    model: SavedModel,
    gain: NDArray[np.floating | np.integer],  # type: ignore[type-arg]
    gain_shift: NDArray[np.floating | np.integer],  # type: ignore[type-arg]
    limit: float,
    zero: NDArray[np.floating | np.integer],  # type: ignore[type-arg]
) -> Population:
    """Error neurons of the pixels; ``limit`` is the largest magnitude of a message m."""
    return Population(
        ERRORS,
        model.config.pixels,
        (Variable("m", zero),),
        (
            Constant("gain", gain),
            Constant("gain_shift", gain_shift),
            Constant("low", shared(-limit)),
            Constant("high", shared(limit)),
        ),
        (COMPARE,),
    )


def pixel_connections(
    model: SavedModel,
    weight: NDArray[np.floating | np.integer],  # type: ignore[type-arg]
    prediction_exponent: int,
    feedback_exponent: int,
    sent: str = "z",
) -> tuple[Connection, ...]:
    """From the pixels and from the latents' variable ``sent`` to the errors, and back."""
    ones = np.ones(model.config.pixels, np.int8)
    prediction = Dense(
        "prediction", LATENTS, sent, ERRORS, weight, prediction_exponent, "prediction"
    )
    feedback = transpose_of(
        prediction, "feedback", ERRORS, "m", LATENTS,
        exponent=feedback_exponent, received_as="feedback",
    )  # fmt: skip
    pixels = OneToOne("pixels", INPUT, "x", ERRORS, ones, received_as="pixel")
    return pixels, prediction, feedback


def sent_back(feedback: Connection, limit: int) -> NDArray[np.int64]:
    """Most that messages up to a limit can add to a potential: int64 [K]."""
    reach = np.abs(feedback.weight.astype(np.int64)).sum(axis=1) * limit
    return np.ceil(np.ldexp(reach, feedback.exponent)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Messages:
    """Scales of the error neurons."""

    gain: NDArray[np.int32]
    gain_shift: int
    limit: int
    message_bits: int
    choices: tuple[Choice, ...]


def _check_pixels(image: Input) -> None:
    """Raise :class:`CertificateError` if a pixel is no word in the unit of its error."""
    largest = max(-image.interval.smallest, image.interval.largest)
    if largest > WORD_MAX:
        raise refused(
            f"pixels: they reach {largest} in the unit of the dictionary's mantissas, "
            f"2^-{image.frac_bits}, expected at most {WORD_MAX}; weights are too small for such "
            f"inputs",
            "inputs",
        )


def _largest_error(
    image: Input, weight: NDArray[np.int8], exponent: int, max_count: int
) -> NDArray[np.float64]:
    """Largest error that a pixel can show, over all images and counts: float64 [M]."""
    wide = weight.astype(np.float64)
    above = np.ldexp(np.maximum(wide, 0.0).sum(axis=1) * max_count, exponent)
    below = np.ldexp(np.minimum(wide, 0.0).sum(axis=1) * max_count, exponent)
    pixel = image.interval
    return np.maximum(above - pixel.smallest, pixel.largest - below)


def _messages(
    model: SavedModel,
    scales: Scales,
    calibration: Calibration,
    weight: NDArray[np.int8],
    weight_exponent: int,
    input_bits: int,
    largest_error: NDArray[np.float64],
) -> _Messages:
    # A pixel that no mantissa reaches can neither be predicted nor change a potential.
    live = np.any(weight != 0, axis=1)
    # Potential units per unit of input error and unit of weight.
    push = step_over_variance(model) * 2.0 ** (scales.frac_bits + weight_exponent) * live
    # Largest message for which no row of the feedback can overflow 24 bits.
    provable = LARGEST_SUM // max(1, row_reach(weight.T))
    limit = scales.message_limit(f"{ERRORS}.m", provable)
    largest = float((push * calibration.error).max())
    # The largest message of all, before its clamp, must be a word too.
    extreme = float((push * np.ldexp(largest_error, -input_bits)).max())
    message_bits = LARGEST_SHIFT
    for most, reached in ((limit, largest), (LARGEST_SUM, extreme)):
        if reached > 0.0:
            message_bits = min(message_bits, power_below(most, reached))
    # In a coarser unit the sums of such messages leave 24 bits in the unit of the potential.
    least = -power_below(provable, limit)
    clipped = (
        f", but not coarser than sums of messages allow: above {limit * 2.0**-least:.4g} they clip"
        if message_bits < least
        else ""
    )
    message_bits = max(check_exponent(message_bits, "messages"), least)
    gain = np.ldexp(push, message_bits - input_bits)
    # Beyond the widest shift a gain so small moves no message by half a unit.
    fitting = -fit_exponent(gain, (1 << (GAIN_BITS - 1)) - 1)
    gain_shift = min(LARGEST_SHIFT, max(1, fitting))
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
            f"{largest:.4g} of calibration stays below the message limit, and that of any input "
            f"and counts, {extreme:.4g}, within 24 bits{clipped}",
        ),
        Choice("gain shift", gain_shift, f"largest that keeps the gains within {GAIN_BITS} bits"),
    )
    rounded = words(
        mantissas(gain, -gain_shift), "gains of the errors", fewer_bits=scales.spare_frac_bits
    )
    return _Messages(rounded, gain_shift, limit, message_bits, choices)
