"""Weights that fill their mantissas: factors of rows and columns, which rectifiers take back.

A rectifier may be given ``r`` times its sums and send ``1/c`` of what it sent, for any r and c
above 0: its weights and bias are multiplied by r, the weights of what it sends to by c, and its
gain becomes ``1 / (r c)``. What goes back through its gate is then scaled alike, by the same gain.
Real numbers stay what they are. Powers of two are left to
:mod:`~pvae_neuro.exporters.lowerings.rounding`, so r and c lie between 1 and 2: the largest
weight of every row and column becomes the largest mantissa (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.lowerings.layers import Layer
from pvae_neuro.exporters.lowerings.rectifiers import hidden_names
from pvae_neuro.exporters.scales import fit_exponent

Reals = NDArray[np.float64]


def equalized(
    layers: Sequence[Layer], largest: Mapping[str, Reals], mantissa_max: int
) -> tuple[tuple[Layer, ...], dict[str, Reals]]:
    """Layers that compute the same, and what their rectifiers then send.

    Parameters
    ----------
    layers : sequence of Layer
        Their weights are not changed.
    largest : mapping of str to float64 [n]
        What rectifiers sent at most, ``hidden1.a`` forward and ``hidden1.d`` back.
    mantissa_max : int
    """
    found, reached = list(layers), dict(largest)
    names = hidden_names(layers)
    for number, layer in enumerate(layers):
        columns = np.ones(layer.weight.shape[1 - layer.row_axis])
        rows = np.ones(layer.weight.shape[layer.row_axis])
        if number:
            columns = _filling(layer.largest(1, layer.weight), mantissa_max)
            sent = layer.columns(columns)
            before = found[number - 1]
            found[number - 1] = replace(before, gain=before.gain / sent)
            reached[f"{names[number - 1]}.a"] = reached[f"{names[number - 1]}.a"] / sent
        if number < len(names):
            scaled = layer.scaled(rows, columns)
            rows = _filling(layer.largest(0, scaled), mantissa_max)
        each = layer.rows(rows)
        weight = layer.scaled(rows, columns)
        found[number] = replace(layer, weight=weight, bias=layer.bias * each, gain=1.0 / each)
        back = f"{names[number]}.d" if number < len(names) else ""
        if back in reached:
            reached[back] = reached[back] / each
    return tuple(found), reached


def _filling(largest: Reals, mantissa_max: int) -> Reals:
    """Factors, 1 to 2, that make these weights the largest mantissa but for a power of two."""
    return np.array([_factor(each, mantissa_max) for each in largest.tolist()])


def _factor(largest: float, mantissa_max: int) -> float:
    if largest == 0.0:
        return 1.0
    fitting = fit_exponent(np.array([largest]), mantissa_max)
    return mantissa_max / float(np.ldexp(largest, -fitting))
