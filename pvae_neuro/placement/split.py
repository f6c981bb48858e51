"""Split a network: populations become parts, connections blocks, and every integer stays.

A part draws the words of its neurons (``Sampler.first``), and blocks that end at one part are
received under one name, so they add up before the shift, as the whole rows do. One thing changes
the order of events: where a program sets a variable that its own population receives, the second
part would receive what the first has already set. Then all parts first store what they receive,
in a variable of their own, and only after that run the program; on a chip this variable is the
accumulator of the neuron.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import (
    Activation,
    Connection,
    Constant,
    Dense,
    Encoding,
    IntegerNetwork,
    OneToOne,
    Output,
    Population,
    Program,
    Readout,
    Shared,
    Variable,
    shared,
)
from pvae_neuro.network.program import is_reserved
from pvae_neuro.utils.show import show

Slice = tuple[int, int]
"""First neuron and last + 1."""
Blocks = dict[tuple[int, int], Connection]
"""What a connection became, by the numbers of the target's and the source's part."""
LONGEST_NAME = 64
# Sources whose columns are unrolled at once.
_COLUMNS = 128


class Part(NamedTuple):
    """Neurons ``first`` to ``last - 1`` of a population, a population ``name`` of their own."""

    name: str
    first: int
    last: int

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.last - self.first


@dataclass(frozen=True, eq=False)
class Split:
    """A network whose populations are split.

    Attributes
    ----------
    source : IntegerNetwork
        As it was.
    network : IntegerNetwork
        Gives the same integers. Without a readout if the readout's population is split.
    parts : dict of str to tuple of Part
        Of every population of ``source``.
    blocks : dict of str to dict of (int, int) to str
        Connections of ``network`` that a connection of ``source`` became, by the numbers of the
        target's and the source's part. A block without synapses is left out.
    """

    source: IntegerNetwork
    network: IntegerNetwork
    parts: dict[str, tuple[Part, ...]]
    blocks: dict[str, dict[tuple[int, int], str]]


def split(network: IntegerNetwork, slices: Mapping[str, tuple[Slice, ...]]) -> Split:
    """Split populations of a network.

    Parameters
    ----------
    network : IntegerNetwork
    slices : mapping of str to tuple of (int, int)
        First neuron and last + 1 of each part, in order and without gaps. A population that is
        not named stays whole; an input follows the populations that it is connected to one to one.

    Raises
    ------
    NetworkError
        If a slice fits no population, or there are more parts than a network may have.
    """
    return _Splitting(network, slices).split()


class _Names:
    """Names of at most 64 letters, each given once."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken

    def new(self, name: str) -> str:
        """The name, shortened and numbered where it has to be."""
        for number in range(1 << 20):
            end = f"_{number}" if number else ""
            made = name[: LONGEST_NAME - len(end)] + end
            if made not in self._taken and not is_reserved(made):
                self._taken.add(made)
                return made
        raise NetworkError(f"{name!r}: no such name is free")


