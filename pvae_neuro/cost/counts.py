"""What is counted in a run, and the counting: a number for each iteration, image and core.

Counts are integers of the schedule as it stands. A held input, which its target keeps as a
constant, sends nothing; see :func:`~pvae_neuro.sim.lava.timing.is_held`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
    "packets": "messages, once for each core that has a synapse for them",
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


class Part(NamedTuple):
    """Neurons ``first`` to ``last - 1`` of a population, on one core."""

    core: str
    first: int
    last: int

    @property
    def neurons(self) -> slice:
        """Where they are in the population."""
        return slice(self.first, self.last)


Cores = Mapping[str, Sequence[Part]]
"""Parts of each population, in order and without a gap."""


@dataclass(frozen=True, eq=False)
class _Sends:
    """A connection that carries messages: from parts of the source to parts of the target."""

    connection: Connection
    bits: int
    sources: tuple[tuple[int, slice], ...]
    targets: tuple[int, ...]
    all_of_them: NDArray[np.float64]
    nonzero: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Acts:
    """What is the same each time that an activation runs: its parts, and what each neuron does."""

    parts: tuple[tuple[int, slice], ...]
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
    cores : mapping of str to sequence of Part
        Where each population is; one that is not named is a core of its own.
    """

    network: IntegerNetwork
    activations: tuple[Activation, ...]
    cores: Cores = field(default_factory=dict)

    def __post_init__(self) -> None:
        network = self.network
        self._parts = {
            p.name: tuple(self.cores.get(p.name, ())) or (Part(p.name, 0, p.size),)
            for p in network.populations
        }
        self._part_of = {
            name: np.repeat(np.arange(len(parts)), [p.last - p.first for p in parts])
            for name, parts in self._parts.items()
        }
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

    def _held(self, step: int, population: str) -> tuple[tuple[int, slice], ...]:
        """Loads of the parts of a population in a step, and where the parts are."""
        return tuple(
            (self._loads.setdefault(Load(step, p.core), len(self._loads)), p.neurons)
            for p in self._parts[population]
        )

    def _act(self, activation: Activation, step: int) -> _Acts:
        population = self.network.population_of[activation.population]
        program = population.program(activation.program)
        kinds = Counter(i.operation for i in program.instructions if i.operation != "draw")
        return _Acts(
            self._held(step, population.name),
            {
                "updates": 1,
                "operations": kinds.total(),
                "state_reads": len(program.reads),
                "state_writes": len(program.outputs),
            },
            kinds,
            tuple(
                self._sends(self.network.connection_of[name], step)
                for name in activation.connections
                if not is_held(self.network, self.network.connection_of[name])
            ),
        )

    def _sends(self, connection: Connection, step: int) -> _Sends:
        targets = self._held(step, connection.target)
        ends = np.zeros((len(targets), connection.shape[0]))
        for number, (_, neurons) in enumerate(targets):
            ends[number, neurons] = 1.0
        sent = self.network.ranges.variables[f"{connection.source}.{connection.variable}"]
        return _Sends(
            connection,
            _payload_bits(sent),
            self._held(step, connection.source),
            tuple(load for load, _ in targets),
            *fan_out(connection, ends),
        )

    def count(self, state: State, words: Words) -> Counted:
        """Run the activations on rows of states and count; see :func:`replay`."""
        rows = len(next(iter(state.values())))
        self._found = np.zeros((rows, len(self._loads), len(QUANTITIES)), np.int64)
        self._kinds = np.zeros((len(self._loads), len(KINDS)), np.int64)
        self._visits = np.zeros(len(PARTS), np.int64)
        for acted in replay(self.network, self.activations, state, words, self._part_of):
            self._one(self._acts[acted.number], acted)
        return Counted(self._found, self._kinds, self._visits)

    def _one(self, act: _Acts, acted: Acted) -> None:
        rows = len(self._found)
        for load, neurons in act.parts:
            size = neurons.stop - neurons.start
            for name, value in act.fixed.items():
                self._add(load, name, size * value)
            self._count_kinds(load, act.kinds, rows * size)
        for sends in act.sends:
            self._messages(sends, acted.sent[sends.connection.name])
        for counts, seen in acted.drawn:
            self._visits += seen.sum(axis=(0, 1))
            for part, (load, neurons) in enumerate(act.parts):
                self._add(load, "spikes", counts[:, neurons].sum(axis=1))
                self._draws(load, seen[:, part])

    def _draws(self, load: int, seen: Ints) -> None:
        """Count draws that came so often through each part of the sampler, [R, parts]."""
        for number, (part, operations) in enumerate(PARTS.items()):
            self._add(load, "operations", seen[:, number] * operations.total())
            self._add(load, "state_reads", seen[:, number] * CONSTANTS_READ.get(part, 0))
            self._count_kinds(load, operations, int(seen[:, number].sum()))

    def _messages(self, sends: _Sends, values: NDArray[Any]) -> None:
        active = (values != 0).astype(np.float64)
        unit = (np.abs(values) == 1).astype(np.float64)
        reached = (sends.all_of_them > 0).sum(axis=1)
        for load, neurons in sends.sources:
            messages = np.count_nonzero(values[:, neurons], axis=1)
            self._add(load, "messages", messages)
            self._add(load, "message_bits", messages * sends.bits)
            self._add(load, "packets", _whole(active[:, neurons] @ reached[neurons]))
        # Whole numbers far below 2**53: floats are exact.
        all_of_them, nonzero = (_whole(active @ n) for n in (sends.all_of_them, sends.nonzero))
        acs = _whole(unit @ sends.nonzero)
        for number, load in enumerate(sends.targets):
            self._add(load, "synops", all_of_them[:, number])
            self._add(load, "synops_nonzero", nonzero[:, number])
            self._add(load, "synops_dense", int(sends.all_of_them[:, number].sum()))
            self._add(load, "macs", nonzero[:, number] - acs[:, number])
            self._add(load, "acs", acs[:, number])

    def _add(self, load: int, name: str, value: int | Ints) -> None:
        self._found[:, load, _AT[name]] += value

    def _count_kinds(self, load: int, kinds: Mapping[str, int], times: int) -> None:
        for kind, n in kinds.items():
            self._kinds[load, KINDS.index(kind)] += times * n


def _whole(values: NDArray[np.float64]) -> Ints:
    return np.rint(values).astype(np.int64)


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
