"""Populations, connections and schedule of predictive coding, of real numbers or of integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import (
    Activation,
    Connection,
    Constant,
    Dense,
    Encoding,
    OneToOne,
    Population,
    Shared,
    Variable,
    shared,
    transpose_of,
)
from pvae_neuro.neurons import value

INPUT, ERRORS, PICTURE = "pixels", "errors", "picture"
Array = NDArray[Any]


@dataclass
class Numbers:
    """Numbers of a circuit, real ones or integers; lists are by layer, from the top down.

    Attributes
    ----------
    weights, biases : list of array
    down, up : list of int
        Exponents of what nodes send down, and of what errors send up.
    a, e : list of (number, number)
        Limits and shifts of the graded spikes of nodes, and of errors.
    largest : number
        Limit of values.
    step, precision : (number, number)
        Step of inference and precision of the prior, as factors and their shifts.
    """

    weights: list[Array]
    biases: list[Array]
    down: list[int]
    up: list[int]
    a: list[tuple[Any, Any]]
    e: list[tuple[Any, Any]]
    largest: Any
    step: tuple[Any, Any]
    precision: tuple[Any, Any]


def nodes(layer: int) -> str:
    """Population of a layer of nodes, from the top down."""
    return f"nodes{layer}"


def error_of(weights: int, depth: int) -> str:
    """What sends the error back that these weights caused."""
    return f"{nodes(weights + 1) if weights + 1 < depth else ERRORS}.e"


def structure(numbers: Numbers) -> dict[str, Any]:
    """Encodings, populations, connections and schedule."""
    depth, zero = len(numbers.weights), shared(type(numbers.largest)(0))
    below = [nodes(n) for n in range(1, depth)]
    pixels = len(numbers.biases[-1])
    last = (Constant("bias", numbers.biases[-1]),)
    connections: list[Connection] = [
        OneToOne("pixels", INPUT, "x", ERRORS, np.ones(pixels, np.int8), received_as="pixel")
    ]
    for n, (weight, target) in enumerate(zip(numbers.weights, [*below, ERRORS], strict=True)):
        down = Dense(f"down{n}", nodes(n), "a", target, weight, numbers.down[n], "prediction")
        up = transpose_of(
            down, name=f"up{n}", source=target, variable="e", target=nodes(n),
            exponent=numbers.up[n], received_as="feedback",
        )  # fmt: skip
        connections += [down, up]
        if n:
            shown, same = (below[n] if n < depth - 1 else PICTURE), Shared(down.name, False)
            name = f"guess{n}"
            connections.append(
                Dense(name, nodes(n), "t", shown, weight, down.exponent, "prediction", same)
            )
    decode = (
        Activation(nodes(0), "rectify"),
        *(
            Activation(name, "guess", (f"guess{n}" if n else "down0",))
            for n, name in enumerate(below)
        ),
        Activation(PICTURE, "show", (f"guess{depth - 1}",)),
    )
    return {
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
            Activation(nodes(0), "compare"),
            *(Activation(name, "compare", (f"down{n}",)) for n, name in enumerate(below)),
            Activation(ERRORS, "compare", ("pixels", f"down{depth - 1}")),
            *(Activation(nodes(n), "settle", (f"up{n}",)) for n in range(depth)),
        ),
        "final": decode,
    }  # fmt: skip


def _limits(name: str, limit: Any, shift: Any) -> tuple[Constant, ...]:
    low = Constant(f"{name}_low", shared(-limit))
    return low, Constant(f"{name}_high", shared(limit)), Constant(f"{name}_shift", shared(shift))


def _value_nodes(layer: int, numbers: Numbers, zero: Array) -> Population:
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
    return Population(nodes(layer), size, variables, tuple(constants), tuple(programs))
