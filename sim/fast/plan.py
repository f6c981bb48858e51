"""What is worked out once per network: its commands, its cells, its weights, its compiled loops.

Every choice of a width or a way rests on an interval that is proved for the activation it serves.
Dense products have several ways (:mod:`ways`), and a network has a plan for each choice of them
that was made; programs are cut into loops and draws (:mod:`cut`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError
from pvae_neuro.network import (
    Activation,
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
from pvae_neuro.network.ranges import ProvedActivation, proved_activations
from pvae_neuro.sim.fast.convolutions import convolve, lay_out
from pvae_neuro.sim.fast.cut import Draw, cut_program
from pvae_neuro.sim.fast.dense import Packed
from pvae_neuro.sim.fast.events import list_cells, list_stride, list_values
from pvae_neuro.sim.fast.kernel import COMMAND_WIDTH, Code
from pvae_neuro.sim.fast.layouts import (
    CACHE_LINE,
    CELLS_PER_LINE,
    SUMS_TOGETHER,
    Weights,
    aligned,
    digits_of,
    padded_size,
)
from pvae_neuro.sim.fast.memory import (
    BUCKET,
    DIGIT,
    GROUP,
    PART,
    RAW,
    ROOM_SIZE,
    address,
)
from pvae_neuro.sim.fast.philox import fill_words
from pvae_neuro.sim.fast.programs import Cell, Loop, Reading, Received, compile_loops
from pvae_neuro.sim.fast.readout import Summary, summarize
from pvae_neuro.sim.fast.sampling import Samplers, draw_bytes, draw_counts
from pvae_neuro.sim.fast.ways import Command, Task, pack_address, ways_for
from pvae_neuro.sim.noise import WORDS_PER_BLOCK
from pvae_neuro.sim.recording import variable_dtype

INT32_MAX = (1 << 31) - 1
# Samples that advance together, and what their cells may take of the second-level cache; or as much
# as the weights that they share, which then come from behind it.
MOST_ROWS = 32
GROUP_BYTES = 1 << 20
# The task that reads the picture out, where the host does; no connection can have this name.
READOUT = "the readout"
ONE_BYTE = Packed()
PARTS = ("start", "iteration", "final")


@dataclass(frozen=True)
class Timeline:
    """Steps of a block, for its figures: frames of each sample, their iterations, T + 1."""

    frames: int
    iterations: int
    steps: int


@dataclass(frozen=True)
class Summarizer:
    """Where the kernel finds what it makes figures of.

    Attributes
    ----------
    code, neurons, most : int
        Of what is inferred: place, size, largest magnitude.
    image, last_image, pixels : int
        Of the picture: places after an iteration and after ``final``, size.
    left, target_left : int
        Left shifts that bring picture and input to a common unit.
    narrow : bool
        Whether differences fit 32 bits without a shift.
    """

    code: int
    neurons: int
    most: int
    image: int
    last_image: int
    pixels: int
    left: int
    target_left: int
    narrow: bool

    def numbers(self, target: int, figures: int, time: Timeline) -> Summary:
        """Numbers of a summary; ``target`` and ``figures`` are addresses."""
        return Summary(
            function=summarize.address,
            code=self.code,
            neurons=self.neurons,
            most=self.most,
            image=self.image,
            last_image=self.last_image,
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
    code, summarized : int64
        Numbers of :class:`kernel.Code`, without and with what figures of iterations need.
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
        Where each part of a group's room begins; see :mod:`memory`.
    room_bytes, stride : int
        Size of the room without cells; bytes from one sample's cells to the next.
    rows : int
        Samples that should advance together.
    summarizer : Summarizer or None
        None where the kernel makes no figures.
    """

    code: NDArray[np.int64]
    summarized: NDArray[np.int64]
    kept: tuple[Any, ...]
    initial: NDArray[np.int32]
    inputs: int
    places: dict[str, tuple[int, int, np.dtype[Any]]]
    room: NDArray[np.int64]
    room_bytes: int
    stride: int
    rows: int
    summarizer: Summarizer | None


