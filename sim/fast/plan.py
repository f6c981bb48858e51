"""What is worked out once per network: its commands, its cells, its weights, its compiled loops.

:func:`plan_for` walks the schedule as the proof of ranges does, so that every choice of a width or a
way rests on a proved interval. One function below for each kind of connection; programs are cut into
loops and draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError
from pvae_neuro.network import (
    Connection,
    Convolution,
    IntegerNetwork,
    Interval,
    OneToOne,
    Population,
    Program,
    readout_weight,
)
from pvae_neuro.network.interval import hull
from pvae_neuro.sim.fast import kernel
from pvae_neuro.sim.fast.cut import Draw, cut_program
from pvae_neuro.sim.fast.layouts import (
    CACHE_LINE,
    INT16_MAX,
    SUMS_TOGETHER,
    Weights,
    aligned,
    digit_blocks,
    digits_of,
    event_rows,
    pad,
    padded_size,
    sends_events,
)
from pvae_neuro.sim.fast.programs import Cell, Loop, Machine, Reading, Received, compile_loops
from pvae_neuro.sim.fast.proved import Proved, proved_activations
from pvae_neuro.sim.fast.readout import Readout
from pvae_neuro.sim.fast.sampling import Samplers
from pvae_neuro.sim.fast.vectors import BYTE_LANES, PAIR_LANES, WORD_LANES
from pvae_neuro.sim.noise import WORDS_PER_BLOCK

INT32_MAX = (1 << 31) - 1
CELLS_PER_LINE = CACHE_LINE // 4
Command = list[int]


@dataclass(frozen=True, eq=False)
class Plan:
    """A network as the kernel reads it.

    Attributes
    ----------
    code : Code
    machine : Machine
        Keeps the loops' code alive.
    places : dict of str to int
        Where each variable begins among the cells, by ``population.variable``.
    readout : Readout
        Without weights where the kernel cannot read out.
    target_left : int
        Left shift that brings inputs to the unit of the readout.
    """

    code: kernel.Code
    machine: Machine
    places: dict[str, int]
    readout: Readout
    target_left: int

    @property
    def reads_out(self) -> bool:
        """Whether the kernel reads counts out."""
        return len(self.readout.weight) > 0


def plan_for(network: IntegerNetwork) -> Plan:
    """Return the network's plan; made at the first call, kept with the network."""
    if "fast" not in network.compiled:
        network.compiled["fast"] = _Planner(network).plan()
    plan: Plan = network.compiled["fast"]
    return plan


class _Cells:
    """Hands out places in the array of cells; every array begins at a cache line."""

    def __init__(self) -> None:
        self.end = 0
        self.values: list[tuple[int, NDArray[np.int32]]] = []

    def place(self, size: int) -> int:
        """Place of an array."""
        place = self.end
        self.end += padded_size(size, CELLS_PER_LINE)
        return place

    def hold(self, values: NDArray[Any], size: int) -> int:
        """Place of an array with these values at the start."""
        place = self.place(size)
        self.values.append((place, np.broadcast_to(values.astype(np.int32), size)))
        return place

    def array(self) -> NDArray[np.int32]:
        """All cells at the start."""
        cells = np.zeros(self.end, np.int32)
        for place, values in self.values:
            cells[place : place + len(values)] = values
        return aligned(cells)


