"""The predictive circuit: error neurons feed back through the dictionary.

Float: ``e = x - Phi z``, ``u += Phi^T (eta Sigma^-1 e) - eta b``. Integer: both directions use the
same mantissas, stored once, so the quantized dictionary is itself the decoder; the gain
eta / sigma^2 is a fixed-point product in the error neuron. Source: arXiv 2410.19315, eq. 7, and
predictive coding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.dictionary import rounded
from pvae_neuro.exporters.lowerings.linear import (
    LATENTS,
    LinearLowering,
    float_latents,
    inner_choices,
    input_of,
    integer_latents,
    integration,
    step_over_variance,
    wide_readout,
)
from pvae_neuro.exporters.lowerings.rectifiers import names_of
from pvae_neuro.exporters.lowerings.wide import parts, summed
from pvae_neuro.exporters.remedies import refused
from pvae_neuro.exporters.scales import (
    LARGEST_SUM,
    Scales,
    check_exponent,
    fit_exponent,
    halves,
    mantissas,
    row_reach,
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
from pvae_neuro.network.program import Program, reading
from pvae_neuro.neurons.error import COMPARE
from pvae_neuro.neurons.poisson import FIRE, FIRE_IN_UNITS, INTEGRATE, INTEGRATE_INNER
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.reproducible import power_below

GAIN_BITS = 16
INPUT, ERRORS = "pixels", "errors"
# Array by which a model is read out where it is not the dictionary.
OWN_READOUT = "readout"


class Predictive(LinearLowering):
    """Error neurons per pixel; the dictionary is used both ways."""

    name = "predictive"
    most_weight_bits = 16
    latent_units = True
    compensates = True
    searched = ("prediction",)

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
        connections = pixel_connections(model, model.dictionary.astype(np.float64), 0, 0)
        return FloatCircuit(
            name=self.name,
            input=input_of(model),
            encodings=(Encoding(INPUT, "x"),),
            populations=(_input_population(model, 0.0), float_latents(model, _rule(model)), errors),
            connections=connections,
            iteration=_iteration(connections),
            final=_FINAL,
            readout=(
                Readout(LATENTS, "z", model.readout.astype(np.float64))
                if OWN_READOUT in model.arrays
                else Readout(LATENTS, "z", None, "prediction")
            ),
            soft=model.config.clamp == "soft",
            dtype=dtype,
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; the largest errors of calibration fix the unit of messages."""
        self.check(model)
        dictionary = rounded(model, scales, calibration)
        fine = scales.fine_bits
        # Of the weights that one synapse holds; the fine parts of wider ones come below.
        exponent = dictionary.exponent + fine
        # The error lives in the finer unit of input and weights.
        input_bits = max(scales.input_frac_bits, -exponent)
        prediction_exponent = check_exponent(input_bits + exponent, "prediction")
        image = input_of(model, input_bits)
        _check_pixels(image)
        sent = np.ldexp(scales.max_count, dictionary.spread)
        largest_error = _largest_error(
            image, dictionary.mantissas, prediction_exponent - fine, sent
        )
        held = halves(dictionary.mantissas, fine)
        found = _messages(model, scales, calibration, held, exponent, input_bits, largest_error)
        exponents = prediction_exponent - fine, -found.message_bits - fine
        units = _Units.of(dictionary.spread, found.message_bits) if scales.latent_units else None
        connections = pixel_connections(
            model, dictionary.mantissas, exponents[0], 0 if units else exponents[1],
            sent="sent" if units else "z", fine_bits=fine,
        )  # fmt: skip
        back = [sent_back(each, found.limit) for each in connections if each.target == LATENTS]
        received = np.sum(back, axis=0)
        if units:
            received = np.ceil(np.ldexp(received, -units.shift)).astype(np.int64)
        errors = error_population(
            model, found.gain, shared(found.gain_shift), found.limit, shared(0)
        )
        errors = replace(errors, programs=(summed(COMPARE, "prediction", fine),))
        rule = summed(_rule(model), "feedback", fine)
        latents = integer_latents(model, scales, rule, received)
        readout = Readout(LATENTS, "z", None, "prediction", -exponent)
        if fine:
            whole = dictionary.mantissas.astype(np.int16)
            readout = Readout(LATENTS, "z", whole, None, fine - exponent)
        if units:
            latents = units.given_to(latents)
            readout = replace(readout, variable="sent")
        if OWN_READOUT in model.arrays:
            readout = wide_readout(model, scales)
        return IntegerNetwork(
            name=self.name,
            input=image,
            encodings=(Encoding(INPUT, "x"),),
            populations=(_input_population(model, 0), latents, errors),
            connections=connections,
            iteration=_iteration(connections),
            final=_FINAL,
            readout=readout,
            choices=(
                *scales.choices,
                *inner_choices(model),
                *dictionary.choices,
                *found.choices,
            ),
            family=model.config.family,
        )