def tasks_of(network: IntegerNetwork) -> dict[str, Task]:
    """Dense products of a network by the names of their connections, and that of its readout."""
    if "fast tasks" not in network.compiled:
        network.compiled["fast tasks"] = _tasks(network)
    tasks: dict[str, Task] = network.compiled["fast tasks"]
    return tasks


def sent_by(network: IntegerNetwork) -> dict[str, Interval]:
    """Bounds of what connections send, over all activations."""
    sent: dict[str, Interval] = {}
    for proved in proved_activations(network, network.ranges.variables):
        for name, interval in proved.sent.items():
            sent[name] = hull(sent.get(name, interval), interval)
    return sent


def _tasks(network: IntegerNetwork) -> dict[str, Task]:
    sent = sent_by(network)
    found = {
        c.name: Task(c.name, f"{c.source}.{c.variable}", c.weight, sent[c.name])
        for c in network.connections
        if c.kind == "dense" and c.name in sent
    }
    readout = _readout_task(network)
    return found if readout is None else {**found, READOUT: readout}


def _readout_task(network: IntegerNetwork) -> Task | None:
    """None where the network computes the picture, or sums could leave 32 bits."""
    source, weight = network.readout, readout_weight(network)
    if source is None or weight is None:
        return None
    name = f"{source.population}.{source.variable}"
    task = Task(READOUT, name, weight, network.ranges.variables[name])
    reach = int(np.abs(weight.astype(np.int64)).sum(axis=1).max()) * _largest(task.sent)
    return task if reach <= INT32_MAX and ways_for(task) else None