class _Planner:
    """Builds the plan of one network."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self.cells = _Cells()
        self.commands: dict[str, list[Command]] = {"start": [], "iteration": [], "final": []}
        self.loops: list[Loop] = []
        self.weights = Weights()
        self.lists: list[list[int]] = []
        self.list_of: dict[str, int] = {}
        self.samplers = Samplers()
        self.blocks = self.sums = self.sources = 1
        # Places of variables and of constants, by population and name.
        self.places: dict[tuple[str, str], int] = {}
        self.inputs = self._place_variables(True)
        self.state = self._place_variables(False)
        for population in network.populations:
            for constant in population.constants:
                place = self.cells.hold(constant.values, len(constant.values))
                self.places[population.name, constant.name] = place
        self.delivered: dict[str, int] = {}

    def _place_variables(self, inputs: bool) -> int:
        for population in self.network.populations:
            if population.is_input == inputs:
                for variable in population.variables:
                    place = self.cells.hold(variable.initial, population.size)
                    self.places[population.name, variable.name] = place
        return self.cells.end

    def plan(self) -> Plan:
        """Walk the schedule, then put everything together."""
        network = self.network
        readout, left = _readout(network)
        if len(readout.weight):
            source = network.readout
            self.list_of[f"{source.population}.{source.variable}"] = self._list(readout.neurons)
        activations = proved_activations(network)
        sent: dict[str, Interval] = {}
        for proved in activations:
            for name, interval in proved.sent.items():
                sent[name] = hull(sent.get(name, interval), interval)
        self.sent = sent
        for connection in network.connections:
            if connection.name in sent and sends_events(connection, sent[connection.name]):
                self._list_of(connection)
        for proved in activations:
            self._activate(proved)
        starts = [
            [kernel.LIST, self.places[tuple(name.split("."))], number]
            for name, number in self.list_of.items()
        ]
        self.commands["start"][:0] = starts
        return self._finish(readout, left)

    # -------------------------------------------------------------------------- connections

    def _list(self, neurons: int) -> int:
        """Number of a new list of active neurons."""
        sizes = (neurons + 2, neurons + 2, neurons // 2 + 1)
        self.lists.append([*(self.cells.place(size) for size in sizes), neurons])
        return len(self.lists) - 1

    def _list_of(self, connection: Connection) -> int:
        """Number of the list of what a connection sends."""
        name = f"{connection.source}.{connection.variable}"
        if name not in self.list_of:
            self.list_of[name] = self._list(connection.shape[1])
        return self.list_of[name]

    def _deliver(self, part: str, connection: Connection) -> tuple[int, int | None]:
        """Write the command of a connection; where its sums are, and weights to multiply by."""
        source = self.places[connection.source, connection.variable]
        if isinstance(connection, OneToOne):
            # Nothing to do: the target's loop reads the source itself.
            if connection.is_identity:
                return source, None
            if connection.name not in self.delivered:
                place = self.cells.hold(connection.weight, len(connection.weight))
                self.delivered[connection.name] = place
            return source, self.delivered[connection.name]
        # What inputs send does not change within a frame.
        constant = self.network.population_of[connection.source].is_input
        if connection.name in self.delivered and constant:
            return self.delivered[connection.name], None
        size = padded_size(connection.shape[0], SUMS_TOGETHER)
        self.sums = max(self.sums, size)
        total = self.delivered.get(connection.name)
        if total is None:
            total = self.delivered[connection.name] = self.cells.place(size)
        command = DELIVERIES[connection.kind](self, connection, source, total)
        self.commands["start" if constant else part].append(command)
        return total, None

    # ----------------------------------------------------------------------------- programs

    def _activate(self, proved: Proved) -> None:
        activation = proved.activation
        population = self.network.population_of[activation.population]
        program = population.program(activation.program)
        reads: dict[str, Reading] = {}
        for name, connections in self.network.groups(activation).items():
            parts = tuple(self._deliver(proved.part, c) for c in connections)
            reads[name] = Received(parts, connections[0].exponent)
        for variable in population.variables:
            reads[variable.name] = Cell(self.places[population.name, variable.name])
        for constant in population.constants:
            shared = len(constant.values) == 1
            reads[constant.name] = Cell(self.places[population.name, constant.name], shared)
        skipped = 0
        if program.operations & {"word", "draw"} and population.sampler is not None:
            block, skipped = divmod(population.sampler.first, WORDS_PER_BLOCK)
            blocks = -(-(skipped + population.size) // WORDS_PER_BLOCK)
            self.blocks = max(self.blocks, blocks)
            self.commands[proved.part].append(
                [kernel.NOISE, population.sampler.stream, block, blocks]
            )
        self._program(proved, population, program, reads, skipped)

    def _program(
        self,
        proved: Proved,
        population: Population,
        program: Program,
        reads: dict[str, Reading],
        skipped: int,
    ) -> None:
        commands = self.commands[proved.part]
        variables = {v.name: self.places[population.name, v.name] for v in population.variables}
        cut = cut_program(
            program, reads, proved.words, variables, lambda: self.cells.place(population.size)
        )
        for stage, loop in enumerate(cut.loops):
            if loop.writes:
                commands.append([kernel.LOOP, len(self.loops), 0, skipped, population.size])
                self.loops.append(loop)
            for draw in cut.draws:
                if draw.stage == stage:
                    commands.append(self._draw(population, draw, skipped))
        drawn = {draw.variable for draw in cut.draws}
        for output in program.outputs:
            name = f"{population.name}.{output.variable}"
            if name in self.list_of and output.variable not in drawn:
                place = self.places[population.name, output.variable]
                commands.append([kernel.LIST, place, self.list_of[name]])

    def _draw(self, population: Population, draw: Draw, skipped: int) -> Command:
        sampler = population.sampler
        if sampler is None:
            raise EngineError(f"{population.name}: draws without a sampler")
        number = self.samplers.number(draw.interval, sampler)
        listed = None
        if draw.variable is not None:
            listed = self.list_of.get(f"{population.name}.{draw.variable}")
        if listed is None:
            listed = self._list(population.size)
        return [
            kernel.DRAW, draw.log_rate, draw.counts, population.size, skipped, number, listed
        ]  # fmt: skip

    # ------------------------------------------------------------------------------- the end

    def _finish(self, readout: Readout, left: int) -> Plan:
        machine = compile_loops(self.loops)
        given: list[int] = []
        firsts = []
        for loop in self.loops:
            firsts.append(len(given))
            places, exponents = loop.arguments()
            given += [*places, *exponents]
        for commands in self.commands.values():
            for command in commands:
                if command[0] == kernel.LOOP:
                    number = command[1]
                    command[1:3] = machine.addresses[number], firsts[number]
        network = self.network
        source = network.readout
        listed = -1
        if len(readout.weight) and source is not None:
            listed = self.list_of[f"{source.population}.{source.variable}"]
        latents = network.latents
        most = -1 if latents is None or latents.sampler is None else latents.sampler.max_count
        neurons = max(p.size for p in network.populations)
        sizes = (
            self.inputs, self.state, self.blocks, neurons, self.sums, self.sources, listed, most
        )  # fmt: skip
        code = kernel.Code(
            cells=self.cells.array(),
            start=_table(self.commands["start"], kernel.COMMAND_WIDTH),
            iteration=_table(self.commands["iteration"], kernel.COMMAND_WIDTH),
            final=_table(self.commands["final"], kernel.COMMAND_WIDTH),
            given=np.array(given or [0], np.int64),
            lists=_table(self.lists, 4),
            sampler=_table(self.samplers.rows, 8),
            tables=self.samplers.table(),
            inverse=self.samplers.inverse(),
            weights=self.weights.array(),
            sizes=np.array(sizes, np.int64),
        )
        places = {f"{p}.{v}": place for (p, v), place in self.places.items()}
        return Plan(code, machine, places, readout, left)


# --------------------------------------------------------------------- one per connection kind


def _deliver_dense(planner: _Planner, c: Connection, source: int, total: int) -> Command:
    """Dense: events of small counts, else products in digits."""
    sent = planner.sent[c.name]
    if sends_events(c, sent):
        first = planner.weights.segment(c.weight, event_rows)
        largest = np.abs(c.weight.astype(np.int32)).max(axis=0)
        if ("largest", first) not in planner.places:
            planner.places["largest", first] = planner.cells.hold(largest, len(largest))
        width = padded_size(c.shape[0], BYTE_LANES)
        place = planner.places["largest", first]
        return [kernel.EVENTS, planner._list_of(c), first, place, total, width]
    first = planner.weights.segment(c.weight, digit_blocks)
    planner.sources = max(planner.sources, padded_size(c.shape[1], 2))
    width = padded_size(c.shape[0], PAIR_LANES)
    return [kernel.DIGITS, source, c.shape[1], digits_of(sent), first, total, width]


def _deliver_convolution(planner: _Planner, c: Connection, source: int, total: int) -> Command:
    first = planner.weights.segment(c.weight, np.ravel)
    return [kernel.CONVOLUTION, source, total, first, *_shape(c)]


def _deliver_transposed(planner: _Planner, c: Connection, source: int, total: int) -> Command:
    first = planner.weights.segment(c.weight, np.ravel)
    return [kernel.TRANSPOSED, total, source, first, *_shape(c)]


def _shape(c: Connection) -> list[int]:
    if not isinstance(c, Convolution):
        raise EngineError(f"{c.name}: expected a convolution, got {c.kind}")
    return [*c.wide, *c.narrow, *c.weight.shape[2:], c.stride, c.padding]


DELIVERIES: dict[str, Callable[[_Planner, Connection, int, int], Command]] = {
    "dense": _deliver_dense,
    "convolution": _deliver_convolution,
    "transposed_convolution": _deliver_transposed,
}


def _readout(network: IntegerNetwork) -> tuple[Readout, int]:
    """Readout weights for the kernel, and the left shift of its targets.

    Without weights if sums could leave 32 bits, values 16, or if there is nothing to read out.
    """
    nothing = Readout(np.zeros(0, np.int16), 1, 0), 0
    source, weight, latents = network.readout, readout_weight(network), network.latents
    if source is None or weight is None or latents is None or latents.sampler is None:
        return nothing
    values = network.ranges.variables[f"{source.population}.{source.variable}"]
    most = max(-values.smallest, values.largest)
    unit = max(network.input.frac_bits, source.frac_bits)
    left = unit - network.input.frac_bits
    pixel = network.input.interval
    target = max(-pixel.smallest, pixel.largest) << left
    reach = int(np.abs(weight.astype(np.int64)).sum(axis=1).max()) * most
    if most > INT16_MAX or max(reach, target) > INT32_MAX:
        return nothing
    padded = pad(weight.astype(np.int16), 0, WORD_LANES)
    blocks = padded.reshape(-1, WORD_LANES, weight.shape[1]).swapaxes(1, 2)
    packed = aligned(np.ascontiguousarray(blocks).reshape(-1))
    return Readout(packed, weight.shape[1], unit - source.frac_bits), left


def _table(rows: Iterable[Iterable[int]], width: int) -> NDArray[np.int64]:
    found = [list(row) for row in rows]
    table = np.zeros((len(found), width), np.int64)
    for number, row in enumerate(found):
        table[number, : len(row)] = row
    return table