class _Splitting:
    def __init__(self, network: IntegerNetwork, slices: Mapping[str, tuple[Slice, ...]]) -> None:
        self.network = network
        self.slices: dict[str, tuple[Slice, ...]] = {
            p.name: ((0, p.size),) for p in network.populations
        }
        for name, given in slices.items():
            _check_slices(network, name, given)
            self.slices[name] = tuple(given)
        for population in network.populations:
            if population.is_input:
                self.slices[population.name] = self._input_slices(population)
        names = _Names({p.name for p in network.populations})
        self.parts = {
            name: tuple(
                Part(name if len(cut) == 1 else names.new(f"{name}_{number}"), *ends)
                for number, ends in enumerate(cut)
            )
            for name, cut in self.slices.items()
        }
        self.connection_names = _Names({c.name for c in network.connections})
        self.collected = self._collected()

    def split(self) -> Split:
        blocks = self._blocks()
        network = self.network
        populations = tuple(
            made for p in network.populations for made in self._populations(p, self.parts[p.name])
        )
        made = replace(
            network,
            encodings=tuple(self._encodings()),
            populations=populations,
            connections=tuple(c for found in blocks.values() for c in found.values()),
            iteration=tuple(self._activations(network.iteration, blocks)),
            final=tuple(self._activations(network.final, blocks)),
            readout=self._readout(blocks),
            inferred=self._inferred(),
        )
        names = {name: {k: c.name for k, c in found.items()} for name, found in blocks.items()}
        return Split(network, made, self.parts, names)

    def _inferred(self) -> str | None:
        """Of a population that is split, the variable of its first part."""
        if self.network.inferred is None:
            return None
        name, _, variable = self.network.inferred.partition(".")
        return f"{self.parts[name][0].name}.{variable}"

    # -------------------------------------------------------------------------- populations

    def _input_slices(self, population: Population) -> tuple[Slice, ...]:
        """Cut an input where the populations are cut that it is connected to one to one."""
        ends = {0, population.size}
        for c in self.network.connections:
            if c.source == population.name and isinstance(c, OneToOne):
                ends.update(last for _, last in self.slices[c.target])
        cuts = sorted(ends)
        return tuple(pairwise(cuts))

    def _encodings(self) -> Iterator[Encoding]:
        for encoding in self.network.encodings:
            parts = self.parts[encoding.population]
            if len(parts) == 1:
                yield encoding
                continue
            for part in parts:
                if encoding.weight is None:  # The pixels themselves, those of the part.
                    weight = np.eye(part.size, self.network.input.size, part.first, np.int32)
                else:
                    weight = encoding.weight[part.first : part.last]
                yield replace(encoding, population=part.name, weight=weight)

    def _populations(self, population: Population, parts: tuple[Part, ...]) -> Iterator[Population]:
        if len(parts) == 1:
            yield population
            return
        variables, programs = list(population.variables), list(population.programs)
        for name, received in self.collected.get(population.name, {}).items():
            place = programs.index(population.program(name))
            programs[place] = _renamed(programs[place], received)
            outputs = tuple(Output(variable, sum_) for sum_, variable in received.items())
            programs.append(Program(self._collecting(population, name), (), outputs))
            variables += [Variable(variable, shared(0)) for variable in received.values()]
        for part in parts:
            sampler = population.sampler
            if sampler is not None:
                sampler = replace(sampler, first=sampler.first + part.first)
            yield Population(
                part.name,
                part.size,
                tuple(replace(v, initial=_cut(v.initial, part)) for v in variables),
                tuple(Constant(c.name, _cut(c.values, part)) for c in population.constants),
                tuple(programs),
                sampler,
            )

    def _collected(self) -> dict[str, dict[str, dict[str, str]]]:
        """Sums that are stored before a program runs, by population and program.

        Each is a received name with the variable that takes its place.
        """
        found: dict[str, dict[str, dict[str, str]]] = {}
        for activation in self.network.activations:
            population = self.network.population_of[activation.population]
            if len(self.parts[population.name]) == 1:
                continue
            sets = {o.variable for o in population.program(activation.program).outputs}
            own = {v.name for v in population.variables} | {c.name for c in population.constants}
            own |= {name for p in population.programs for name in population.received_names(p)}
            for received, connections in self.network.groups(activation).items():
                if any(c.source == population.name and c.variable in sets for c in connections):
                    known = found.setdefault(population.name, {})
                    taken = own | {v for names in known.values() for v in names.values()}
                    program = known.setdefault(activation.program, {})
                    if received not in program:
                        program[received] = _Names(taken).new(f"sum_{received}")
        return found

    def _collecting(self, population: Population, program: str) -> str:
        """Name of the program that stores what another one receives."""
        return _Names({p.name for p in population.programs}).new(f"collect_{program}")

    # ------------------------------------------------------------------------- connections

    def _blocks(self) -> dict[str, Blocks]:
        """Blocks of every connection."""
        held: dict[str, Blocks] = {}
        # Those that hold their weights come first; the others are views of them.
        for c in sorted(self.network.connections, key=lambda c: c.shared is not None):
            held[c.name] = self._cut_connection(c, held)
        return {c.name: held[c.name] for c in self.network.connections}

    def _cut_connection(self, c: Connection, held: Mapping[str, Blocks]) -> Blocks:
        targets, sources = self.parts[c.target], self.parts[c.source]
        holder = {} if c.shared is None else held[c.shared.connection]
        if len(targets) == len(sources) == 1:
            names = {block.name for block in holder.values()}
            kept = c.shared is None or c.shared.connection in names
            return {(0, 0): c if kept else replace(c, shared=None)}
        cut: dict[tuple[int, int], tuple[type[Connection], NDArray[Any]]] = {}
        for s, source in enumerate(sources):
            columns = None if isinstance(c, OneToOne) else unrolled(c, source.first, source.last)
            for t, target in enumerate(targets):
                kind, weight = _block(c, columns, target, source)
                # What a program reads has to be delivered, be it by a block of zeros.
                if s == 0 or weight.any():
                    cut[t, s] = kind, weight if isinstance(c, Dense) else weight.copy()
        found: Blocks = {}
        for t, target in enumerate(targets):
            row = [s for s in range(len(sources)) if (t, s) in cut]
            for s in row[1:] if len(row) > 1 and not cut[t, 0][1].any() else row:
                kind, (weight, held_by) = cut[t, s][0], _held(c, (t, s), cut[t, s][1], holder)
                found[t, s] = kind(
                    name=self.connection_names.new(f"{c.name}_{t}_{s}"),
                    source=sources[s].name,
                    variable=c.variable,
                    target=target.name,
                    weight=weight,
                    exponent=c.exponent,
                    received_as=c.received_as,
                    shared=held_by,
                )
        return found

    def _readout(self, blocks: Mapping[str, Blocks]) -> Readout | None:
        readout = self.network.readout
        if readout is None or len(self.parts[readout.population]) > 1:
            return None
        if readout.connection is None or len(blocks[readout.connection]) == 1:
            return readout
        weight = self.network.connection_of[readout.connection].weight
        return replace(readout, connection=None, weight=weight.astype(np.int16))

    # ---------------------------------------------------------------------------- schedule

    def _activations(
        self, activations: tuple[Activation, ...], blocks: Mapping[str, Blocks]
    ) -> Iterator[Activation]:
        for activation in activations:
            population = self.network.population_of[activation.population]
            parts = self.parts[population.name]
            collected = self.collected.get(population.name, {}).get(activation.program, {})
            delivered: dict[bool, list[str]] = {True: [], False: []}
            for name in activation.connections:
                first = self.network.connection_of[name].received_as in collected
                delivered[first].append(name)
            if collected:
                program = self._collecting(population, activation.program)
                for t, part in enumerate(parts):
                    yield Activation(part.name, program, _to(t, delivered[True], blocks))
            for t, part in enumerate(parts):
                names = _to(t, delivered[False], blocks)
                yield Activation(part.name, activation.program, names)


