"""The lateral circuit of the locally competitive algorithm: coefficients inhibit each other.

Float: ``u += step (Φᵀx + a - ΦᵀΦ a - u)``. Integer: the diagonal of ΦᵀΦ stays in the neuron; each
row of the rest fills its mantissas as far as its sum keeps 24 bits, and the neuron's gain undoes
that. Source: Rozell, Johnson, Baraniuk, Olshausen 2008, eq. 3.4.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.lateral import drive_encoding, inhibition_eigenvalues
from pvae_neuro.exporters.lowerings.lca_neurons import (
    ACT,
    Array,
    LCALowering,
    float_neurons,
    integer_neurons,
)
from pvae_neuro.exporters.lowerings.lca_units import SENT, message_of, units_of
from pvae_neuro.exporters.lowerings.linear import LATENTS, input_of, wide_readout
from pvae_neuro.exporters.scales import LARGEST_SUM, Scales, words
from pvae_neuro.network import (
    Activation,
    Choice,
    Dense,
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
from pvae_neuro.neurons.soft_threshold import INTEGRATE_LATERAL
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.reproducible import power_below, product, sums

INPUT = "drive"
GAIN_BITS = 16
# Wider messages leave weights fewer bits, as both share the 24 of a sum.
MESSAGE_LIMIT = (1 << 9) - 1


class LCALateral(LCALowering):
    """Lateral weights between the coefficients; the drive is set once per frame."""

    name = "lateral"
    multiplied_out = True

    def hops(self, model: SavedModel) -> tuple[str, ...]:
        """The coefficients."""
        return (SENT,)

    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""
        self.check(model)
        dictionary, inhibition = model.dictionary.astype(np.float64), _inhibition(model)
        diagonal = np.diag(inhibition).copy()
        neurons = float_neurons(
            model, INTEGRATE_LATERAL, gain=1.0, gain_shift=0.0, diagonal=diagonal
        )
        return FloatCircuit(
            **_parts(np.diag(diagonal) - inhibition, neurons, 0.0),
            input=input_of(model),
            encodings=(Encoding(INPUT, "h", dictionary.T),),
            readout=Readout(LATENTS, "a", dictionary),
            dtype=dtype,
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; calibration fixes the unit of messages."""
        self.check(model)
        dictionary, inhibition = model.dictionary.astype(np.float64), _inhibition(model)
        off_diagonal = inhibition - np.diag(np.diag(inhibition))
        # What the limit leaves of 24 bits, weights can use.
        sent = message_of(SENT, scales, calibration, MESSAGE_LIMIT, no_more=True)
        image = input_of(model, scales.input_frac_bits)
        pixel = max(abs(image.low), abs(image.high))
        reach = sums(np.abs(inhibition)).max() * math.ldexp(sent.limit, -sent.bits)
        drive = sums(np.abs(dictionary.T)).max() * pixel
        units = units_of(model, scales, calibration, sent, float(reach + drive))
        per_message = 2.0 ** (units.force - sent.bits)
        gain, shift = _gains(off_diagonal * per_message, scales, sent.limit)
        weight = -np.rint(np.ldexp(off_diagonal * per_message, shift) / gain[:, None])
        neurons = integer_neurons(
            model, INTEGRATE_LATERAL, sent, units, gain=gain, gain_shift=shift,
            diagonal=words(np.rint(np.diag(inhibition) * per_message), "self-inhibition"),
        )  # fmt: skip
        encoding, choice = drive_encoding(dictionary.T, units.force, scales)
        unit = float(np.ldexp(np.median(gain), -shift) / per_message)
        why = f"of the median row; each fills {scales.weight_bits} bits, as far as its sum fits 24"
        network = IntegerNetwork(
            **_parts(weight.astype(np.int8), neurons, 0),
            input=image,
            encodings=(encoding,),
            readout=wide_readout(
                model, replace(scales, max_count=int(neurons.constant("a_max")[0])), "a",
                units.finer,
            ),
            choices=(
                *scales.choices, Choice("unit of lateral weights", unit, why), sent.choice,
                *units.choices, choice,
            ),
            family=model.config.family,
        )  # fmt: skip
        measured = inhibition_eigenvalues(network, inhibition * per_message)
        return replace(network, measurements=measured)


def _inhibition(model: SavedModel) -> Array:
    """``ΦᵀΦ``: float64 [K, K], symmetric."""
    dictionary = model.dictionary.astype(np.float64)
    inhibition = product(dictionary.T, dictionary)
    return (inhibition + inhibition.T) / 2


def _gains(rows: Array, scales: Scales, limit: int) -> tuple[Array, int]:
    """Units of the rows' mantissas, int32 [K] and a shift: the finest that saturate no sum."""
    # Rounding adds up to half a unit for each mantissa.
    room = max(LARGEST_SUM / limit - len(rows) / 2, 1.0)
    finest = np.maximum(np.abs(rows).max(axis=1) / scales.mantissa_max, sums(np.abs(rows)) / room)
    finest = np.where(finest > 0.0, finest, finest.max() or 1.0)
    shift = min(LARGEST_SHIFT, power_below((1 << (GAIN_BITS - 1)) - 1, float(finest.max())))
    gains = np.maximum(np.ceil(np.ldexp(finest, shift)), 1.0)
    return words(gains, "gains of lateral weights"), shift


def _parts(weight: Array, neurons: Population, zero: float) -> dict[str, Any]:
    ones = np.ones(len(weight), np.int8)
    drive = Population(INPUT, len(weight), (Variable("h", shared(zero)),))
    return {
        "name": LCALateral.name,
        "populations": (drive, neurons),
        "connections": (
            OneToOne("drive", INPUT, "h", LATENTS, ones, received_as="drive"),
            Dense("lateral", LATENTS, "m", LATENTS, weight, 0, "lateral"),
        ),
        "iteration": (ACT, Activation(LATENTS, "integrate", ("drive", "lateral"))),
        "final": (ACT,),
    }