_FINAL = (Activation(LATENTS, "fire"),)


def _iteration(connections: Sequence[Connection]) -> tuple[Activation, ...]:
    return (
        *_FINAL,
        Activation(ERRORS, "compare", names_of(connections, ERRORS)),
        Activation(LATENTS, "integrate", names_of(connections, LATENTS)),
    )


@dataclass(frozen=True, eq=False)
class _Units:
    """What latents with units of their own shift by: counts to the left, sums to the right."""

    spread: NDArray[np.int32]
    shift: NDArray[np.int32]

    @staticmethod
    def of(spread: NDArray[np.int64], message_bits: int) -> _Units:
        return _Units(spread.astype(np.int32), (message_bits - spread).astype(np.int32))

    def given_to(self, latents: Population) -> Population:
        """Latents that send their counts in the unit of their weights."""
        constants = Constant("spread", self.spread), Constant("feedback_shift", self.shift)
        programs = (FIRE_IN_UNITS, *(_shifted(p) for p in latents.programs if p is not FIRE))
        return replace(
            latents,
            variables=(*latents.variables, Variable("sent", shared(0))),
            constants=(*latents.constants, *constants),
            programs=programs,
        )


def _shifted(program: Program) -> Program:
    return reading(program, "feedback", lambda n: n.shr(n.feedback, n.feedback_shift))


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
    fine_bits: int | None = None,
) -> tuple[Connection, ...]:
    """From the pixels and from the latents' variable ``sent`` to the errors, and back.

    Exponents are of the weights as they are; ``fine_bits`` are those that integers have beyond 8.
    """
    ones = np.ones(model.config.pixels, np.int8)
    pixels = OneToOne("pixels", INPUT, "x", ERRORS, ones, received_as="pixel")
    whole = Dense("prediction", LATENTS, sent, ERRORS, weight, prediction_exponent, "prediction")
    predictions = (whole,) if fine_bits is None else parts(whole, fine_bits)
    feedback = (
        transpose_of(
            each, each.name.replace("prediction", "feedback"), ERRORS, "m", LATENTS,
            exponent=feedback_exponent + each.exponent - prediction_exponent,
            received_as=each.received_as.replace("prediction", "feedback"),
        )
        for each in predictions
    )  # fmt: skip
    return (pixels, *predictions, *feedback)


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
    image: Input, weight: NDArray[np.float64], exponent: int, sent: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Largest error that a pixel can show, over all images and what is sent: float64 [M]."""
    above = np.ldexp((np.maximum(weight, 0.0) * sent).sum(axis=1), exponent)
    below = np.ldexp((np.minimum(weight, 0.0) * sent).sum(axis=1), exponent)
    pixel = image.interval
    return np.maximum(above - pixel.smallest, pixel.largest - below)


def _messages(
    model: SavedModel,
    scales: Scales,
    calibration: Calibration,
    weights: tuple[NDArray[np.int8], ...],
    weight_exponent: int,
    input_bits: int,
    largest_error: NDArray[np.float64],
) -> _Messages:
    # A pixel that no mantissa reaches can neither be predicted nor change a potential.
    live = np.any([weight.any(axis=1) for weight in weights], axis=0)
    # Potential units per unit of input error and unit of weight.
    push = step_over_variance(model) * 2.0 ** (scales.frac_bits + weight_exponent) * live
    # Largest message for which no row of the feedback can overflow 24 bits.
    provable = LARGEST_SUM // max(1, *(row_reach(weight.T) for weight in weights))
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