def unrolled(c: Connection, first: int, last: int) -> NDArray[Any]:
    """The synapses of sources ``first`` to ``last - 1`` as a matrix, int8 [target, sources]."""
    if isinstance(c, Dense):
        return c.weight[:, first:last]
    targets, sources = c.shape
    found = np.empty((targets, last - first), np.int8)
    weight = c.weight.astype(np.float32)  # One product at a time is exact, and floats have BLAS.
    for start in range(first, last, _COLUMNS):
        unit = np.eye(min(_COLUMNS, last - start), sources, start, np.float32)
        found[:, start - first : start - first + len(unit)] = np.rint(c.product(unit, weight)).T
    return found


def _check_slices(network: IntegerNetwork, name: str, slices: tuple[Slice, ...]) -> None:
    population = network.population_of.get(name)
    if population is None:
        raise NetworkError(f"slices: no population is named {name!r}")
    firsts, lasts = [first for first, _ in slices], [last for _, last in slices]
    ordered = all(first < last for first, last in slices)
    if not slices or [*firsts, population.size] != [0, *lasts] or not ordered:
        raise NetworkError(
            f"slices of {name!r}: expected parts from 0 to {population.size} in order and without "
            f"gaps, got {show(list(slices))}"
        )


def _cut(values: NDArray[Any], part: Part) -> NDArray[Any]:
    """The part's values of a number per neuron; a shared one stays."""
    return values if len(values) == 1 else values[part.first : part.last]


def _block(
    c: Connection, columns: NDArray[Any] | None, target: Part, source: Part
) -> tuple[type[Connection], NDArray[Any]]:
    """Kind and weights of the synapses from one part to another."""
    if columns is not None:
        return Dense, columns[target.first : target.last]
    if target[1:] == source[1:]:
        return OneToOne, c.weight[target.first : target.last]
    weight = np.zeros((target.size, source.size), np.int8)
    common = np.arange(max(target.first, source.first), min(target.last, source.last))
    weight[common - target.first, common - source.first] = c.weight[common]
    return Dense, weight


def _held(
    c: Connection, key: tuple[int, int], weight: NDArray[Any], holder: Blocks
) -> tuple[NDArray[Any], Shared | None]:
    """Weights of a block as a view of another's, where one holds the same synapses."""
    if c.shared is None:
        return weight, None
    other = holder.get(key[::-1] if c.shared.transposed else key)
    if not isinstance(other, Dense):
        return weight, None
    view = other.weight.T if c.shared.transposed else other.weight
    if not np.array_equal(view, weight):
        return weight, None
    return view, Shared(other.name, c.shared.transposed)


def _to(part: int, names: list[str], blocks: Mapping[str, Blocks]) -> tuple[str, ...]:
    """Names of the blocks of some connections that end at one part."""
    return tuple(c.name for name in names for (t, _), c in blocks[name].items() if t == part)


def _renamed(program: Program, names: Mapping[str, str]) -> Program:
    """A program that reads other names."""

    def new(arguments: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in arguments)

    return replace(
        program,
        instructions=tuple(replace(i, arguments=new(i.arguments)) for i in program.instructions),
        outputs=tuple(replace(o, value=names.get(o.value, o.value)) for o in program.outputs),
        composites=tuple(replace(c, arguments=new(c.arguments)) for c in program.composites),
    )
