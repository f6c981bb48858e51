"""What is counted in a run, and the counting: a number for each iteration, image and core.

Counts are integers of the schedule as it stands. A held input, which its target keeps as a
constant, sends nothing; see :func:`~pvae_neuro.sim.lava.timing.is_held`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.cost.replay import Acted, Words, replay
from pvae_neuro.cost.sampler_path import CONSTANTS_READ, PARTS
from pvae_neuro.cost.synapses import fan_out
from pvae_neuro.network import OPERATIONS, Activation, Connection, IntegerNetwork
from pvae_neuro.network.interval import Interval
from pvae_neuro.sim.lava.timing import is_held, network_timing
from pvae_neuro.sim.reference import State

Ints = NDArray[np.int64]

QUANTITIES: dict[str, str] = {
    "spikes": "sum of the counts that are drawn",
    "messages": "values other than 0 that neurons send, once for each connection",
    "message_bits": "bits of these values, each as wide as its variable is proved to be",
    "synops": "synapses that messages meet, those of weight 0 too: event-driven, dense rows",
    "synops_nonzero": "of these, those whose weight is not 0",
    "synops_dense": "all synapses, also where the value is 0",
    "macs": "synops_nonzero of a message other than 1 and -1",
    "acs": "synops_nonzero of a message of 1 or -1",
    "updates": "programs that neurons run",
    "operations": "word operations of these programs, draws by the path that they take",
    "state_reads": "words they read: variables, constants, received sums, inverses of the draw",
    "state_writes": "words that they store",
}
"""What is counted, and what it means. A weight is read from memory for each of ``synops``."""
_AT = {name: number for number, name in enumerate(QUANTITIES)}
KINDS = tuple(name for name in OPERATIONS if name != "draw")
"""Kinds of word operations; draws are counted by the operations that they are made of."""


@dataclass(frozen=True)
class Load:
    """Where and when: a core, in one of the time steps of an iteration."""

    step: int
    core: str


@dataclass(frozen=True, eq=False)
class _Sends:
    """A connection that carries messages."""

    connection: Connection
    bits: int
    fan_out: NDArray[np.float64]
    source: int
    target: int


@dataclass(eq=False)
class _Acts:
    """What is the same each time that an activation runs."""

    load: int
    fixed: dict[str, int]
    kinds: Counter[str]
    sends: tuple[_Sends, ...]


@dataclass(frozen=True, eq=False)
class Counted:
    """Counts of some rows, each an iteration of an image.

    Attributes
    ----------
    counts : int64 [R, loads, quantities]
    kinds : int64 [loads, kinds]
        Operations by kind, summed over the rows.
    visits : int64 [parts]
        How often draws came through each part of the sampler, summed over rows and neurons.
    """

    counts: Ints
    kinds: Ints
    visits: Ints


@dataclass(eq=False)
class Counting:
    """Counts what activations do.

    Parameters
    ----------
    network : IntegerNetwork
    activations : tuple of Activation
        ``iteration``, or ``final``.
    cores : mapping of str to str
        The core that holds each population; a population is a core of its own where it has none.
    """

    network: IntegerNetwork
    activations: tuple[Activation, ...]
    cores: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        network = self.network
        timing = network_timing(network)
        final = self.activations is network.final
        first = len(timing.loads)
        phases = timing.timing.final if final else timing.timing.iteration[first:]
        self._loads: dict[Load, int] = {}
        self._acts = [
            self._act(activation, phase % timing.timing.period)
            for activation, phase in zip(self.activations, phases, strict=True)
        ]

    @property
    def loads(self) -> tuple[Load, ...]:
        """In the order of the counts."""
        return tuple(self._loads)

    def _load(self, step: int, population: str) -> int:
        load = Load(step, self.cores.get(population, population))
        return self._loads.setdefault(load, len(self._loads))

    def _act(self, activation: Activation, step: int) -> _Acts:
        network = self.network
        population = network.population_of[activation.population]
        program = population.program(activation.program)
        read = program.reads
        load = self._load(step, population.name)
        kinds = Counter(i.operation for i in program.instructions if i.operation != "draw")
        return _Acts(
            load,
            {
                "updates": population.size,
                "operations": population.size * kinds.total(),
                "state_reads": population.size * len(read),
                "state_writes": population.size * len(program.outputs),
            },
            Counter({kind: population.size * n for kind, n in kinds.items()}),
            tuple(
                _Sends(c, _payload_bits(network.ranges.variables[f"{c.source}.{c.variable}"]),
                       fan_out(c), self._load(step, c.source), load)
                for c in (network.connection_of[name] for name in activation.connections)
                if not is_held(network, c)
            ),
        )  # fmt: skip

    def count(self, state: State, words: Words) -> Counted:
        """Run the activations on rows of states and count; see :func:`replay`."""
        rows = len(next(iter(state.values())))
        self._found = np.zeros((rows, len(self._loads), len(QUANTITIES)), np.int64)
        self._kinds = np.zeros((len(self._loads), len(KINDS)), np.int64)
        self._visits = np.zeros(len(PARTS), np.int64)
        for acted in replay(self.network, self.activations, state, words):
            self._one(self._acts[acted.number], acted)
        return Counted(self._found, self._kinds, self._visits)

    def _one(self, act: _Acts, acted: Acted) -> None:
        rows = len(self._found)
        for name, value in act.fixed.items():
            self._add(act.load, name, value)
        self._count_kinds(act.load, {kind: rows * n for kind, n in act.kinds.items()})
        for sends in act.sends:
            self._messages(sends, acted.sent[sends.connection.name])
        for counts, seen in acted.drawn:
            self._add(act.load, "spikes", counts.sum(axis=1))
            self._visits += seen.sum(axis=0)
            for number, (part, operations) in enumerate(PARTS.items()):
                self._add(act.load, "operations", seen[:, number] * operations.total())
                self._add(act.load, "state_reads", seen[:, number] * CONSTANTS_READ.get(part, 0))
                times = int(seen[:, number].sum())
                self._count_kinds(act.load, {kind: times * n for kind, n in operations.items()})

    def _messages(self, sends: _Sends, values: NDArray[Any]) -> None:
        active = values != 0
        unit = active & (np.abs(values) == 1)
        messages = np.count_nonzero(active, axis=1)
        # Whole numbers far below 2**53: floats are exact.
        all_of_them, nonzero = np.rint(active.astype(np.float64) @ sends.fan_out).astype(int).T
        acs = np.rint(unit.astype(np.float64) @ sends.fan_out[:, 1]).astype(np.int64)
        self._add(sends.source, "messages", messages)
        self._add(sends.source, "message_bits", messages * sends.bits)
        self._add(sends.target, "synops", all_of_them)
        self._add(sends.target, "synops_nonzero", nonzero)
        self._add(sends.target, "synops_dense", int(sends.fan_out[:, 0].sum()))
        self._add(sends.target, "macs", nonzero - acs)
        self._add(sends.target, "acs", acs)

    def _add(self, load: int, name: str, value: int | Ints) -> None:
        self._found[:, load, _AT[name]] += value

    def _count_kinds(self, load: int, kinds: Mapping[str, int]) -> None:
        for kind, n in kinds.items():
            self._kinds[load, KINDS.index(kind)] += n


def carrying(network: IntegerNetwork) -> tuple[Connection, ...]:
    """Connections that carry messages in an iteration."""
    used = dict.fromkeys(name for a in network.iteration for name in a.connections)
    return tuple(
        network.connection_of[name]
        for name in used
        if not is_held(network, network.connection_of[name])
    )


def _payload_bits(values: Interval) -> int:
    """Width of a message: without a sign where none is negative."""
    return values.bits - (values.smallest >= 0)
