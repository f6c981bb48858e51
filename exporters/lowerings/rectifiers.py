"""Networks of rectifiers as populations and connections, forward and back.

A network is a chain of layers (:mod:`~pvae_neuro.exporters.lowerings.layers`); all but the last end
at rectifiers. The way back uses the same weights, transposed, and the gates that the way forward
left open. :func:`real_stages` has a chain's real numbers, and
:mod:`~pvae_neuro.exporters.lowerings.rounding` its integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
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
    weights : tuple of array
        In the axes of the layer's kind; each is a connection of its own, and they add up.
    bias : array [targets]
        In the unit of the sum.
    gain : array [targets] or [1]
        Factor of what a rectifier sends, forward and back.
    shift, high : array [targets] or [1]
        From the unit of the product to that of the graded spike; the largest one.
    back_shift, most : array [targets] or [1]
        The same of what goes back.
    """

    layer: Layer
    weights: tuple[Numbers, ...]
    bias: Numbers
    gain: Numbers
    shift: Numbers
    high: Numbers
    back_shift: Numbers
    most: Numbers


def hidden_names(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Names of the populations of rectifiers: ``hidden1``, ``hidden2`` and so on."""
    return tuple(f"hidden{number}" for number in range(1, len(layers)))


def real_stages(layers: Sequence[Layer]) -> tuple[Stage, ...]:
    """Stages in real numbers: nothing is shifted or limited."""
    none, same, infinite = shared(0.0), shared(1.0), shared(float("inf"))
    return tuple(
        Stage(layer, (layer.weight,), layer.bias, same, none, infinite, none, infinite)
        for layer in layers
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
        Constant("gain", stage.gain),
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
        Of the last connection; others that add up to it have names of their own.
    """
    names = hidden_names([stage.layer for stage in stages])
    sent = [source, *((each, "a") for each in names)]
    ends = [(f"to_{each}", each, 0, "received") for each in names]
    ends.append((name, target, exponent, received_as))
    return tuple(
        stage.layer.connect(
            _part(called, number), *start, end,
            weight=weight, exponent=power, received_as=received,
        )
        for stage, start, (called, end, power, received) in zip(stages, sent, ends, strict=True)
        for number, weight in enumerate(stage.weights)
    )  # fmt: skip


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
    found, sent = list[Connection](), source
    for end, group in groupby(reversed(forward), key=lambda each: each.source):
        inner = end != forward[0].source
        called, received, power = (f"back_to_{end}", "back", 0) if inner else (name, name, exponent)
        found += (
            transpose_of(
                each, _part(called, number), *sent, end, exponent=power, received_as=received
            )
            for number, each in enumerate(reversed(list(group)))
        )
        sent = end, "d"
    return tuple(found)


def forward_activations(forward: Sequence[Connection]) -> tuple[Activation, ...]:
    """Activations of the rectifiers, from the first on."""
    return _activations(forward, "rectify")


def back_activations(back: Sequence[Connection]) -> tuple[Activation, ...]:
    """Activations of the gates, from the last on."""
    return _activations(back, "through_gate")


def names_of(connections: Sequence[Connection], target: str) -> tuple[str, ...]:
    """Names of those that end at a population."""
    return tuple(each.name for each in connections if each.target == target)


def _activations(connections: Sequence[Connection], program: str) -> tuple[Activation, ...]:
    targets = dict.fromkeys(each.target for each in connections)
    return tuple(
        Activation(target, program, names_of(connections, target)) for target in list(targets)[:-1]
    )


def _part(name: str, number: int) -> str:
    """Name of one of the connections that add up: the first has the name itself."""
    return f"{name}_{number + 1}" if number else name
