"""Predictive coding: value nodes, the errors of each layer, and the same weights both ways.

``e_l = v_l - W_l f(v_{l-1}) - b_l``, ``v_l += step (f'(v_l) * W_{l+1}^T e_{l+1} - e_l)``; f is the
rectifier, and nothing is drawn. Every iteration begins by decoding the top nodes alone, which is
what the host reads out. Source: Rao, Ballard 1999; Whittington, Bogacz 2017, eqs. 2.7 to 2.18.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.layers import checked_chain, dense
from pvae_neuro.exporters.lowerings.linear import input_of
from pvae_neuro.exporters.remedies import refused
from pvae_neuro.exporters.scales import Scales, best_exponent, mantissas, row_reach, words
from pvae_neuro.network import (
    Activation,
    Choice,
    Connection,
    Constant,
    Dense,
    Encoding,
    FloatCircuit,
    IntegerNetwork,
    OneToOne,
    Population,
    Readout,
    Shared,
    Variable,
    shared,
    transpose_of,
)
from pvae_neuro.network.operations import LARGEST_SHIFT
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.neurons import value
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.reproducible import power_below

INPUT, ERRORS, PICTURE = "pixels", "errors", "picture"
FACTOR_BITS = 16
HEADROOM = 1.25  # Over what calibration reached.
ROUNDING_ROOM = 1 << 14
# A word is a sum of at most four of these: value, prediction, bias, and what is fed back.
QUARTER = WORD_MAX // 4
Array = NDArray[Any]


@dataclass
class _Numbers:
    """Numbers of a circuit by layer, from the top down; real, or integers."""

    weights: list[Array]
    biases: list[Array]
    down: list[int]  # Exponents of what nodes send down, and of what errors send up.
    up: list[int]
    a: list[tuple[Any, Any]]  # Limits and shifts of graded spikes of nodes, and of errors.
    e: list[tuple[Any, Any]]
    largest: Any  # Limit of values.
    step: tuple[Any, Any]  # Factors and their shifts.
    precision: tuple[Any, Any]


class PredictiveCoding(Lowering):
    """Value nodes with rectifiers, and errors of every layer."""

    name = "predictive"
    families = ("pc", "ipc")

    def obstacle(self, model: SavedModel) -> str | None:
        """Circuits have rectifiers alone."""
        activation = model.config.architecture.get("activation", value.ACTIVATION)
        if activation == "relu":
            return None
        return (
            f"expected the activation 'relu', got {activation!r}, which no word operation "
            f"computes; train the model with the activation 'relu'"
        )

    def remedy(self, model: SavedModel) -> str | None:
        """See :meth:`Lowering.remedy`."""
        return "rectifiers"

    def hops(self, model: SavedModel) -> tuple[str, ...]:
        """What nodes send down, and errors up."""
        depth = len(_layers(model)[0])
        return tuple(sent for n in range(depth) for sent in (f"{_nodes(n)}.a", _error(n, depth)))

    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""
        self.check(model)
        weights, biases = _layers(model)
        none, infinite = [0] * len(weights), (float("inf"), 0.0)
        unbounded = [infinite] * len(weights)
        numbers = _Numbers(
            weights, biases, none, none, unbounded, unbounded, infinite[0],
            (_step_size(model), 0.0), (float(model.config.beta), 0.0),
        )  # fmt: skip
        return FloatCircuit(
            **_parts(numbers), input=input_of(model), readout=_readout(0), dtype=dtype
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; calibration fixes the units of graded spikes."""
        self.check(model)
        weights, biases = _layers(model)
        depth, choices = len(weights), list[Choice]()
        numbers = _Numbers(
            [], [_words(b, scales, "biases") for b in biases], [], [], [], [], QUARTER,
            _factor(_step_size(model)), _factor(float(model.config.beta)),
        )  # fmt: skip
        for n, weight in enumerate(weights):
            exponent = best_exponent(weight, scales.mantissa_max, least=-LARGEST_SHIFT)
            mantissa = mantissas(weight, exponent, scales.mantissa_max).astype(np.int8)
            numbers.weights.append(mantissa)
            why = f"finest unit of {scales.weight_bits} bits with few saturated"
            choices.append(Choice(f"exponent of layer {n}", exponent, why))
            for sent, rows, exponents, found in (
                (f"{_nodes(n)}.a", mantissa, numbers.down, numbers.a),
                (_error(n, depth), mantissa.T, numbers.up, numbers.e),
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
            **_parts(numbers),
            input=input_of(model, scales.frac_bits),
            readout=_readout(scales.frac_bits),
            choices=tuple(choices),
            family=model.config.family,
        )


def _nodes(layer: int) -> str:
    return f"nodes{layer}"


def _error(weights: int, depth: int) -> str:
    """What sends the error back that these weights caused."""
    return f"{_nodes(weights + 1) if weights + 1 < depth else ERRORS}.e"


