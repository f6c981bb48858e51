"""Networks of rectifiers as populations and connections, forward and back.

A network is a chain of layers (:mod:`~pvae_neuro.exporters.lowerings.layers`); all but the last end
at rectifiers. The way back uses the same weights, transposed, and the gates that the way forward
left open. :func:`real_stages` has a chain's real numbers, and
:mod:`~pvae_neuro.exporters.lowerings.rounding` its integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.lowerings.layers import Layer
from pvae_neuro.network import (
    Activation,
    Connection,
    Constant,
    Population,
    Variable,
    shared,
    transpose_of,
)
from pvae_neuro.neurons.rectifier import RECTIFY, RECTIFY_AND_GATE, THROUGH_GATE

Numbers = NDArray[Any]
Sent = tuple[str, str]
"""A population and its variable."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A layer and the numbers of its circuit, real ones or integers.

    Attributes
    ----------
    layer : Layer
    weight : array
        In the axes of the layer's kind.
    bias : array [targets]
        In the unit of the sum.
    shift, high : array [targets] or [1]
        From the unit of the sum to that of the graded spike; the largest one.
    back_shift, most : array [targets] or [1]
        The same of what goes back.
    """

    layer: Layer
    weight: Numbers
    bias: Numbers
    shift: Numbers
    high: Numbers
    back_shift: Numbers
    most: Numbers


def hidden_names(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Names of the populations of rectifiers: ``hidden1``, ``hidden2`` and so on."""
    return tuple(f"hidden{number}" for number in range(1, len(layers)))


def real_stages(layers: Sequence[Layer]) -> tuple[Stage, ...]:
    """Stages in real numbers: nothing is shifted or limited."""
    none, infinite = shared(0.0), shared(float("inf"))
    return tuple(
        Stage(layer, layer.weight, layer.bias, none, infinite, none, infinite) for layer in layers
    )


def hidden_populations(stages: Sequence[Stage], *, gated: bool) -> tuple[Population, ...]:
    """Populations of the rectifiers; with ``gated`` they keep their gates and send back too."""
    names = hidden_names([stage.layer for stage in stages])
    return tuple(
        _rectifiers(name, stage, gated) for name, stage in zip(names, stages[:-1], strict=True)
    )


def _rectifiers(name: str, stage: Stage, gated: bool) -> Population:
    zero = np.zeros(1, stage.bias.dtype)
    forward = (
        Constant("bias", stage.bias),
        Constant("shift", stage.shift),
        Constant("high", stage.high),
    )
    if not gated:
        return Population(name, len(stage.bias), (Variable("a", zero),), forward, (RECTIFY,))
    back = (
        Constant("back_shift", stage.back_shift),
        Constant("low", -stage.most),
        Constant("most", stage.most),
    )
    variables = Variable("a", zero), Variable("gate", zero, 2), Variable("d", zero)
    programs = RECTIFY_AND_GATE, THROUGH_GATE
    return Population(name, len(stage.bias), variables, (*forward, *back), programs)


def forward_connections(
    stages: Sequence[Stage],
    source: Sent,
    target: str,
    *,
    name: str = "prediction",
    exponent: int = 0,
    received_as: str = "received",
) -> tuple[Connection, ...]:
    """Connections of the way forward; those to rectifiers are ``to_hidden1`` and so on.

    Parameters
    ----------
    stages : sequence of Stage
    source : (str, str)
        Population and variable that the first layer takes.
    target : str
        Population that the last layer ends at.
    name, exponent, received_as
        Of the last connection.
    """
    names = hidden_names([stage.layer for stage in stages])
    sent = [source, *((each, "a") for each in names)]
    found = [
        stage.layer.connect(f"to_{target}", *start, target, weight=stage.weight)
        for stage, start, target in zip(stages, sent, names, strict=False)
    ]
    last = stages[-1].layer.connect(
        name, *sent[-1], target,
        weight=stages[-1].weight, exponent=exponent, received_as=received_as,
    )  # fmt: skip
    return (*found, last)


def back_connections(
    forward: Sequence[Connection], source: Sent, *, exponent: int = 0, name: str = "feedback"
) -> tuple[Connection, ...]:
    """Connections of the way back, from the last layer to the first; the weights are the same.

    Parameters
    ----------
    forward : sequence of Connection
    source : (str, str)
        Population and variable that goes back through the last layer.
    exponent, name
        Of the connection that ends where the way forward began.
    """
    sent, found = source, list[Connection]()
    for connection in reversed(forward[1:]):
        ends = f"back_to_{connection.source}", *sent, connection.source
        found.append(transpose_of(connection, *ends, received_as="back"))
        sent = connection.source, "d"
    first = forward[0]
    last = transpose_of(first, name, *sent, first.source, exponent=exponent, received_as=name)
    return (*found, last)


def forward_activations(forward: Sequence[Connection]) -> tuple[Activation, ...]:
    """Activations of the rectifiers, from the first on."""
    return tuple(Activation(c.target, "rectify", (c.name,)) for c in forward[:-1])


def back_activations(back: Sequence[Connection]) -> tuple[Activation, ...]:
    """Activations of the gates, from the last on."""
    return tuple(Activation(c.target, "through_gate", (c.name,)) for c in back[:-1])
