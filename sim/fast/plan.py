"""What is worked out once per network: its commands, its cells, its weights, its compiled loops.

Every choice of a width or a way rests on an interval that is proved for the activation it serves.
One function below for each kind of connection; programs are cut into loops and draws (:mod:`cut`).
"""

from __future__ import annotations

from collections.abc import Callable
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
    Readout,
    readout_weight,
)
from pvae_neuro.network.interval import hull
from pvae_neuro.network.ranges import ProvedActivation, proved_activations
from pvae_neuro.network.sampler import LARGEST_MAX_COUNT
from pvae_neuro.sim.fast.convolutions import convolve, lay_out
from pvae_neuro.sim.fast.cut import Draw, cut_program
from pvae_neuro.sim.fast.events import add_events, list_cells, list_stride, list_values
from pvae_neuro.sim.fast.kernel import COMMAND_WIDTH, Code
from pvae_neuro.sim.fast.layouts import (
    CACHE_LINE,
    CELLS_PER_LINE,
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
from pvae_neuro.sim.fast.memory import (
    BUCKET,
    CELLS,
    DIGIT,
    FIRES,
    PART,
    RAW,
    RING,
    ROOM_SIZE,
    ROW,
    address,
)
from pvae_neuro.sim.fast.philox import fill_words
from pvae_neuro.sim.fast.products import multiply
from pvae_neuro.sim.fast.programs import Cell, Loop, Machine, Reading, Received, compile_loops
from pvae_neuro.sim.fast.readout import (
    PictureSummary,
    Summary,
    read_blocks,
    ring_bytes,
    summarize,
    summarize_picture,
)
from pvae_neuro.sim.fast.sampling import Samplers, draw_counts
from pvae_neuro.sim.fast.vectors import BYTE_LANES, PAIR_LANES, WORD_LANES
from pvae_neuro.sim.noise import WORDS_PER_BLOCK
from pvae_neuro.sim.recording import variable_dtype

INT32_MAX = (1 << 31) - 1
Command = list[int]


@dataclass(frozen=True)
class Timeline:
    """Steps of a block, for its figures: frames of each sample, their iterations, T + 1."""

    frames: int
    iterations: int
    steps: int


@dataclass(frozen=True, eq=False)
class ReadoutPlan:
    """What the kernel reads out by.

    Attributes
    ----------
    weight : int16
        See :func:`readout.read_blocks`.
    place, stride : int
        The list of what is read out.
    neurons, pixels : int
    left, target_left : int
        Left shifts that bring reconstruction and input to a common unit.
    most : int
        Largest magnitude.
    narrow : bool
        Whether differences fit 32 bits without a shift.
    """

    weight: NDArray[np.int16]
    place: int
    stride: int
    neurons: int
    pixels: int
    left: int
    target_left: int
    most: int
    narrow: bool

    def summary(self, target: int, figures: int, time: Timeline) -> tuple[int, ...]:
        """Numbers of a summary; ``target`` and ``figures`` are addresses."""
        return Summary(
            function=summarize.address,
            place=self.place,
            stride=self.stride,
            weights=address(self.weight),
            target=target,
            figures=figures,
            neurons=self.neurons,
            pixels=self.pixels,
            left=self.left,
            most=self.most,
            frames=time.frames,
            iterations=time.iterations,
            steps=time.steps,
            narrow=self.narrow,
            read=read_blocks.address,
        )


@dataclass(frozen=True)
class PicturePlan:
    """Where the network computes the picture itself: its place, and that of the code.

    Attributes are those of :class:`readout.PictureSummary` and of :class:`ReadoutPlan`.
    """

    place: int
    neurons: int
    most: int
    image: int
    pixels: int
    left: int
    target_left: int
    narrow: bool

    def summary(self, target: int, figures: int, time: Timeline) -> tuple[int, ...]:
        """Numbers of a summary; ``target`` and ``figures`` are addresses."""
        return PictureSummary(
            function=summarize_picture.address,
            place=self.place,
            neurons=self.neurons,
            most=self.most,
            image=self.image,
            pixels=self.pixels,
            target=target,
            figures=figures,
            left=self.left,
            frames=time.frames,
            iterations=time.iterations,
            steps=time.steps,
            narrow=self.narrow,
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """A network as the kernel reads it.

    Attributes
    ----------
    code : int64
        Numbers of :class:`kernel.Code`.
    kept : tuple
        Arrays and compiled loops whose addresses are in the code.
    initial : int32 [S]
        Variables at the start, as they lie in the cells.
    inputs : int
        How many of those are inputs.
    places : dict of str to (int, int, dtype)
        Where each variable begins among the cells, its number of neurons and its type in
        recordings, by ``population.variable``.
    room : int64
        Where each part of a sample's room begins; see :mod:`memory`.
    room_bytes : int
    readout : ReadoutPlan or None
        None where the kernel cannot read out.
    picture : PicturePlan or None
        None where the network does not compute the picture.
    """

    code: NDArray[np.int64]
    kept: tuple[Any, ...]
    initial: NDArray[np.int32]
    inputs: int
    places: dict[str, tuple[int, int, np.dtype[Any]]]
    room: NDArray[np.int64]
    room_bytes: int
    readout: ReadoutPlan | None
    picture: PicturePlan | None

    @property
    def summarizer(self) -> ReadoutPlan | PicturePlan | None:
        """What makes figures of iterations as they go; None where nothing does."""
        return self.readout or self.picture


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
        # Loops, and the commands that run them.
        self.loops: list[tuple[Loop, Command]] = []
        self.weights, self.samplers = Weights(), Samplers()
        # Place and stride of the list of each variable that is needed as one.
        self.lists: dict[str, tuple[int, int]] = {}
        # Places of the sums of connections, and of the largest weights of rows by their address.
        self.delivered: dict[str, int] = {}
        self.largest: dict[int, int] = {}
        self.blocks = self.sums = self.sources = 1
        # Places of variables and of constants, by population and name.
        self.places: dict[tuple[str, str], int] = {}
        self.inputs = self._place_variables(True)
        self.state = self._place_variables(False)
        self.variables = dict(self.places)
        for population in network.populations:
            for constant in population.constants:
                place = self.cells.hold(constant.values, len(constant.values))
                self.places[population.name, constant.name] = place

    def _place_variables(self, inputs: bool) -> int:
        for population in self.network.populations:
            if population.is_input == inputs:
                for variable in population.variables:
                    place = self.cells.hold(variable.initial, population.size)
                    self.places[population.name, variable.name] = place
        return self.cells.end

    def plan(self) -> Plan:
        """Walk the schedule, then put everything together."""
        readout = self._readout()
        activations = proved_activations(self.network, self.network.ranges.variables)
        self.sent: dict[str, Interval] = {}
        for proved in activations:
            for name, interval in proved.sent.items():
                self.sent[name] = hull(self.sent.get(name, interval), interval)
        # Lists must be known before the programs that set their variables are written.
        for name, interval in self.sent.items():
            connection = self.network.connection_of[name]
            if sends_events(connection, interval):
                self.list_of(connection.source, connection.variable)
        for proved in activations:
            self._activate(proved)
        self.commands["start"][:0] = [self._relist(name) for name in self.lists]
        return self._finish(readout)

    # -------------------------------------------------------------------------- connections

    def list_of(self, population: str, variable: str) -> tuple[int, int]:
        """Place and stride of the list of a variable."""
        name = f"{population}.{variable}"
        if name not in self.lists:
            self.lists[name] = self._list(self.network.population_of[population].size)
        return self.lists[name]

    def _list(self, neurons: int) -> tuple[int, int]:
        return self.cells.place(list_cells(neurons)), list_stride(neurons)

    def _relist(self, name: str) -> Command:
        """List a variable anew."""
        population, _, variable = name.partition(".")
        size = self.network.population_of[population].size
        place = self.places[population, variable]
        return [list_values.address, place, size, *self.lists[name]]

    def _deliver(self, part: str, connection: Connection) -> tuple[int, int | None]:
        """Write the command of a connection; where its sums are, and weights to multiply by."""
        source = self.places[connection.source, connection.variable]
        if isinstance(connection, OneToOne):
            return source, self._weights_of(connection)
        known = connection.name in self.delivered
        if not known:
            size = padded_size(connection.shape[0], SUMS_TOGETHER)
            self.sums = max(self.sums, size)
            self.delivered[connection.name] = self.cells.place(size)
        total = self.delivered[connection.name]
        # What inputs send does not change within a frame.
        constant = self.network.population_of[connection.source].is_input
        if not (known and constant):
            command = DELIVERIES[connection.kind](self, connection, source, total)
            self.commands["start" if constant else part].append(command)
        return total, None

    def _weights_of(self, connection: OneToOne) -> int | None:
        """Place of the weights; None for ones, which cost nothing: the loop reads the source."""
        if connection.is_identity:
            return None
        if connection.name not in self.delivered:
            place = self.cells.hold(connection.weight, len(connection.weight))
            self.delivered[connection.name] = place
        return self.delivered[connection.name]

    # ----------------------------------------------------------------------------- programs

    def _activate(self, proved: ProvedActivation) -> None:
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
                [fill_words.address, population.sampler.stream, block, blocks]
            )
        self._program(proved, population, program, reads, skipped)

    def _program(
        self,
        proved: ProvedActivation,
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
                # The code and its arguments are known when all loops are compiled.
                command = [0, 0, population.size, skipped]
                commands.append(command)
                self.loops.append((loop, command))
            for draw in cut.draws:
                if draw.stage == stage:
                    commands.append(self._draw(population, draw, skipped))
        drawn = {draw.variable for draw in cut.draws}
        for output in program.outputs:
            name = f"{population.name}.{output.variable}"
            if name in self.lists and output.variable not in drawn:
                commands.append(self._relist(name))

    def _draw(self, population: Population, draw: Draw, skipped: int) -> Command:
        sampler = population.sampler
        if sampler is None:
            raise EngineError(f"{population.name}: draws without a sampler")
        listed = self.lists.get(f"{population.name}.{draw.variable}")
        return [
            draw_counts.address,
            draw.log_rate,
            draw.counts,
            population.size,
            skipped,
            self.samplers.address_of(draw.interval, sampler),
            *(listed or self._list(population.size)),
        ]

    # ------------------------------------------------------------------------------- the end

    def _finish(self, readout: ReadoutPlan | None) -> Plan:
        machine = compile_loops([loop for loop, _ in self.loops])
        given = self._give_arguments(machine)
        cells = self.cells.array()
        commands = [_table(rows) for rows in self.commands.values()]
        numbers = [address(cells), len(cells), self.inputs, self.state]
        for table in commands:
            numbers += [address(table), len(table)]
        widest = max(p.size for p in self.network.populations)
        room = {
            CELLS: 4 * len(cells),
            RAW: 32 * self.blocks,
            BUCKET: 4 * widest,
            FIRES: widest,
            ROW: 8 * LARGEST_MAX_COUNT,
            DIGIT: 8 * ((self.sources + 1) // 2),
            PART: 4 * self.sums,
            RING: 0 if readout is None else ring_bytes(readout.neurons, readout.pixels),
        }
        return Plan(
            np.array(Code(*numbers), np.int64),
            (machine, given, cells, commands, self.weights, self.samplers),
            cells[: self.state].copy(),
            self.inputs,
            {f"{p}.{v}": self._recorded(p, v) for p, v in self.variables},
            *_room(room),
            readout,
            self._picture(),
        )

    def _recorded(self, population: str, variable: str) -> tuple[int, int, np.dtype[Any]]:
        place, size = self.places[population, variable], self.network.population_of[population].size
        return place, size, variable_dtype(self.network, f"{population}.{variable}")

    def _give_arguments(self, machine: Machine) -> list[NDArray[np.int64]]:
        """Tell the commands of loops their code and their arguments; returns the latter."""
        kept = []
        for (loop, command), code in zip(self.loops, machine.addresses, strict=True):
            places, exponents = loop.arguments()
            kept.append(np.array([*places, *exponents], np.int64))
            command[:2] = code, address(kept[-1])
        return kept

    def _readout(self) -> ReadoutPlan | None:
        """None if sums could leave 32 bits, or there is nothing to read out."""
        network = self.network
        source, weight = network.readout, readout_weight(network)
        # The kernel counts what it reads out: that must be the code.
        if source is None or weight is None or network.code is None:
            return None
        if network.code != f"{source.population}.{source.variable}":
            return None
        most = _largest(network.ranges.variables[network.code])
        left, target_left, target = self._unit(source)
        reach = int(np.abs(weight.astype(np.int64)).sum(axis=1).max()) * most
        if most > INT16_MAX or max(reach, target) > INT32_MAX:
            return None
        padded = pad(weight.astype(np.int16), 0, WORD_LANES)
        blocks = padded.reshape(-1, WORD_LANES, weight.shape[1]).swapaxes(1, 2)
        place, stride = self.list_of(source.population, source.variable)
        return ReadoutPlan(
            aligned(blocks),
            place,
            stride,
            weight.shape[1],
            network.input.size,
            left,
            target_left,
            network.largest_code,
            left == 0 and reach + target <= INT32_MAX,
        )

    def _picture(self) -> PicturePlan | None:
        """None if the host computes the picture, or the input leaves 32 bits in its unit."""
        network, source = self.network, self.network.readout
        if source is None or network.code is None or readout_weight(network) is not None:
            return None
        left, target_left, target = self._unit(source)
        if target > INT32_MAX:
            return None
        population, _, variable = network.code.partition(".")
        reach = _largest(network.ranges.variables[f"{source.population}.{source.variable}"])
        return PicturePlan(
            self.places[population, variable],
            network.population_of[population].size,
            network.largest_code,
            self.places[source.population, source.variable],
            network.input.size,
            left,
            target_left,
            left == 0 and reach + target <= INT32_MAX,
        )

    def _unit(self, source: Readout) -> tuple[int, int, int]:
        """Shifts of picture and input to a common unit; the largest input in it."""
        declared = self.network.input
        unit = max(declared.frac_bits, source.frac_bits)
        target_left = unit - declared.frac_bits
        return unit - source.frac_bits, target_left, _largest(declared.interval) << target_left


def _largest(interval: Interval) -> int:
    return max(-interval.smallest, interval.largest)


# --------------------------------------------------------------------- one per connection kind


def _deliver_dense(planner: _Planner, c: Connection, source: int, total: int) -> Command:
    """Dense: events of small counts, else products in digits."""
    sent = planner.sent[c.name]
    if sends_events(c, sent):
        first = planner.weights.address_of(c.weight, event_rows)
        if first not in planner.largest:
            largest = np.abs(c.weight.astype(np.int32)).max(axis=0)
            planner.largest[first] = planner.cells.hold(largest, len(largest))
        listed = planner.list_of(c.source, c.variable)
        width = padded_size(c.shape[0], BYTE_LANES)
        return [add_events.address, *listed, first, planner.largest[first], total, width]
    first = planner.weights.address_of(c.weight, digit_blocks)
    planner.sources = max(planner.sources, c.shape[1])
    width = padded_size(c.shape[0], PAIR_LANES)
    return [multiply.address, source, c.shape[1], digits_of(sent), first, total, width]


def _deliver_convolution(planner: _Planner, c: Connection, source: int, total: int) -> Command:
    """Convolution or its transpose: sums over planes of pairs of channels."""
    if not isinstance(c, Convolution):
        raise EngineError(f"{c.name}: expected a convolution, got {c.kind}")
    layout = lay_out(c)
    planner.sums = max(planner.sums, layout.sums)
    planes = planner.cells.place(layout.cells)
    arrays = [planner.weights.keep(a) for a in (layout.numbers, layout.offsets, layout.weights)]
    return [convolve.address, source, planes, total, *arrays, digits_of(planner.sent[c.name])]


# One-to-one connections are read by the loops of their targets.
DELIVERIES: dict[str, Callable[[_Planner, Connection, int, int], Command]] = {
    "dense": _deliver_dense,
    "convolution": _deliver_convolution,
    "transposed_convolution": _deliver_convolution,
}


def _room(sizes: dict[int, int]) -> tuple[NDArray[np.int64], int]:
    """Where parts of these sizes in bytes begin, one after the other; and the whole size."""
    begins, end = np.zeros(ROOM_SIZE, np.int64), 0
    for part, size in sizes.items():
        begins[part] = end
        end += padded_size(size, CACHE_LINE)
    return begins, end


def _table(rows: list[Command]) -> NDArray[np.int64]:
    table = np.zeros((len(rows), COMMAND_WIDTH), np.int64)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table
