"""The predictive circuit of an iterative Poisson VAE whose decoder is a network of rectifiers.

Counts go through the rectifiers, which keep their gates, to one neuron for each pixel. It holds the
prediction, which is the reconstruction, and sends the weighted error back through the same weights
and the open gates::

    z_t ~ Poisson(exp(u_t)),  u_{t+1} = S(u_t + S(J_f(z_t)^T (eta Sigma^-1 (x - f(z_t))) - eta b))

Source: arXiv 2410.19315, with the transposed Jacobian of the decoder f at the counts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.equalize import equalized
from pvae_neuro.exporters.lowerings.layers import (
    Layer,
    activation_of,
    checked_chain,
    no_rectifier,
)
from pvae_neuro.exporters.lowerings.linear import (
    LATENTS,
    float_latents,
    inner_choices,
    input_of,
    integer_latents,
    integration,
    step_over_variance,
)
from pvae_neuro.exporters.lowerings.rectifiers import (
    Stage,
    back_activations,
    back_connections,
    forward_activations,
    forward_connections,
    hidden_names,
    hidden_populations,
    names_of,
    real_stages,
)
from pvae_neuro.exporters.lowerings.rounding import Source, round_back, round_forward
from pvae_neuro.exporters.scales import Scales, fit_exponent, mantissas, words
from pvae_neuro.network import (
    Activation,
    Choice,
    Constant,
    Encoding,
    FloatCircuit,
    IntegerNetwork,
    OneToOne,
    Population,
    Readout,
    Variable,
    shared,
)
from pvae_neuro.network.operations import LARGEST_SHIFT
from pvae_neuro.network.program import Program
from pvae_neuro.neurons.error import PREDICT_AND_COMPARE
from pvae_neuro.neurons.poisson import INTEGRATE, INTEGRATE_INNER
from pvae_neuro.saved.model_file import SavedModel

GAIN_BITS = 16
INPUT, ERRORS, LEVEL = "pixels", "errors", "potentials."
Numbers = NDArray[Any]


class NetworkDecoder(Lowering):
    """Base of the circuits of decoders that are networks of rectifiers; a family has its layers."""

    name = "predictive"

    @abstractmethod
    def layers(self, model: SavedModel) -> tuple[Layer, ...]:
        """Layers of the decoder, from the latents to the pixels.

        Raises
        ------
        ModelFileError
            If the model's arrays are not those of such a decoder.
        """

    def level(self, model: SavedModel) -> SavedModel:
        """The model with the arrays of its latents under the names that a linear model has."""
        names = {name: name.removeprefix(LEVEL) for name in model.arrays}
        return replace(model, arrays={names[name]: array for name, array in model.arrays.items()})

    def obstacle(self, model: SavedModel) -> str | None:
        """Any activation but rectifiers; with several inner updates an iteration is one of them."""
        return no_rectifier(activation_of(model))

    def hops(self, model: SavedModel) -> tuple[str, ...]:
        """The rectifiers' graded spikes, the errors, and what goes back through the gates."""
        names = hidden_names(self._chain(model))
        back = [f"{name}.d" for name in reversed(names)]
        return (*(f"{name}.a" for name in names), f"{ERRORS}.m", *back)

    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""
        self.check(model)
        level = self.level(model)
        stages = real_stages(self._chain(model))
        none, infinite = shared(0.0), shared(float("inf"))
        errors = _errors(stages[-1].bias, step_over_variance(level), none, infinite)
        return FloatCircuit(
            name=self.name,
            input=input_of(model),
            readout=Readout(ERRORS, "y"),
            soft=model.config.clamp == "soft",
            dtype=dtype,
            **_structure(float_latents(level, _rule(model)), errors, stages, 0),
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; calibration fixes the unit of every hop."""
        self.check(model)
        level, image = self.level(model), input_of(model)
        pixel = max(abs(image.low), abs(image.high))
        counts = Source(0, 0, scales.max_count)
        layers, largest = equalized(self._chain(model), calibration.largest, scales.mantissa_max)
        found, forward = round_forward(layers, counts, scales, largest, beside=pixel)
        output = found[-1]
        frac_bits = int(output.unit + output.rows[0])
        # A pixel that no mantissa reaches can neither be predicted nor change a potential.
        push = step_over_variance(level) * output.live
        worst = push * np.ldexp(output.bound, -frac_bits)
        back = round_back(found, scales, largest, f"{ERRORS}.m", worst)
        gain = np.ldexp(push, back.unit - frac_bits)
        # Beyond the widest shift a gain so small moves no message by half a unit.
        shift = min(LARGEST_SHIFT, max(1, -fit_exponent(gain, (1 << (GAIN_BITS - 1)) - 1)))
        rounded = words(
            mantissas(gain, -shift), "gains of the errors", fewer_bits=scales.spare_frac_bits
        )
        errors = _errors(output.stage.bias, rounded, shared(shift), back.limit)
        latents = integer_latents(level, scales, _rule(model), back.received)
        return IntegerNetwork(
            name=self.name,
            input=input_of(model, frac_bits),
            readout=Readout(ERRORS, "y", frac_bits=frac_bits),
            choices=(
                *scales.choices,
                *inner_choices(model),
                *forward,
                *back.choices,
                Choice("gain shift", shift, f"largest that keeps gains within {GAIN_BITS} bits"),
            ),
            family=model.config.family,
            **_structure(latents, errors, back.stages, back.exponent),
        )

    def _chain(self, model: SavedModel) -> tuple[Layer, ...]:
        config = model.config
        return checked_chain(model, self.layers(model), config.latents, config.pixels)


def _rule(model: SavedModel) -> Program:
    return integration(model, INTEGRATE, INTEGRATE_INNER)


def _errors(bias: Numbers, gain: Numbers, shift: Numbers, limit: Numbers) -> Population:
    zero = np.zeros(1, bias.dtype)
    return Population(
        ERRORS,
        len(bias),
        (Variable("y", zero), Variable("m", zero)),
        (
            Constant("bias", bias),
            Constant("gain", gain),
            Constant("gain_shift", shift),
            Constant("low", -limit),
            Constant("high", limit),
        ),
        (PREDICT_AND_COMPARE,),
    )


def _structure(
    latents: Population, errors: Population, stages: Sequence[Stage], exponent: int
) -> dict[str, Any]:
    """What a float circuit and an integer network have in common."""
    pixels = Population(INPUT, errors.size, (Variable("x", errors.variable("y").initial),))
    ones = np.ones(errors.size, np.int8)
    given = OneToOne("pixels", INPUT, "x", ERRORS, ones, received_as="pixel")
    forward = forward_connections(stages, (LATENTS, "z"), ERRORS, received_as="prediction")
    back = back_connections(forward, (ERRORS, "m"), exponent=exponent)
    decode = (
        Activation(LATENTS, "fire"),
        *forward_activations(forward),
        Activation(ERRORS, "compare", (given.name, *names_of(forward, ERRORS))),
    )
    return {
        "encodings": (Encoding(INPUT, "x"),),
        "populations": (pixels, latents, *hidden_populations(stages, gated=True), errors),
        "connections": (given, *forward, *back),
        "iteration": (
            *decode,
            *back_activations(back),
            Activation(LATENTS, "integrate", names_of(back, LATENTS)),
        ),
        "final": decode,
    }
