"""The integer network: the one intermediate representation, its units and its rules.

Everything that runs, exports or certifies a model speaks this language: populations of neurons,
connections between them, a schedule of hops per iteration. All numbers are integers; each states
the fixed-point position of its unit. Nothing here knows PyTorch, ONNX or Lava.

One iteration, for every sample (``sim/reference.py`` is the executable definition)::

    z <- counts of each Poisson population            (count_table.py, one noise word a neuron)
    for each hop of the schedule:
        received <- sum over its connections of  shift(weight @ emitted[source], exponent)
        the target population updates from `received` and emits

    shift(a, e) = a << e  if e >= 0  else  (a + 2**(-e-1)) >> -e      (arithmetic shift)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.network_parts import (
    ACCUMULATOR_BITS,
    ACCUMULATOR_MAX,
    LARGEST_COUNT,
    Choice,
    Connection,
    Drive,
    ErrorPopulation,
    Hop,
    InputEncoding,
    PoissonPopulation,
    Population,
    Readout,
    shift,
)
from pvae_neuro.network_rules import check_network

__all__ = [
    "ACCUMULATOR_BITS",
    "ACCUMULATOR_MAX",
    "LARGEST_COUNT",
    "Choice",
    "Connection",
    "Drive",
    "ErrorPopulation",
    "Hop",
    "InputEncoding",
    "IntegerNetwork",
    "PoissonPopulation",
    "Population",
    "Readout",
    "check_steps",
    "same_network",
    "shift",
]


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A quantized model, ready for any engine.

    Attributes
    ----------
    topology : str
        Name of the circuit, for people: ``lateral`` or ``predictive``. Engines never ask.
    input : InputEncoding
    populations : tuple of Population
    connections : tuple of Connection
    schedule : tuple of Hop
        Hops of one iteration, in order.
    readout : Readout
    drive : Drive or None
    choices : tuple of Choice
        Every scale that quantization chose.

    Raises
    ------
    NetworkError
        If a name is unknown or a shape or dtype does not fit.
    """

    topology: str
    input: InputEncoding
    populations: tuple[Population, ...]
    connections: tuple[Connection, ...]
    schedule: tuple[Hop, ...]
    readout: Readout
    drive: Drive | None = None
    choices: tuple[Choice, ...] = ()

    def __post_init__(self) -> None:
        check_network(self)

    def population(self, name: str) -> Population:
        """Population of that name."""
        found: Population = _named(self.populations, name, "population")
        return found

    def connection(self, name: str) -> Connection:
        """Connection of that name."""
        found: Connection = _named(self.connections, name, "connection")
        return found

    @property
    def latents(self) -> PoissonPopulation:
        """The Poisson population that the readout reads."""
        population = self.population(self.readout.source)
        if not isinstance(population, PoissonPopulation):
            raise NetworkError(f"readout reads {population.name!r}, which is not Poisson")
        return population


def _named(items: Sequence[Any], name: str, kind: str) -> Any:
    for item in items:
        if item.name == name:
            return item
    known = ", ".join(repr(item.name) for item in items)
    raise NetworkError(f"no {kind} named {name!r}; this network has {known}")


def same_network(a: IntegerNetwork, b: IntegerNetwork) -> bool:
    """Whether two networks hold the same integers, names and choices."""
    return _same(a, b)


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if hasattr(a, "__dataclass_fields__"):
        return all(_same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return bool(a == b)


def check_steps(steps: int) -> int:
    """Return ``steps`` if it is a positive integer; raise :class:`InputError` if not."""
    if steps < 1:
        raise InputError(f"steps: expected at least 1 iteration, got {steps}")
    return steps
