"""The predictive circuit of the locally competitive algorithm: error neurons for each pixel.

Float: ``u += step (Φᵀ(x - Φa) + a - u)``, a the soft threshold of u. Integer: errors go back
through the mantissas that predict. Source: Rozell, Johnson, Baraniuk, Olshausen 2008, eq. 3.4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.lca_neurons import (
    ACT,
    Array,
    LCALowering,
    float_neurons,
    integer_neurons,
)
from pvae_neuro.exporters.lowerings.lca_units import SENT, message_of, units_of
from pvae_neuro.exporters.lowerings.linear import LATENTS, input_of
from pvae_neuro.exporters.lowerings.predictive import (
    ERRORS,
    INPUT,
    error_population,
    pixel_connections,
)
from pvae_neuro.exporters.scales import LARGEST_SUM, Scales, fit_exponent, mantissas, row_reach
from pvae_neuro.network import (
    Activation,
    Choice,
    Encoding,
    FloatCircuit,
    IntegerNetwork,
    Population,
    Readout,
    Variable,
    shared,
)
from pvae_neuro.neurons.soft_threshold import INTEGRATE
from pvae_neuro.saved.model_file import SavedModel


class LCAPredictive(LCALowering):
    """Error neurons per pixel; the dictionary is used both ways."""

    name = "predictive"

    def hops(self, model: SavedModel) -> tuple[str, ...]:
        """Coefficients and errors."""
        return SENT, f"{ERRORS}.m"

    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""
        self.check(model)
        dictionary = model.dictionary.astype(np.float64)
        errors = error_population(model, shared(1.0), shared(0.0), float("inf"), shared(0.0))
        return FloatCircuit(
            **_parts(model, dictionary, float_neurons(model, INTEGRATE), errors, (0, 0)),
            input=input_of(model),
            readout=Readout(LATENTS, "a", dictionary),
            dtype=dtype,
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; calibration fixes the units of both messages."""
        self.check(model)
        dictionary = model.dictionary.astype(np.float64)
        # No entry saturates: one is enough to spoil an atom.
        exponent = fit_exponent(dictionary, scales.mantissa_max)
        weight = mantissas(dictionary, exponent).astype(np.int8)
        pixel_bits = max(scales.input_frac_bits, -exponent)
        down, up = (LARGEST_SUM // max(1, row_reach(rows)) for rows in (weight, weight.T))
        sent = message_of(SENT, scales, calibration, down)
        error = message_of(f"{ERRORS}.m", scales, calibration, up)
        error_bits = min(error.bits, pixel_bits)
        received = math.ldexp(row_reach(weight.T) * error.limit, exponent - error_bits)
        units = units_of(model, scales, calibration, sent, received)
        exponents = pixel_bits - sent.bits + exponent, units.force - error_bits + exponent
        errors = error_population(
            model, shared(1), shared(pixel_bits - error_bits), error.limit, shared(0)
        )
        neurons = integer_neurons(model, INTEGRATE, sent, units)
        why = f"finest unit of {scales.weight_bits} bits in which no entry saturates"
        return IntegerNetwork(
            **_parts(model, weight, neurons, errors, exponents),
            input=input_of(model, pixel_bits),
            readout=Readout(
                LATENTS, "a", weight.astype(np.int16), frac_bits=units.finer - exponent
            ),
            choices=(
                *scales.choices, Choice("dictionary exponent", exponent, why),
                sent.choice, error.choice, *units.choices,
            ),
            family=model.config.family,
        )  # fmt: skip


def _parts(
    model: SavedModel, weight: Array, neurons: Population, errors: Population, exps: tuple[int, int]
) -> dict[str, Any]:
    zero = Variable("x", errors.variable("m").initial)
    return {
        "name": LCAPredictive.name,
        "encodings": (Encoding(INPUT, "x"),),
        "populations": (Population(INPUT, model.config.pixels, (zero,)), neurons, errors),
        "connections": pixel_connections(model, weight, *exps, sent="m"),
        "iteration": (
            ACT,
            Activation(ERRORS, "compare", ("pixels", "prediction")),
            Activation(LATENTS, "integrate", ("feedback",)),
        ),
        "final": (ACT,),
    }
