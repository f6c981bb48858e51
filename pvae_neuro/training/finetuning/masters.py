"""Which arrays of a model are which mantissas and constants of its network, and in what unit.

Lowerings stay the only place that knows how: an array belongs to the connection of the float
circuit whose weights it is, and the unit of a mantissa is read off the lowered network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import ModelFileError
from pvae_neuro.network import Connection, FloatCircuit, IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel

Reals = NDArray[np.float64]

SWEEPS = 10


@dataclass(frozen=True, eq=False)
class Master:
    """An array that is rounded to mantissas.

    Attributes
    ----------
    array : str
        Its name in the model.
    connections : tuple of str
        Those that hold its mantissas; they add up.
    unit : float64
        What one unit of a mantissa is worth; broadcasts to the array's shape.
    """

    array: str
    connections: tuple[str, ...]
    unit: Reals

    def mantissas(self, network: IntegerNetwork) -> Reals:
        """Of all its connections together."""
        return _total([network.connection_of[name] for name in self.connections])


def masters_of(
    model: SavedModel, circuit: FloatCircuit, network: IntegerNetwork
) -> tuple[Master, ...]:
    """Arrays that are weights of the circuit as they are.

    Raises
    ------
    ModelFileError
        If there is none: the weights are products of the model's arrays.
    """
    found = tuple(_masters(model, circuit, network))
    if not found:
        raise ModelFileError(
            f"circuit {circuit.name!r}: no array of the model is the weights of a connection: they "
            f"are computed from arrays; fine-tune a circuit that takes them as they are, such as "
            f"predictive"
        )
    return found


def _masters(model: SavedModel, circuit: FloatCircuit, network: IntegerNetwork) -> Iterator[Master]:
    for name, array in model.arrays.items():
        for connection in circuit.connections:
            weight = connection.weight
            if connection.shared is not None or weight.shape != array.shape:
                continue
            if not np.array_equal(weight, array.astype(weight.dtype)):
                continue
            parts = [
                c
                for c in network.connections
                if re.fullmatch(re.escape(connection.name) + r"(_\d+)?", c.name)
            ]
            if not parts:
                continue
            unit = unit_of(array.astype(np.float64), _total(parts))
            yield Master(name, tuple(c.name for c in parts), unit)
            break


def _total(connections: list[Connection]) -> Reals:
    return np.sum([c.weight.astype(np.float64) for c in connections], axis=0)


def unit_of(array: Reals, mantissas: Reals, *, rows_too: bool = True) -> Reals:
    """Unit of mantissas that were rounded from an array: a factor a row times one a column.

    Large mantissas tell it best, so they weigh most. Without ``rows_too`` columns alone have one.
    """
    known = (mantissas != 0) & (array * mantissas > 0)
    weight = np.where(known, np.square(mantissas), 0.0)
    ratio = np.log2(np.where(known, array, 1.0) / np.where(known, mantissas, 1.0))
    if not known.any():
        return np.full((1,) * array.ndim, max(float(np.abs(array).max()), 1e-12))
    mean = float((weight * ratio).sum() / weight.sum())
    rows, columns = np.array(mean), np.array(0.0)
    for _ in range(SWEEPS):
        columns = _mean(ratio - rows, weight, 1, 0.0)
        if rows_too:
            rows = _mean(ratio - columns, weight, 0, mean)
    unit: Reals = np.exp2(rows + columns)
    return unit


def _mean(values: Reals, weight: Reals, axis: int, without: float) -> Reals:
    """Weighted means along all axes but one; ``without`` where nothing weighs."""
    others = tuple(a for a in range(values.ndim) if a != axis)
    total = weight.sum(axis=others, keepdims=True)
    mean = (weight * values).sum(axis=others, keepdims=True) / np.where(total > 0, total, 1.0)
    found: Reals = np.where(total > 0, mean, without)
    return found


def leaks_of(model: SavedModel, circuit: FloatCircuit) -> tuple[str, ...]:
    """Arrays of logarithms whose exponentials are the leaks of what the readout reads."""
    latents = circuit.latents
    if latents not in circuit.drawing:
        return ()
    return tuple(
        name
        for name, array in model.arrays.items()
        if name.rpartition(".")[2] == "log_bias"
        and any(_is_exponential(c.values, array) for c in latents.constants)
    )


def _is_exponential(constant: NDArray[Any], array: NDArray[np.float32]) -> bool:
    if constant.shape != array.shape or array.ndim != 1:
        return False
    with np.errstate(all="ignore"):
        ratio = constant / np.exp(array.astype(np.float64))
    return bool(np.isfinite(ratio).all() and ratio[0] > 0 and np.allclose(ratio, ratio[0], 1e-5))
