"""Populations, connections and schedule of a chain, of real numbers or of integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    Sampler,
    Shared,
    Variable,
    shared,
    transpose_of,
)
from pvae_neuro.network.program import Program
from pvae_neuro.neurons.categorical import NORMALIZE, NORMALIZE_BOTH

INPUT, ERRORS = "pixels", "errors"
INFERRED = "node1.z"
"""What the first node hands on."""
Array = NDArray[Any]


class Sums(NamedTuple):
    """Normalizer neurons of a node: log-sums of its groups at first, and constants."""

    start: Array
    constants: tuple[Constant, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """A node: what its populations have, in real numbers or in integers.

    Attributes
    ----------
    name : str
    start : array [K]
        Parameters at first.
    constants : tuple of Constant
    sampler : Sampler or None
    fire, settle : Program
        What it hands on, and how it moves.
    is_predicted : bool
        Whether a node stands above.
    sums : Sums or None
        None where it has no groups.
    """

    name: str
    start: Array
    constants: tuple[Constant, ...]
    sampler: Sampler | None
    fire: Program
    settle: Program
    is_predicted: bool
    sums: Sums | None

    @property
    def sums_name(self) -> str:
        """Population of the normalizer neurons."""
        return f"{self.name}_sums"

    def populations(self) -> tuple[Population, ...]:
        """The node, and the normalizer neurons of its groups."""
        zero = np.zeros(1, self.start.dtype)
        handed_on = (Variable(output.variable, zero) for output in self.fire.outputs)
        node = Population(
            self.name, len(self.start), (Variable("u", self.start), *handed_on), self.constants,
            (self.fire, self.settle), self.sampler,
        )  # fmt: skip
        return (node,) if self.sums is None else (node, self._normalizers(self.sums))

    def _normalizers(self, sums: Sums) -> Population:
        rule = NORMALIZE_BOTH if self.is_predicted else NORMALIZE
        variables = tuple(Variable(output.variable, sums.start) for output in rule.outputs)
        return Population(self.sums_name, len(sums.start), variables, sums.constants, (rule,))

    def connections(self) -> tuple[Connection, ...]:
        """Between the node and its normalizer neurons."""
        if self.sums is None:
            return ()
        groups, sums, node = len(self.sums.start), self.sums_name, self.name
        ones = np.kron(np.eye(groups), np.ones(len(self.start) // groups))
        weight = ones.astype(np.int8)
        total = Dense(f"{node}_total", node, "z", sums, weight, 0, "total")
        back = transpose_of(total, f"{node}_log_sum", sums, "c", node, received_as="log_sum")
        if not self.is_predicted:
            return total, back
        name, same = f"{node}_expected", Shared(total.name, False)
        return (
            total,
            back,
            Dense(name, node, "p", sums, weight, 0, "expected", same),
            transpose_of(total, f"{name}_log_sum", sums, "d", node, received_as="expected_log_sum"),
        )


@dataclass(frozen=True, eq=False)
class Map:
    """A linear map from a node down to the one below it, or to the pixels.

    Attributes
    ----------
    weight : array [below, above]
    down, up : int
        Exponents of the two directions.
    """

    weight: Array
    down: int = 0
    up: int = 0


def constants_of(numbers: Mapping[str, Any]) -> tuple[Constant, ...]:
    """Constants by name, of arrays or of numbers that all neurons share."""
    return tuple(
        Constant(name, value if isinstance(value, np.ndarray) else shared(value))
        for name, value in numbers.items()
    )


def structure(
    parts: Sequence[Part],
    maps: Sequence[Map],
    pixels: int,
    compare: Program,
    constants: tuple[Constant, ...],
) -> dict[str, Any]:
    """Encodings, populations, connections and schedule.

    ``compare`` and ``constants`` are of the error neurons of the pixels; nodes begin at these.
    """
    zero = np.zeros(1, parts[0].start.dtype)
    errors = Population(
        ERRORS, pixels, (Variable("y", zero), Variable("m", zero)), constants, (compare,)
    )
    ones = np.ones(pixels, np.int8)
    connections: list[Connection] = [OneToOne("pixels", INPUT, "x", ERRORS, ones, 0, "pixel")]
    fires: list[Activation] = []
    normalize: list[Activation] = []
    settle: list[Activation] = []
    below, error = ERRORS, "m"
    for n, (part, each) in enumerate(zip(parts, maps, strict=True)):
        down = Dense(f"down{n}", part.name, "z", below, each.weight, each.down, "prediction")
        up = transpose_of(
            down, f"up{n}", below, error, part.name, exponent=each.up, received_as="feedback"
        )
        own = part.connections()
        connections += [down, up, *own]
        above = (f"down{n + 1}",) if part.is_predicted else ()
        fires.insert(0, Activation(part.name, "fire", (*above, *_to(part.name, own))))
        if own:
            to_sums = _to(part.sums_name, own)
            normalize.append(Activation(part.sums_name, "normalize", to_sums))
        settle.append(Activation(part.name, "settle", (up.name,)))
        below, error = part.name, "e"
    show = (*fires, Activation(ERRORS, "compare", ("pixels", "down0")))
    nodes = [population for part in parts for population in part.populations()]
    return {
        "encodings": (Encoding(INPUT, "x"),),
        "populations": (Population(INPUT, pixels, (Variable("x", zero),)), *nodes, errors),
        "connections": tuple(connections),
        "iteration": (*show, *normalize, *settle),
        "final": show,
    }


def _to(target: str, connections: Sequence[Connection]) -> tuple[str, ...]:
    return tuple(c.name for c in connections if c.target == target)