def _step_size(model: SavedModel) -> float:
    return float(model.config.architecture.get("step_size", value.STEP_SIZE))


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
    limit = scales.message_limit(sent, (WORD_MAX - ROUNDING_ROOM) // reach)
    fine = power_below(limit, HEADROOM * largest) if largest > 0.0 else 0
    # Nothing is finer than the values themselves.
    shift = max(0, scales.frac_bits - fine)
    # The sum of such spikes, in the unit of who receives them.
    limit = min(limit, int(np.ldexp(float(QUARTER), -exponent - shift)) // reach)
    held = float(np.ldexp(limit, shift - scales.frac_bits))
    if held < largest:
        raise refused(
            f"{sent}: reaches {largest:.4g} on the calibration inputs, expected at most "
            f"{held:.4g}, the largest whose sums keep 24 bits",
            "narrower",
        )
    return limit, shift


def _factor(number: float) -> tuple[int, int]:
    shift = power_below((1 << (FACTOR_BITS - 1)) - 1, number) if number > 0.0 else 0
    shift = max(0, min(LARGEST_SHIFT, shift))
    return round(np.ldexp(number, shift)), shift


def _words(values: Array, scales: Scales, what: str) -> Array:
    units = np.rint(values * 2.0**scales.frac_bits)
    return words(units, what, QUARTER, fewer_bits=scales.spare_frac_bits)


def _readout(bits: int) -> Readout:
    return Readout(PICTURE, "x", frac_bits=bits)


def _parts(numbers: _Numbers) -> dict[str, Any]:
    """Populations, connections and schedule, of real numbers or of integers."""
    depth, zero = len(numbers.weights), shared(type(numbers.largest)(0))
    below = [_nodes(n) for n in range(1, depth)]
    pixels = len(numbers.biases[-1])
    last = (Constant("bias", numbers.biases[-1]),)
    connections: list[Connection] = [
        OneToOne("pixels", INPUT, "x", ERRORS, np.ones(pixels, np.int8), received_as="pixel")
    ]
    for n, (weight, target) in enumerate(zip(numbers.weights, [*below, ERRORS], strict=True)):
        down = Dense(f"down{n}", _nodes(n), "a", target, weight, numbers.down[n], "prediction")
        up = transpose_of(
            down, name=f"up{n}", source=target, variable="e", target=_nodes(n),
            exponent=numbers.up[n], received_as="feedback",
        )  # fmt: skip
        connections += [down, up]
        if n:
            shown, same = (below[n] if n < depth - 1 else PICTURE), Shared(down.name, False)
            name = f"guess{n}"
            connections.append(
                Dense(name, _nodes(n), "t", shown, weight, down.exponent, "prediction", same)
            )
    decode = (
        Activation(_nodes(0), "rectify"),
        *(
            Activation(name, "guess", (f"guess{n}" if n else "down0",))
            for n, name in enumerate(below)
        ),
        Activation(PICTURE, "show", (f"guess{depth - 1}",)),
    )
    return {
        "name": PredictiveCoding.name,
        "encodings": (Encoding(INPUT, "x"),),
        "populations": (
            Population(INPUT, pixels, (Variable("x", zero),)),
            *(_value_nodes(n, numbers, zero) for n in range(depth)),
            Population(
                ERRORS, pixels, (Variable("e", zero),), (*last, *_limits("e", *numbers.e[-1])),
                (value.COMPARE_INPUT,),
            ),
            Population(PICTURE, pixels, (Variable("x", zero),), last, (value.SHOW,)),
        ),
        "connections": tuple(connections),
        "iteration": (
            *decode,
            *(Activation(name, "rectify") for name in below),
            Activation(_nodes(0), "compare"),
            *(Activation(name, "compare", (f"down{n}",)) for n, name in enumerate(below)),
            Activation(ERRORS, "compare", ("pixels", f"down{depth - 1}")),
            *(Activation(_nodes(n), "settle", (f"up{n}",)) for n in range(depth)),
        ),
        "final": decode,
    }  # fmt: skip


def _limits(name: str, limit: Any, shift: Any) -> tuple[Constant, ...]:
    low = Constant(f"{name}_low", shared(-limit))
    return low, Constant(f"{name}_high", shared(limit)), Constant(f"{name}_shift", shared(shift))


def _value_nodes(layer: int, numbers: _Numbers, zero: Array) -> Population:
    high = Constant("a_high", shared(numbers.a[layer][0]))
    constants = [
        high, Constant("a_shift", shared(numbers.a[layer][1])),
        Constant("step", shared(numbers.step[0])), Constant("step_shift", shared(numbers.step[1])),
        Constant("v_low", shared(-numbers.largest)), Constant("v_high", shared(numbers.largest)),
    ]  # fmt: skip
    names = ["v", "a", "d"]
    programs = [value.RECTIFY, value.SETTLE]
    if layer:
        names += ["t", "e", "begun"]
        programs += [value.GUESS, value.COMPARE]
        constants.append(Constant("bias", numbers.biases[layer - 1]))
        constants += _limits("e", *numbers.e[layer - 1])
    else:
        programs.append(value.COMPARE_TOP)
        constants.append(Constant("precision", shared(numbers.precision[0])))
        constants.append(Constant("precision_shift", shared(numbers.precision[1])))
    variables = tuple(Variable(name, zero) for name in names)
    size = numbers.weights[layer].shape[1]
    return Population(_nodes(layer), size, variables, tuple(constants), tuple(programs))
