"""Predictive coding: value nodes, the errors of each layer, and the same weights both ways.

``e_l = v_l - W_l f(v_{l-1}) - b_l``, ``v_l += step (f'(v_l) * W_{l+1}^T e_{l+1} - e_l)``; f is the
rectifier, and nothing is drawn. Every iteration begins by decoding the top nodes alone, which is
what the host reads out. Source: Rao, Ballard 1999; Whittington, Bogacz 2017, eqs. 2.7 to 2.18.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.layers import checked_chain, dense, no_rectifier
from pvae_neuro.exporters.lowerings.linear import input_of
from pvae_neuro.exporters.lowerings.value_nodes import (
    PICTURE,
    Numbers,
    error_of,
    nodes,
    structure,
)
from pvae_neuro.exporters.remedies import refused
from pvae_neuro.exporters.scales import (
    HEADROOM,
    LARGEST_SUM,
    Scales,
    few_saturated,
    fixed_point,
    graded,
    rounded_weights,
    row_reach,
    words,
)
from pvae_neuro.network import Choice, FloatCircuit, IntegerNetwork, Readout
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.saved.predictive_coding import PredictiveCodingSettings
from pvae_neuro.utils.settings import problems_of

# A word is a sum of at most four of these: value, prediction, bias, and what is fed back.
QUARTER = WORD_MAX // 4
Array = NDArray[Any]


class PredictiveCoding(Lowering):
    """Value nodes with rectifiers, and errors of every layer."""

    name = "predictive"
    families = ("pc", "ipc")

    def obstacle(self, model: SavedModel) -> str | None:
        """Settings that the family does not take, and any activation but rectifiers."""
        try:
            settings = _settings(model)
        except ValidationError as error:
            return f"architecture: {problems_of(error)}"
        return no_rectifier(settings.activation)

    def remedy(self, model: SavedModel) -> str | None:
        """See :meth:`Lowering.remedy`."""
        try:
            return None if _settings(model).activation == "relu" else "rectifiers"
        except ValidationError:
            return None

    def hops(self, model: SavedModel) -> tuple[str, ...]:
        """What nodes send down, and errors up."""
        depth = len(_layers(model)[0])
        return tuple(sent for n in range(depth) for sent in (f"{nodes(n)}.a", error_of(n, depth)))

    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""
        self.check(model)
        weights, biases = _layers(model)
        none, infinite = [0] * len(weights), (float("inf"), 0.0)
        unbounded = [infinite] * len(weights)
        numbers = Numbers(
            weights, biases, none, none, unbounded, unbounded, infinite[0],
            (_settings(model).step_size, 0.0), (float(model.config.beta), 0.0),
        )  # fmt: skip
        return FloatCircuit(
            name=self.name,
            **structure(numbers),
            input=input_of(model),
            readout=_readout(0),
            dtype=dtype,
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; calibration fixes the units of graded spikes."""
        self.check(model)
        weights, biases = _layers(model)
        depth, choices = len(weights), list(scales.choices)
        numbers = Numbers(
            [], [_words(b, scales, "biases") for b in biases], [], [], [], [], QUARTER,
            fixed_point(_settings(model).step_size, "step"),
            fixed_point(float(model.config.beta), "precision of the prior"),
        )  # fmt: skip
        for n, weight in enumerate(weights):
            exponent, mantissa = rounded_weights(weight, scales)
            numbers.weights.append(mantissa)
            why = few_saturated(weight, exponent, scales)
            choices.append(Choice(f"exponent of layer {n}", exponent, why))
            for sent, rows, exponents, found in (
                (f"{nodes(n)}.a", mantissa, numbers.down, numbers.a),
                (error_of(n, depth), mantissa.T, numbers.up, numbers.e),
            ):
                largest = float(np.max(calibration.largest[sent]))
                limit, shift = _message(scales, sent, row_reach(rows), exponent, largest)
                found.append((limit, shift))
                exponents.append(exponent + shift)
                why = (
                    f"finest, at most that of values, in which {HEADROOM:g} times the largest of "
                    f"calibration, {largest:.4g}, is below {limit}, whose sums keep 24 bits"
                )
                choices.append(Choice(f"unit of {sent}", 2.0 ** (shift - scales.frac_bits), why))
        return IntegerNetwork(
            name=self.name,
            **structure(numbers),
            input=input_of(model, scales.frac_bits),
            readout=_readout(scales.frac_bits),
            choices=tuple(choices),
            family=model.config.family,
        )


def _settings(model: SavedModel) -> PredictiveCodingSettings:
    return PredictiveCodingSettings.model_validate(model.config.architecture)


def _layers(model: SavedModel) -> tuple[list[Array], list[Array]]:
    """Weights [n_l, n_{l-1}] and biases [n_l], from the top down: float64."""
    depth = sum(name.endswith(".weight") for name in model.arrays)
    layers = checked_chain(
        model, [dense(model, f"layers.{n}") for n in range(depth)], model.config.latents
    )
    return [layer.weight for layer in layers], [layer.bias for layer in layers]


def _message(
    scales: Scales, sent: str, reach: int, exponent: int, largest: float
) -> tuple[int, int]:
    """Limit of a graded spike, and the shift from the unit of values to its own."""
    reach = max(1, reach)
    # Nothing is finer than the values themselves; what is always 0 needs no fraction.
    finest = scales.frac_bits if largest > 0.0 else 0
    limit, bits = graded(sent, LARGEST_SUM // reach, largest, scales, finest)
    shift = scales.frac_bits - bits
    # The sum of such spikes, in the unit of who receives them.
    limit = min(limit, int(np.ldexp(float(QUARTER), -exponent - shift)) // reach)
    held = float(np.ldexp(limit, shift - scales.frac_bits))
    if held < largest:
        narrower = largest <= np.ldexp(held, scales.spare_frac_bits)
        raise refused(
            f"{sent}: reaches {largest:.4g} on the calibration inputs, expected at most "
            f"{held:.4g}, the largest whose sums keep 24 bits",
            "narrower" if narrower else "weights",
        )
    return limit, shift


def _words(values: Array, scales: Scales, what: str) -> Array:
    units = np.rint(values * 2.0**scales.frac_bits)
    return words(units, what, QUARTER, fewer_bits=scales.spare_frac_bits)


def _readout(bits: int) -> Readout:
    return Readout(PICTURE, "x", frac_bits=bits)
