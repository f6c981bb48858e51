"""Weights that fill their mantissas: scales of rectifiers move from one layer to the next.

A rectifier that sends ``c`` times as much, for any c above 0, has ``c`` times the weights and the
bias; the weights of what it sends to are then divided by c. Real numbers stay what they are. Powers
of two are left to :mod:`~pvae_neuro.exporters.lowerings.rounding`, so c lies in (1/2, 1]: the
largest weight of every rectifier becomes the largest mantissa, and all others are rounded to less
(docs/decisions.md).
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
    """Layers that compute the same, and what their rectifiers then reach.

    Parameters
    ----------
    layers : sequence of Layer
        Their weights are not changed.
    largest : mapping of str to float64 [n]
        What each rectifier reached, ``hidden1.a`` and so on.
    mantissa_max : int
    """
    found, reached = list(layers), dict(largest)
    for number, name in reversed(list(enumerate(hidden_names(layers)))):
        below, above = found[number : number + 2]
        # Neurons of one feature map have the same weights and bias, and so one scale.
        most = below.row_maxima(above.columns(above.largest(1, above.weight)))
        scale = below.rows(np.array([_scale(each, mantissa_max) for each in most.tolist()]))
        rows, columns = (
            _along(below, below.row_axis, scale),
            _along(above, 1 - above.row_axis, scale),
        )
        found[number] = replace(below, weight=below.weight * rows, bias=below.bias * scale)
        found[number + 1] = replace(above, weight=above.weight / columns)
        reached[f"{name}.a"] = reached[f"{name}.a"] * scale
    return tuple(found), reached


def _along(layer: Layer, axis: int, neurons: Reals) -> Reals:
    """Numbers of neurons along an axis of the weights; those of one channel are equal."""
    shape = [1] * layer.weight.ndim
    shape[axis] = -1
    return neurons.reshape(layer.weight.shape[axis], -1)[:, 0].reshape(shape)


def _scale(largest: float, mantissa_max: int) -> float:
    """By how much less than the largest mantissa this weight fills."""
    if largest == 0.0:
        return 1.0
    fitting = fit_exponent(np.array([largest]), mantissa_max)
    return float(np.ldexp(largest, -fitting)) / mantissa_max