def plan_for(network: IntegerNetwork, ways: Mapping[str, str] | None = None) -> Plan:
    """Return the network's plan; made at the first call, kept with the network.

    ``ways`` names the way of each of :func:`tasks_of`; by default the first that fits.
    """
    plans: dict[tuple[str, ...], Plan] = network.compiled.setdefault("fast", {})
    chosen = ways or {name: next(iter(ways_for(t))) for name, t in tasks_of(network).items()}
    key = tuple(chosen.values())
    if key not in plans:
        plans[key] = _Planner(network, chosen).plan()
    return plans[key]


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

    @property
    def stride(self) -> int:
        """Bytes from one sample's cells to the next: an odd number of cache lines.

        The same place of several samples then lies in different sets of the cache.
        """
        return (4 * self.end // CACHE_LINE | 1) * CACHE_LINE


class _Commands:
    """Commands, and what they need among the cells; a :class:`ways.Room`."""

    def __init__(self, weights: Weights) -> None:
        self.cells, self.weights = _Cells(), weights
        self.commands: dict[str, list[Command]] = {part: [] for part in PARTS}
        # Commands for figures alone, at the end of their part.
        self.figures: dict[str, list[Command]] = {part: [] for part in PARTS}
        # Places of variables and their numbers of neurons.
        self.variables: dict[str, tuple[int, int]] = {}
        # Place and stride of the list of each variable that is needed as one; packed values.
        self.lists: dict[str, tuple[int, int]] = {}
        self.packs: dict[tuple[str, Packed], int] = {}
        self.blocks = self.sums = self.sources = self.widest = 1
        # Cells of the inputs, and of all variables; bytes of weights that samples share.
        self.inputs = self.state = self.shared = 0

    # What a way asks for.

    def place_of(self, source: str) -> int:
        """Place of a variable's values."""
        return self.variables[source][0]

    def list_of(self, source: str) -> tuple[int, int]:
        """Place and stride of the list of a variable."""
        if source not in self.lists:
            size = self.variables[source][1]
            self.lists[source] = self.cells.place(list_cells(size)), list_stride(size)
        return self.lists[source]

    def packed(self, source: str, form: Packed) -> int:
        """Bytes from a sample's cells to a variable's packed values."""
        key = source, form
        if key not in self.packs:
            size = form.planes * form.plane(self.variables[source][1])
            self.packs[key] = 4 * self.cells.place(size // 4)
        return self.packs[key]

    def ask(self, sums: int, sources: int) -> None:
        """Ask for scratch memory for so many sums and values."""
        self.sums, self.sources = max(self.sums, sums), max(self.sources, sources)

    # What follows from it.

    def place_sums(self, targets: int) -> int:
        """Place for sums."""
        size = padded_size(targets, SUMS_TOGETHER)
        self.ask(size, 1)
        return self.cells.place(size)

    def renew(self, source: str, drawn: bool = False) -> list[Command]:
        """Commands that list and pack a variable anew; a draw has listed and made bytes."""
        place, size = self.variables[source]
        found = []
        if source in self.lists and not drawn:
            found.append([list_values.address, place, size, *self.lists[source]])
        for (name, form), packed in self.packs.items():
            if name == source and not (drawn and form == ONE_BYTE):
                count = padded_size(size, CELLS_PER_LINE)
                found.append([pack_address(form), place, packed, count, form.plane(size)])
        return found

    def start_anew(self) -> None:
        """Let a chunk of steps begin with lists and packed values."""
        sources = dict.fromkeys([*self.lists, *(name for name, _ in self.packs)])
        self.commands["start"][:0] = [c for source in sources for c in self.renew(source)]

    def made(
        self,
        places: dict[str, tuple[int, int, np.dtype[Any]]],
        kept: tuple[Any, ...],
        summarizer: Summarizer | None,
    ) -> Plan:
        """The plan, when all commands are there."""
        cells, stride = self.cells.array(), self.cells.stride
        shared = max(GROUP_BYTES, self.shared)
        rows = max(1, min(MOST_ROWS, shared // stride))
        tables = {part: _table(self.commands[part] + self.figures[part]) for part in PARTS}

        def code(summarized: bool) -> NDArray[np.int64]:
            numbers = [address(cells), len(cells), self.inputs, self.state]
            for part in PARTS:
                count = len(self.commands[part]) + summarized * len(self.figures[part])
                numbers += [address(tables[part]), count]
            return np.array(Code(*numbers), np.int64)

        room, size = _room(
            {
                RAW: 32 * self.blocks,
                BUCKET: draw_bytes(self.widest),
                DIGIT: 8 * ((self.sources + 1) // 2),
                PART: 4 * self.sums,
                # The end, of as many samples as there are.
                GROUP: 0,
            }
        )
        return Plan(
            code=code(False),
            summarized=code(True),
            kept=(*kept, cells, tables, self.weights),
            initial=cells[: self.state].copy(),
            inputs=self.inputs,
            places=places,
            room=room,
            room_bytes=size,
            stride=stride,
            rows=rows,
            summarizer=summarizer,
        )


class _Planner(_Commands):
    """Builds the plan of one network."""

    def __init__(self, network: IntegerNetwork, ways: Mapping[str, str]) -> None:
        super().__init__(network.compiled.setdefault("fast weights", Weights()))
        self.network, self.ways = network, ways
        # Loops, and the commands that run them.
        self.loops: list[tuple[Loop, Command]] = []
        self.convolutions: dict[str, Command] = {}
        self.sent = sent_by(network)
        self.samplers = Samplers()
        # Places of the sums of connections.
        self.delivered: dict[str, int] = {}
        # Places of variables and of constants, by population and name.
        self.places: dict[tuple[str, str], int] = {}
        self.inputs = self._place_variables(True)
        self.state = self._place_variables(False)
        for population in network.populations:
            self.widest = max(self.widest, population.size)
            for constant in population.constants:
                place = self.cells.hold(constant.values, len(constant.values))
                self.places[population.name, constant.name] = place

    def _place_variables(self, inputs: bool) -> int:
        for population in self.network.populations:
            if population.is_input == inputs:
                for variable in population.variables:
                    place = self.cells.hold(variable.initial, population.size)
                    self.places[population.name, variable.name] = place
                    name = f"{population.name}.{variable.name}"
                    self.variables[name] = place, population.size
        return self.cells.end

    def plan(self) -> Plan:
        """Walk the schedule, then put everything together."""
        # Lists and packed values must be known before the programs that set their variables.
        tasks = tasks_of(self.network)
        self.products = {
            name: self._product(task) for name, task in tasks.items() if name != READOUT
        }
        summarizer = self._summarizer()
        for proved in proved_activations(self.network, self.network.ranges.variables):
            self._activate(proved)
        self.start_anew()
        return self._finish(summarizer)

    # -------------------------------------------------------------------------- connections

    def _product(self, task: Task) -> Command:
        """The command of a dense product, and a place for its sums."""
        self.delivered[task.name] = self.place_sums(task.targets)
        self.shared += task.weight.nbytes
        way = ways_for(task)[self.ways[task.name]]
        return way.command(task, self, self.delivered[task.name])

    def _deliver(self, part: str, connection: Connection) -> tuple[int, int | None]:
        """Write the command of a connection; where its sums are, and weights to multiply by."""
        if isinstance(connection, OneToOne):
            source = self.places[connection.source, connection.variable]
            return source, self._weights_of(connection)
        command = DELIVERIES[connection.kind](self, connection)
        # What inputs send does not change within a frame.
        constant = self.network.population_of[connection.source].is_input
        done = constant and command in self.commands["start"]
        if not done:
            self.commands["start" if constant else part].append(command)
        return self.delivered[connection.name], None

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
            commands += self.renew(name, output.variable in drawn)

    def _draw(self, population: Population, draw: Draw, skipped: int) -> Command:
        sampler = population.sampler
        if sampler is None:
            raise EngineError(f"{population.name}: draws without a sampler")
        name = f"{population.name}.{draw.variable}"
        packed = self.packs.get((name, ONE_BYTE))
        return [
            draw_counts.address,
            draw.log_rate,
            draw.counts,
            population.size,
            skipped,
            self.samplers.address_of(draw.interval, sampler),
            -1 if packed is None else packed // 4,
            *self.lists.get(name, (-1, 0)),
        ]

    # ------------------------------------------------------------------------------ figures

    def _summarizer(self) -> Summarizer | None:
        """Where code and picture are; writes the commands of the readout where it needs them.

        None where the network has no picture, or it leaves 32 bits.
        """
        network, source = self.network, self.network.readout
        if source is None or network.code is None:
            return None
        reach = self._reach()
        declared = network.input
        unit = max(declared.frac_bits, source.frac_bits)
        target_left, left = unit - declared.frac_bits, unit - source.frac_bits
        target = _largest(declared.interval) << target_left
        if reach is None or target > INT32_MAX:
            return None
        image, last_image = self._pictures()
        code, neurons = self.variables[network.code]
        return Summarizer(
            code=code,
            neurons=neurons,
            most=network.largest_code,
            image=image,
            last_image=last_image,
            pixels=network.input.size,
            left=left,
            target_left=target_left,
            narrow=left == 0 and reach + target <= INT32_MAX,
        )

    def _reach(self) -> int | None:
        """Largest magnitude of the picture."""
        source, weight = self.network.readout, readout_weight(self.network)
        if source is None:
            return None
        sent = self.network.ranges.variables[f"{source.population}.{source.variable}"]
        if weight is None:
            return _largest(sent)
        if READOUT not in tasks_of(self.network):
            return None
        return int(np.abs(weight.astype(np.int64)).sum(axis=1).max()) * _largest(sent)

    def _pictures(self) -> list[int]:
        """Places of the picture after an iteration and after ``final``."""
        source, task = self.network.readout, tasks_of(self.network).get(READOUT)
        if source is None:
            return []
        if task is None:
            return [self.place_of(f"{source.population}.{source.variable}")] * 2
        places, product = [], None
        for part, activations in zip(
            PARTS[1:], (self.network.iteration, self.network.final), strict=True
        ):
            # The circuit may have the sums already.
            if source.connection in _up_to_date(self.network, activations):
                places.append(self.delivered[str(source.connection)])
                continue
            product = product or self._product(task)
            self.figures[part].append(product)
            places.append(self.delivered[READOUT])
        return places

    # ------------------------------------------------------------------------------- the end

    def _finish(self, summarizer: Summarizer | None) -> Plan:
        machine = compile_loops([loop for loop, _ in self.loops])
        given = []
        for (loop, command), code in zip(self.loops, machine.addresses, strict=True):
            arrays, exponents = loop.arguments()
            given.append(np.array([*arrays, *exponents], np.int64))
            command[:2] = code, address(given[-1])
        places = {
            name: (place, size, variable_dtype(self.network, name))
            for name, (place, size) in self.variables.items()
        }
        return self.made(places, (machine, given, self.samplers), summarizer)


def readout_plan(network: IntegerNetwork, way: str | None = None) -> Plan | None:
    """The plan of the readout alone, as :func:`product_plan`; None where the host has none."""
    task = tasks_of(network).get(READOUT)
    if task is None:
        return None
    plans: dict[str, Plan] = network.compiled.setdefault("fast readout", {})
    chosen = way or next(iter(ways_for(task)))
    if chosen not in plans:
        weights = network.compiled.setdefault("fast weights", Weights())
        plans[chosen] = product_plan(task, chosen, weights)
    return plans[chosen]


def product_plan(task: Task, way: str, weights: Weights, part: str = "start") -> Plan:
    """A plan of one product: its values are the state, its sums may be recorded as ``image``.

    The product is carried out in a part: once as a chunk of steps begins, or in each iteration.
    """
    commands = _Commands(weights)
    commands.variables[task.source] = commands.cells.place(task.sources), task.sources
    commands.state = commands.cells.end
    image = commands.place_sums(task.targets)
    commands.commands[part].append(ways_for(task)[way].command(task, commands, image))
    commands.start_anew()
    places = {
        "values": (0, task.sources, np.dtype(np.int32)),
        "image": (image, task.targets, np.dtype(np.int32)),
    }
    return commands.made(places, (), None)


def _up_to_date(network: IntegerNetwork, activations: Sequence[Activation]) -> set[str]:
    """Connections whose sums are those of what their sources hold after some activations."""
    found: set[str] = set()
    for activation in activations:
        for connections in network.groups(activation).values():
            found |= {c.name for c in connections}
        program = network.population_of[activation.population].program(activation.program)
        changed = {(activation.population, output.variable) for output in program.outputs}
        found -= {c.name for c in network.connections if (c.source, c.variable) in changed}
    return found


def _largest(interval: Interval) -> int:
    return max(-interval.smallest, interval.largest)


# --------------------------------------------------------------------- one per connection kind


def _deliver_dense(planner: _Planner, c: Connection) -> Command:
    """Dense: the product that was planned."""
    return planner.products[c.name]


def _deliver_convolution(planner: _Planner, c: Connection) -> Command:
    """Convolution or its transpose: sums over planes of pairs of channels."""
    if not isinstance(c, Convolution):
        raise EngineError(f"{c.name}: expected a convolution, got {c.kind}")
    if c.name not in planner.convolutions:
        layout = lay_out(c)
        total = planner.delivered[c.name] = planner.place_sums(c.shape[0])
        planner.ask(layout.sums, 1)
        planes = planner.cells.place(layout.cells)
        arrays = [planner.weights.keep(a) for a in (layout.numbers, layout.offsets, layout.weights)]
        source = planner.places[c.source, c.variable]
        digits = digits_of(planner.sent[c.name])
        planner.convolutions[c.name] = [convolve.address, source, planes, total, *arrays, digits]
    return planner.convolutions[c.name]


# One-to-one connections are read by the loops of their targets.
DELIVERIES: dict[str, Callable[[_Planner, Connection], Command]] = {
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
