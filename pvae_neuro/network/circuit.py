"""A circuit: populations, connections, a schedule, and what the host does around them.

:class:`~pvae_neuro.network.network.IntegerNetwork` is a circuit of integers, ready for any engine;
:class:`~pvae_neuro.network.float_circuit.FloatCircuit` is the same in real numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pvae_neuro.network.bounds import Items, Name, Optional, Part, Text, bounded
from pvae_neuro.network.connection import Connection, Dense, Shared, resolve
from pvae_neuro.network.host import Encoding, Input, Readout
from pvae_neuro.network.population import Population
from pvae_neuro.network.schedule import Activation
from pvae_neuro.utils.html import html_table
from pvae_neuro.utils.show import in_a_line, show

# Populations that a short form names; a name has at most 64 letters.
_LISTED = 3


@dataclass(frozen=True, eq=False, repr=False)
class Circuit:
    """Structure of a network.

    One iteration runs the activations of ``iteration`` in order; after the last iteration those of
    ``final`` run once. A run of T iterations thus has T + 1 steps, numbered from 0.

    Attributes
    ----------
    name : str
        Of the circuit, for people: ``lateral``, ``predictive``. Engines never ask.
    input : Input
    encodings : tuple of Encoding
        One for each variable of an input population.
    populations : tuple of Population
    connections : tuple of Connection
    iteration, final : tuple of Activation
    readout : Readout or None
    inferred : str or None
        ``population.variable`` of what was inferred, where that is not what :attr:`code` finds.
    """

    name: str = bounded(Name())
    input: Input = bounded(Part(Input))
    encodings: tuple[Encoding, ...] = bounded(Items(Encoding, most=1024))
    populations: tuple[Population, ...] = bounded(Items(Population, most=2048, least=1))
    connections: tuple[Connection, ...] = bounded(Items(Connection, most=16384))
    iteration: tuple[Activation, ...] = bounded(Items(Activation, most=8192, least=1))
    final: tuple[Activation, ...] = bounded(Items(Activation, most=8192), default=())
    readout: Readout | None = bounded(Optional(Readout), default=None)
    inferred: str | None = bounded(Optional(Text(129)), later=True, default=None)

    def __repr__(self) -> str:
        parts = [f"{p.name} {p.size}" for p in self.populations[:_LISTED]]
        if len(self.populations) > _LISTED:
            parts.append(f"and {len(self.populations) - _LISTED} more")
        connections = f"{len(self.connections)} connections"
        return in_a_line(f"<{type(self).__name__} {self.name}: {', '.join(parts)}; {connections}>")

    def _repr_html_(self) -> str:
        rows: list[tuple[object, ...]] = [
            (p.name, f"{p.size} neurons", ", ".join(q.name for q in p.programs) or "input")
            for p in self.populations
        ]
        rows += [(c.name, f"{c.source} → {c.target}", c.kind) for c in self.connections]
        return html_table(repr(self)[1:-1], rows)

    @cached_property
    def population_of(self) -> dict[str, Population]:
        """Populations by name."""
        return {p.name: p for p in self.populations}

    @cached_property
    def connection_of(self) -> dict[str, Connection]:
        """Connections by name."""
        return {c.name: c for c in self.connections}

    @property
    def activations(self) -> tuple[Activation, ...]:
        """Those of an iteration, then the final ones."""
        return (*self.iteration, *self.final)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """``population.variable`` of every variable that programs set, in order of definition."""
        return tuple(
            f"{p.name}.{v.name}" for p in self.populations if not p.is_input for v in p.variables
        )

    @property
    def operations(self) -> frozenset[str]:
        """Names of all operations in use."""
        used = {o for p in self.populations for program in p.programs for o in program.operations}
        return frozenset(used)

    @property
    def connection_kinds(self) -> frozenset[str]:
        """Kinds of all connections."""
        return frozenset(c.kind for c in self.connections)

    @cached_property
    def drawing(self) -> tuple[Population, ...]:
        """Populations whose programs use random words."""
        random = {"word", "draw"}
        return tuple(p for p in self.populations if any(q.operations & random for q in p.programs))

    @cached_property
    def latents(self) -> Population | None:
        """The population whose state is what was inferred.

        That of :attr:`inferred`; else that which the readout reads, if it draws or nothing does;
        else the first that draws.
        """
        if self.inferred is not None:
            return self.population_of[self.inferred.partition(".")[0]]
        read = None if self.readout is None else self.population_of[self.readout.population]
        if read is not None and (read in self.drawing or not self.drawing):
            return read
        return self.drawing[0] if self.drawing else None

    @cached_property
    def code(self) -> str | None:
        """``population.variable`` of what was inferred: the counts that the latents draw.

        Where :attr:`inferred` says another, that one. Where they compare their random word
        themselves, what that program sets first; where nothing draws, the readout's variable.
        Figures of activity are of this variable.
        """
        latents = self.latents
        if latents is None or self.inferred is not None:
            return self.inferred
        for program in latents.programs:
            for variable in program.counts:
                return f"{latents.name}.{variable}"
        if self.readout is None:
            return None
        if self.readout.population == latents.name:
            return f"{latents.name}.{self.readout.variable}"
        sets = (
            f"{latents.name}.{program.outputs[0].variable}"
            for program in latents.programs
            if "word" in program.operations and program.outputs
        )
        return next(sets, None)

    @cached_property
    def log_rate(self) -> str | None:
        """``population.variable`` of the log-rate that the latents draw counts of.

        None where they draw none, or of a log-rate that no variable holds.
        """
        latents = self.latents
        if latents is None:
            return None
        variables = {v.name for v in latents.variables}
        names = (name for program in latents.programs for name in program.log_rates)
        return next((f"{latents.name}.{name}" for name in names if name in variables), None)

    def groups(self, activation: Activation) -> dict[str, tuple[Connection, ...]]:
        """Connections of an activation by the name under which they are received."""
        found: dict[str, tuple[Connection, ...]] = {}
        for name in activation.connections:
            connection = self.connection_of[name]
            found[connection.received_as] = (*found.get(connection.received_as, ()), connection)
        return found

    def faults(self, path: str) -> Iterator[str]:
        """Yield one message for each part that does not fit the others."""
        structure = list(_structure_faults(self, path))
        yield from structure
        if not structure:
            yield from _host_faults(self, path)


def _structure_faults(circuit: Circuit, path: str) -> Iterator[str]:
    for what, names in (
        ("populations", [p.name for p in circuit.populations]),
        ("connections", [c.name for c in circuit.connections]),
    ):
        if len(set(names)) != len(names):
            yield f"{path}.{what}: expected different names, got {sorted(names)}"
            return
    for connection in circuit.connections:
        yield from _connection_faults(circuit, f"{path}.{connection.name}", connection)
    for list_name in ("iteration", "final"):
        drawn: list[str] = []
        for number, activation in enumerate(getattr(circuit, list_name)):
            where = f"{path}.{list_name}[{number}]"
            yield from _activation_faults(circuit, where, activation, drawn)
    yield from _stream_faults(circuit, path)


def _connection_faults(circuit: Circuit, path: str, c: Connection) -> Iterator[str]:
    source, target = (circuit.population_of.get(name) for name in (c.source, c.target))
    for role, name, population in (("source", c.source, source), ("target", c.target, target)):
        if population is None:
            yield f"{path}.{role}: no population is named {name!r}"
    if source is None or target is None:
        return
    if c.variable not in {v.name for v in source.variables}:
        yield f"{path}: {c.source!r} has no variable {c.variable!r}"
    if target.is_input:
        yield f"{path}: {c.target!r} is an input; nothing can be sent to it"
    if c.shape != (target.size, source.size):
        yield (
            f"{path}.weight: expected {target.size} targets and {source.size} sources, got "
            f"{c.shape[0]} and {c.shape[1]}"
        )
    if c.shared is not None:
        holder = circuit.connection_of.get(c.shared.connection)
        if holder is None or holder.shared is not None:
            yield (
                f"{path}.shared: expected a connection with weights of its own, got "
                f"{c.shared.connection!r}"
            )
        else:
            yield from _sharing_faults(path, c, c.shared, holder)


def _sharing_faults(path: str, c: Connection, shared: Shared, holder: Connection) -> Iterator[str]:
    for name, part, axis in (("rows", shared.rows, 0), ("columns", shared.columns, 1)):
        if part is None:
            continue
        if not isinstance(holder, Dense):
            yield f"{path}.shared.{name}: expected none for the {holder.kind} {holder.name!r}"
            return
        if part[1] > holder.weight.shape[axis]:
            yield (
                f"{path}.shared.{name}: {holder.name!r} has {holder.weight.shape[axis]}, got "
                f"{list(part)}"
            )
            return
    if not _same_array(c, holder):
        yield f"{path}.weight: differs from the weights of {holder.name!r} that it shares"


def _same_array(c: Connection, holder: Connection) -> bool:
    if c.shared is None or c.weight.ndim != holder.weight.ndim:
        return False
    view = resolve(holder.weight, c.shared)
    same_memory = (
        view.shape == c.weight.shape
        and view.strides == c.weight.strides
        and view.__array_interface__["data"] == c.weight.__array_interface__["data"]
    )
    return same_memory or np.array_equal(view, c.weight)


def _activation_faults(
    circuit: Circuit, path: str, activation: Activation, drawn: list[str]
) -> Iterator[str]:
    population = circuit.population_of.get(activation.population)
    if population is None:
        yield f"{path}: no population is named {activation.population!r}"
        return
    program = next((p for p in population.programs if p.name == activation.program), None)
    if program is None:
        yield f"{path}: {population.name!r} has no program {activation.program!r}"
        return
    for name in activation.connections:
        if name not in circuit.connection_of:
            yield f"{path}: no connection is named {name!r}"
            return
        if circuit.connection_of[name].target != population.name:
            yield f"{path}: connection {name!r} does not end at {population.name!r}"
    if len(set(activation.connections)) != len(activation.connections):
        yield f"{path}: expected each connection once, got {list(activation.connections)}"
    groups = circuit.groups(activation)
    needed = set(population.received_names(program))
    for name in sorted(needed - set(groups)):
        yield (
            f"{path}: {activation.program!r} reads {name!r}, which is no variable or constant of "
            f"{population.name!r} and which no connection delivers"
        )
    for name in sorted(set(groups) - needed):
        yield f"{path}: {activation.program!r} does not read {name!r}, which is delivered"
    for name, connections in groups.items():
        exponents = sorted({c.exponent for c in connections})
        if len(exponents) > 1:
            yield f"{path}: connections received as {name!r} need one exponent, got {exponents}"
    if program.operations & {"word", "draw"}:
        if population.name in drawn:
            yield f"{path}: {population.name!r} draws twice in one step"
        drawn.append(population.name)


def _stream_faults(circuit: Circuit, path: str) -> Iterator[str]:
    taken: list[tuple[int, int, int, str]] = []
    for population in circuit.drawing:
        sampler = population.sampler
        if sampler is None:
            continue
        first, last = sampler.first, sampler.first + population.size
        for stream, other_first, other_last, name in taken:
            if stream == sampler.stream and first < other_last and other_first < last:
                yield (
                    f"{path}: {population.name!r} and {name!r} draw the same words of stream "
                    f"{stream}; give each its own"
                )
        taken.append((sampler.stream, first, last, population.name))


def _host_faults(circuit: Circuit, path: str) -> Iterator[str]:
    encoded = [(e.population, e.variable) for e in circuit.encodings]
    inputs = [(p.name, v.name) for p in circuit.populations if p.is_input for v in p.variables]
    if sorted(encoded) != sorted(inputs):
        yield (
            f"{path}.encodings: expected one for each variable of an input, {inputs}; got {encoded}"
        )
        return
    pixels = circuit.input.size
    for encoding in circuit.encodings:
        size = circuit.population_of[encoding.population].size
        expected = (size, pixels)
        got = (pixels, pixels) if encoding.weight is None else encoding.weight.shape
        if got != expected:
            where = f"{path}.encodings.{encoding.population}"
            yield f"{where}: expected a matrix of shape {expected}, got {tuple(got)}"
    if circuit.inferred is not None and circuit.inferred not in circuit.variables:
        yield f"{path}.inferred: no program sets {show(circuit.inferred)}"
    if circuit.readout is not None:
        yield from _readout_faults(circuit, f"{path}.readout", circuit.readout)


def _readout_faults(circuit: Circuit, path: str, readout: Readout) -> Iterator[str]:
    if f"{readout.population}.{readout.variable}" not in circuit.variables:
        yield f"{path}: no program sets {show(f'{readout.population}.{readout.variable}')}"
        return
    size = circuit.population_of[readout.population].size
    shape: tuple[int, ...] = (size, size)
    if readout.weight is not None:
        shape = readout.weight.shape
    elif readout.connection is not None:
        connection = circuit.connection_of.get(readout.connection)
        if not isinstance(connection, Dense):
            yield f"{path}.connection: expected a dense connection, got {readout.connection!r}"
            return
        if (connection.source, connection.variable) != (readout.population, readout.variable):
            yield (
                f"{path}.connection: {connection.name!r} sends {connection.source}."
                f"{connection.variable}; expected one that sends {readout.population}."
                f"{readout.variable}"
            )
            return
        shape = connection.weight.shape
    if shape != (circuit.input.size, size):
        yield f"{path}: expected a matrix of shape {(circuit.input.size, size)}, got {shape}"
