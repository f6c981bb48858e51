"""Random networks: valid, proved, and hard on every branch of an engine.

:func:`random_network` makes one from a NumPy generator. Its programs use all word operations, its
connections all kinds; values are clipped where an operation or a store needs it, so that the proof
of ranges succeeds. A :class:`Structure` is such a network without its numbers: several networks
filled from one structure differ in sizes, weights, constants and initial values alone, which
spares an engine that compiles programs most of its work. Property-based tests draw the seed of the
generator.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import NetworkError
from pvae_neuro.network.connection import (
    CONNECTION_KINDS,
    Connection,
    Convolution,
    Dense,
    OneToOne,
    Shared,
    TransposedConvolution,
    resolve,
)
from pvae_neuro.network.host import Encoding, Input, Readout
from pvae_neuro.network.interval import Interval, between
from pvae_neuro.network.network import IntegerNetwork
from pvae_neuro.network.operations import LARGEST_SHIFT, LITERALS, OPERATIONS, WORD_WIDTH
from pvae_neuro.network.population import WORD_MAX, Constant, Population, Sampler, Variable
from pvae_neuro.network.program import Instruction, Output, Program
from pvae_neuro.network.sampler import LOWEST_POTENTIAL, largest_potential
from pvae_neuro.network.schedule import Activation

Shape = tuple[int, int, int]
"""Channels, height and width of a population; its size is their product."""
LARGEST_POPULATION = 40
LARGEST_MESSAGE_BITS = 14
TRIES = 200
MAX_COUNTS = (1, 3, 7, 15, 31, 63, 100, 127)
LARGE_MAX_COUNTS = (128, 200, 255)
_FREE = tuple(name for name in OPERATIONS if name not in ("word", "draw"))
_WORD = between(-WORD_MAX - 1, WORD_MAX)


# ---------------------------------------------------------------------------------- structure


@dataclass(frozen=True)
class _Number:
    """A constant whose values are drawn later: within these bounds, shared or one per neuron."""

    name: str
    low: int
    high: int
    shared: bool


@dataclass
class _Neurons:
    """A population without its numbers; ``group`` says which populations have one shape."""

    name: str
    group: int
    variables: dict[str, int]
    constants: list[_Number] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    max_count: int | None = None
    frac_bits: int = 12
    weighted: tuple[str, ...] = ()

    @property
    def draws(self) -> str | None:
        """Name of the program that draws."""
        for program in self.programs:
            if program.operations & {"word", "draw"}:
                return program.name
        return None


@dataclass
class _Synapses:
    """A connection without its numbers."""

    name: str
    kind: str
    source: str
    variable: str
    target: str
    exponent: int
    received_as: str
    shared: str | None = None


@dataclass
class Structure:
    """A network without sizes, weights, constants and initial values; see :meth:`fill`."""

    inputs: list[_Neurons]
    neurons: list[_Neurons]
    synapses: list[_Synapses]
    iteration: tuple[Activation, ...]
    final: tuple[Activation, ...]
    readout: tuple[str, str] | None

    @property
    def populations(self) -> list[_Neurons]:
        """Inputs and others."""
        return [*self.inputs, *self.neurons]

    def fill(self, rng: np.random.Generator) -> IntegerNetwork:
        """Network of this structure with numbers of its own, proved.

        Raises
        ------
        NetworkError
            If none is found; another structure will do.
        """
        reason = "its parts do not fit"
        for _ in range(TRIES):
            network = _Filling(self, rng).network()
            if network is not None:
                faults = list(network.ranges.faults())
                if not faults:
                    return network
                reason = faults[0]
        raise NetworkError(f"random network: no numbers were found for this structure; {reason}")


def random_network(
    rng: np.random.Generator,
    *,
    operations: Collection[str] = tuple(OPERATIONS),
    connection_kinds: Collection[str] = tuple(CONNECTION_KINDS),
    large_counts: bool = True,
) -> IntegerNetwork:
    """Random valid network whose ranges are proved.

    Parameters
    ----------
    rng : numpy Generator
    operations : collection of str
        Operations to choose from; ``min`` and ``max`` are always used, to clip.
    connection_kinds : collection of str
        Kinds to choose from; ``dense`` is always used where no other fits.
    large_counts : bool
        Whether a sampler may count beyond 127.
    """
    return random_networks(
        rng,
        1,
        operations=operations,
        connection_kinds=connection_kinds,
        large_counts=large_counts,
    )[0]


def random_networks(
    rng: np.random.Generator,
    number: int,
    *,
    operations: Collection[str] = tuple(OPERATIONS),
    connection_kinds: Collection[str] = tuple(CONNECTION_KINDS),
    large_counts: bool = True,
) -> list[IntegerNetwork]:
    """Random networks of one structure; see :func:`random_network`."""
    for _ in range(TRIES):
        structure = random_structure(
            rng,
            operations=operations,
            connection_kinds=connection_kinds,
            large_counts=large_counts,
        )
        try:
            return [structure.fill(rng) for _ in range(number)]
        except NetworkError:
            continue
    raise NetworkError("random network: found none; allow more operations or connection kinds")


def random_inputs(
    network: IntegerNetwork, rng: np.random.Generator, samples: int, frames: int | None = None
) -> NDArray[np.float64]:
    """Inputs within the declared range, edges among them: [N, M], or [N, F, M] frames."""
    shape = (samples, *(() if frames is None else (frames,)), network.input.size)
    low, high = network.input.low, network.input.high
    images = rng.uniform(low, high, shape)
    edges = rng.random(shape)
    return np.where(edges < 0.1, low, np.where(edges > 0.9, high, images))


def random_structure(
    rng: np.random.Generator,
    *,
    operations: Collection[str] = tuple(OPERATIONS),
    connection_kinds: Collection[str] = tuple(CONNECTION_KINDS),
    large_counts: bool = True,
) -> Structure:
    """Populations with programs, connections and a schedule, without numbers."""
    return _Drafting(rng, operations, connection_kinds, large_counts).structure()


class _Drafting:
    """Chooses a structure."""

    def __init__(
        self,
        rng: np.random.Generator,
        operations: Collection[str],
        kinds: Collection[str],
        large_counts: bool,
    ) -> None:
        self.rng, self.operations, self.kinds = rng, operations, kinds
        self.max_counts = MAX_COUNTS + (LARGE_MAX_COUNTS if large_counts else ())
        self.synapses: list[_Synapses] = []
        self.received: dict[tuple[str, str], dict[str, list[str]]] = {}

    def structure(self) -> Structure:
        """Draw everything in order: populations, connections, programs, schedule."""
        rng = self.rng
        inputs = [self._input(i) for i in range(int(rng.choice(3, p=(0.1, 0.6, 0.3))))]
        neurons = [self._neurons(i) for i in range(int(rng.integers(1, 5)))]
        for target in neurons:
            self._programs(inputs, neurons, target)
        iteration = self._schedule(neurons, least=1)
        final = self._schedule(neurons, least=0)
        readout = None
        if rng.random() < 0.8:
            read = neurons[int(rng.integers(len(neurons)))]
            readout = read.name, str(rng.choice(list(read.variables)))
        return Structure(inputs, neurons, self.synapses, iteration, final, readout)

    def _input(self, number: int) -> _Neurons:
        rng = self.rng
        bits = {f"x{i}": int(rng.integers(6, 13)) for i in range(int(rng.integers(1, 3)))}
        weighted = tuple(name for name in bits if rng.random() < 0.5)
        # A population that takes pixels as they are has as many neurons as there are pixels.
        group = 0 if len(weighted) < len(bits) else int(rng.integers(3))
        return _Neurons(f"in{number}", group, bits, weighted=weighted)

    def _neurons(self, number: int) -> _Neurons:
        rng = self.rng
        widths = [int(rng.integers(2, 13)), *rng.integers(2, WORD_WIDTH + 1, rng.integers(0, 4))]
        variables = {f"v{i}": int(width) for i, width in enumerate(widths)}
        found = _Neurons(f"p{number}", int(rng.integers(3)), variables)
        random = {"word", "draw"} & set(self.operations)
        if random and rng.random() < 0.6:
            found.max_count = int(rng.choice(self.max_counts))
            found.frac_bits = int(rng.integers(4, 17))
        return found

    # -------------------------------------------------------------------------- connections

    def _connect(self, sources: list[_Neurons], target: _Neurons, received_as: str) -> list[str]:
        """One to three connections of one name and exponent."""
        exponent = int(self.rng.integers(-12, 4))
        names = []
        for _ in range(int(self.rng.choice((1, 2, 3), p=(0.6, 0.25, 0.15)))):
            source = sources[int(self.rng.integers(len(sources)))]
            sent = [v for v, bits in source.variables.items() if bits <= LARGEST_MESSAGE_BITS]
            name = f"c{len(self.synapses)}"
            kind, shared = self._kind(source, target)
            variable = str(self.rng.choice(sent))
            self.synapses.append(
                _Synapses(
                    name, kind, source.name, variable, target.name, exponent, received_as, shared
                )
            )
            names.append(name)
        return names

    def _kind(self, source: _Neurons, target: _Neurons) -> tuple[str, str | None]:
        """Kind, and the connection whose weights are used, if any."""
        rng = self.rng
        holders = [
            s for s in self.synapses if s.shared is None and s.kind in ("dense", "convolution")
        ]
        reversed_kinds = {"dense": "dense", "convolution": "transposed_convolution"}
        for holder in holders:
            back = (holder.source, holder.target) == (target.name, source.name)
            kind = reversed_kinds[holder.kind]
            if back and kind in self.kinds and rng.random() < 0.6:
                return kind, holder.name
        if holders and rng.random() < 0.15:
            dense = [h.name for h in holders if h.kind == "dense"]
            if dense:
                return "dense", str(rng.choice(dense))
        kinds = [k for k in self.kinds if k != "one_to_one" or source.group == target.group]
        return str(rng.choice(kinds or ["dense"])), None

    # ----------------------------------------------------------------------------- programs

    def _programs(self, inputs: list[_Neurons], neurons: list[_Neurons], target: _Neurons) -> None:
        rng = self.rng
        number = int(rng.integers(1, 4))
        drawing = int(rng.integers(number)) if target.max_count is not None else -1
        for i in range(number):
            name = f"f{i}"
            received = {}
            for j in range(int(rng.choice((0, 1, 2), p=(0.3, 0.45, 0.25)))):
                # The same name in another program may stand for other connections.
                received_as = f"r{j}"
                received[received_as] = self._connect(inputs + neurons, target, received_as)
            draft = _Draft(rng, self.operations, target, list(received), i == drawing)
            program = draft.program(name)
            read = set(program.reads)
            self.received[target.name, name] = {n: c for n, c in received.items() if n in read}
            target.programs.append(program)

    def _schedule(self, neurons: list[_Neurons], least: int) -> tuple[Activation, ...]:
        rng = self.rng
        chosen: list[tuple[str, str]] = []
        for population in neurons:
            drawn = False
            for _ in range(int(rng.integers(least, 4))):
                program = population.programs[int(rng.integers(len(population.programs)))].name
                if program == population.draws:
                    if drawn:
                        continue
                    drawn = True
                chosen.append((population.name, program))
        order = rng.permutation(len(chosen))
        return tuple(self._activation(*chosen[i]) for i in order)

    def _activation(self, population: str, program: str) -> Activation:
        connections: list[str] = []
        for names in self.received[population, program].values():
            number = int(self.rng.integers(1, len(names) + 1))
            connections += [str(n) for n in self.rng.permutation(names)[:number]]
        return Activation(population, program, tuple(connections))


class _Draft:
    """Writes one program; knows the bounds of every word, so that all of them fit."""

    def __init__(
        self,
        rng: np.random.Generator,
        operations: Collection[str],
        population: _Neurons,
        received: list[str],
        draws: bool,
    ) -> None:
        self.rng, self.population = rng, population
        self.instructions: list[Instruction] = []
        self.bounds: dict[str, Interval] = {
            name: _width(bits) for name, bits in population.variables.items()
        }
        self.bounds.update(dict.fromkeys(received, _WORD))
        self.bounds.update({"0": between(0, 0), "1": between(1, 1)})
        self.sources = [name for name in self.bounds if name not in LITERALS]
        self.results: list[str] = []
        self.operations = [name for name in _FREE if name in operations]
        if draws:
            self.operations += [n for n in ("word", "draw") if n in operations] * 3
        self.draws = draws
        self.writers: dict[str, Callable[[str], str]] = {
            "add": self._narrow_two,
            "sub": self._narrow_two,
            "mul": self._product,
            "shl": self._shift_left,
            "shr": self._shift_right,
            "neg": self._narrow_one,
            "abs": self._narrow_one,
            "word": lambda _: self.apply("word"),
            "draw": self._draw,
        }

    def program(self, name: str) -> Program:
        """Some operations, then a store into some of the variables."""
        self.results += [self._received(name) for name in self.sources if name.startswith("r")]
        for _ in range(int(self.rng.integers(1, 9))):
            operation = str(self.rng.choice(self.operations))
            self.results.append(self.writers.get(operation, self._plain)(operation))
        if self.draws and not {"word", "draw"} & {i.operation for i in self.instructions}:
            operation = next(n for n in ("draw", "word") if n in self.operations)
            self.results.append(self.writers[operation](operation))
        variables = list(self.population.variables)
        number = int(self.rng.integers(1, len(variables) + 1))
        chosen = self.rng.permutation(variables)[:number]
        outputs = tuple(Output(str(v), self._stored(str(v))) for v in chosen)
        return Program(name, tuple(self.instructions), outputs)

    def apply(self, operation: str, *arguments: str) -> str:
        """Append an instruction; return the name of its result."""
        result = f"t{len(self.instructions)}"
        self.instructions.append(Instruction(operation, arguments, result))
        if operation == "draw":
            self.bounds[result] = between(0, self.population.max_count or 0)
        else:
            rule = OPERATIONS[operation].interval
            self.bounds[result] = rule(*(self.bounds[a] for a in arguments))
        return result

    def constant(self, low: int, high: int) -> str:
        """Name of a constant whose values lie within these bounds."""
        same = [c for c in self.population.constants if (c.low, c.high) == (low, high)]
        if same and self.rng.random() < 0.7:
            found = same[int(self.rng.integers(len(same)))]
        elif len(self.population.constants) >= 60:
            found = same[0] if same else self.population.constants[0]
        else:
            number = len(self.population.constants)
            found = _Number(f"k{number}", low, high, bool(self.rng.random() < 0.4))
            self.population.constants.append(found)
        self.bounds[found.name] = between(found.low, found.high)
        return found.name

    def clip(self, name: str, low: str, high: str) -> str:
        """``min(max(name, low), high)``."""
        return self.apply("min", self.apply("max", name, low), high)

    def narrow(self, name: str, bits: int) -> str:
        """The word itself if it has so few bits, else made narrower in one of several ways."""
        if self.bounds[name].bits <= bits:
            return name
        half = 1 << (bits - 1)
        way = self.rng.random()
        if way < 0.2 and "and" in self.operations:
            return self.apply("and", name, self.constant(half - 1, half - 1))
        if way < 0.4 and "shr" in self.operations:
            amount = self.bounds[name].bits - bits + 1
            return self.apply("shr", name, self.constant(amount, min(amount + 2, LARGEST_SHIFT)))
        low, high = self.constant(-half, -half // 2), self.constant(half // 2, half - 1)
        return self.clip(name, low, high)

    def pick(self) -> str:
        """A word: a recent result, a variable, what is received, a constant or a literal."""
        way = self.rng.random()
        if self.results and way < 0.55:
            recent = self.results[-4:]
            return recent[int(self.rng.integers(len(recent)))]
        if way < 0.85:
            return self.sources[int(self.rng.integers(len(self.sources)))]
        if way < 0.9:
            return str(self.rng.choice(LITERALS))
        bits = int(self.rng.choice((3, 8, 16, WORD_WIDTH)))
        return self.constant(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    def amount(self, low: int, high: int) -> str:
        """An amount of a shift: a constant, one per neuron, or a value brought into bounds."""
        way = self.rng.random()
        if way < 0.15 and low <= 0:
            return "0"
        if way < 0.3 and low <= 1 <= high:
            return "1"
        mask = (1 << (high.bit_length() - (high & (high + 1) != 0))) - 1
        if way < 0.5 and mask > 0 and low <= 0 and "and" in self.operations:
            return self.apply("and", self.pick(), self.constant(mask, mask))
        if way < 0.65:
            return self.clip(self.pick(), self.constant(low, low), self.constant(high, high))
        return self.constant(low, high)

    def _received(self, name: str) -> str:
        """Bring a sum into use; it is wide."""
        return self.narrow(name, int(self.rng.integers(8, WORD_WIDTH + 1)))

    def _plain(self, operation: str) -> str:
        return self.apply(operation, *(self.pick() for _ in range(OPERATIONS[operation].arity)))

    def _narrow_one(self, operation: str) -> str:
        return self.apply(operation, self.narrow(self.pick(), WORD_WIDTH - 1))

    def _narrow_two(self, operation: str) -> str:
        words = [self.narrow(self.pick(), WORD_WIDTH - 1) for _ in range(2)]
        return self.apply(operation, *words)

    def _product(self, operation: str) -> str:
        if self.rng.random() < 0.4:
            factors = [self.narrow(self.pick(), 10) for _ in range(2)]
            return self.apply(operation, *factors, self.amount(-4, LARGEST_SHIFT))
        a, b = self.pick(), self.pick()
        least = max(0, self.bounds[a].bits + self.bounds[b].bits - WORD_WIDTH)
        return self.apply(operation, a, b, self.amount(least, LARGEST_SHIFT))

    def _shift_left(self, operation: str) -> str:
        most = int(self.rng.choice((3, 7, 12, 20)))
        least = int(self.rng.choice((0, -LARGEST_SHIFT)))
        value = self.narrow(self.pick(), WORD_WIDTH - most)
        return self.apply(operation, value, self.amount(least, most))

    def _shift_right(self, operation: str) -> str:
        left = int(self.rng.choice((0, 0, 3, 12)))
        value = self.narrow(self.pick(), WORD_WIDTH - left)
        return self.apply(operation, value, self.amount(-left, LARGEST_SHIFT))

    def _draw(self, operation: str) -> str:
        bits, largest = self.population.frac_bits, self.population.max_count or 1
        floor = LOWEST_POTENTIAL << bits
        ceiling = max(largest_potential(largest, bits), 0)
        middle = (floor + 3 * ceiling) // 4
        low, high = self.constant(floor, middle), self.constant(ceiling // 2, ceiling)
        return self.apply(operation, self.clip(self.pick(), low, high))

    def _stored(self, variable: str) -> str:
        """A word that fits the variable; mostly made so, or else another variable or a literal."""
        bits = self.population.variables[variable]
        if self.rng.random() < 0.1:
            fitting = [n for n in self.sources if self.bounds[n].bits <= bits] or ["0", "1"]
            return str(self.rng.choice(fitting))
        recent = self.results[-5:]
        return self.narrow(recent[int(self.rng.integers(len(recent)))], bits)


# ------------------------------------------------------------------------------------ numbers


class _Filling:
    """Chooses the numbers of a structure."""

    def __init__(self, structure: Structure, rng: np.random.Generator) -> None:
        self.structure, self.rng = structure, rng
        shapes = {group: self._shape() for group in range(3)}
        self.shapes = {p.name: shapes[p.group] for p in structure.populations}
        self.pixels = _size(shapes[0])
        self.input = self._input()
        self.made: dict[str, Connection] = {}

    def network(self) -> IntegerNetwork | None:
        """Network with these numbers, or None if a part does not fit."""
        structure = self.structure
        encodings = tuple(self._encodings())
        reaches = self._reaches(encodings)
        for synapses in structure.synapses:
            made = self._connection(synapses, reaches)
            if made is None:
                return None
            self.made[synapses.name] = made
        used = {name for a in (*structure.iteration, *structure.final) for name in a.connections}
        used |= {c.shared.connection for n, c in self.made.items() if n in used and c.shared}
        return IntegerNetwork(
            name="random",
            input=self.input,
            encodings=encodings,
            populations=tuple(self._populations()),
            connections=tuple(c for name, c in self.made.items() if name in used),
            iteration=structure.iteration,
            final=structure.final,
            readout=self._readout(used, reaches),
        )

    def _shape(self) -> Shape:
        if self.rng.random() < 0.1:
            return 1, 1, 1
        while True:
            shape = tuple(int(n) for n in self.rng.integers((1, 1, 1), (4, 7, 7)))
            if _size(shape) <= LARGEST_POPULATION:
                return shape  # type: ignore[return-value]

    def _input(self) -> Input:
        low, high = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))[int(self.rng.integers(3))]
        bits = int(self.rng.integers(0, 3 if high > 1 else 9))
        return Input(self.pixels, low, high, bits)

    def _encodings(self) -> Iterator[Encoding]:
        for population in self.structure.inputs:
            size = _size(self.shapes[population.name])
            for name, bits in population.variables.items():
                if name not in population.weighted:
                    yield Encoding(population.name, name)
                    continue
                weight = self.rng.integers(-3000, 3000, (size, self.pixels), dtype=np.int32)
                shift = int(self.rng.choice((0, 1, 8, 12, 20)))
                yield Encoding(population.name, name, weight, shift, (1 << (bits - 1)) - 1)

    def _reaches(self, encodings: tuple[Encoding, ...]) -> dict[tuple[str, str], int]:
        """Largest absolute value of each variable."""
        found = {
            (p.name, v): 1 << (bits - 1)
            for p in self.structure.populations
            for v, bits in p.variables.items()
        }
        for encoding in encodings:
            bounds = encoding.interval(self.input.interval)
            found[encoding.population, encoding.variable] = max(-bounds.smallest, bounds.largest, 1)
        return found

    def _populations(self) -> Iterator[Population]:
        ends: dict[int, int] = {}
        for draft in self.structure.populations:
            size = _size(self.shapes[draft.name])
            sampler = None
            if draft.draws is not None and draft.max_count is not None:
                stream = int(self.rng.choice((0, 1, 7)))
                first = ends.get(stream, 0) + int(self.rng.choice((0, 0, 1, 13)))
                ends[stream] = first + size
                sampler = Sampler(draft.max_count, draft.frac_bits, stream, first)
            is_input = draft in self.structure.inputs
            variables = tuple(
                Variable(name, self._initial(size, bits), WORD_WIDTH if is_input else bits)
                for name, bits in draft.variables.items()
            )
            read = {name for program in draft.programs for name in program.reads}
            constants = tuple(
                Constant(c.name, self._values(c.low, c.high, 1 if c.shared else size))
                for c in draft.constants
                if c.name in read
            )
            yield Population(draft.name, size, variables, constants, tuple(draft.programs), sampler)

    def _initial(self, size: int, bits: int) -> NDArray[np.int32]:
        half = 1 << (bits - 1)
        return self._values(-half, half - 1, size if self.rng.random() < 0.6 else 1)

    def _values(self, low: int, high: int, size: int) -> NDArray[np.int32]:
        """Uniform numbers, and now and then an end of the range."""
        values = self.rng.integers(low, high, size, endpoint=True)
        ends = self.rng.random(size)
        values = np.where(ends < 0.1, low, np.where(ends > 0.9, high, values))
        return values.astype(np.int32)

    # -------------------------------------------------------------------------- connections

    def _connection(
        self, synapses: _Synapses, reaches: dict[tuple[str, str], int]
    ) -> Connection | None:
        holder = self.made.get(synapses.shared) if synapses.shared is not None else None
        reach = reaches[synapses.source, synapses.variable]
        if holder is not None:
            shared = self._sharing(synapses, holder)
            if shared is not None:
                return shared
        build = _BUILDERS[synapses.kind]
        return build(self, synapses, reach)

    def _mantissas(self, shape: tuple[int, ...], s: _Synapses, reach: int, fan_in: int) -> Any:
        """Weights small enough for an accumulator of 24 bits, with company and exponent."""
        company = sum(
            o.received_as == s.received_as and o.target == s.target for o in self.structure.synapses
        )
        room = WORD_MAX // (reach * fan_in * company << max(s.exponent, 0))
        # A transposed connection may send larger values through the same weights.
        if any(o.shared == s.name for o in self.structure.synapses):
            room = min(room, WORD_MAX // (LARGEST_POPULATION << (LARGEST_MESSAGE_BITS + 2)))
        largest = min(127, room)
        if largest < 1:
            return None
        weight = self.rng.integers(-largest, largest, shape, endpoint=True).astype(np.int8)
        if self.rng.random() < 0.3:
            weight[self.rng.random(shape) < 0.7] = 0
        if self.rng.random() < 0.15:
            weight[...] = 1
        return weight

    def _sharing(self, s: _Synapses, holder: Connection) -> Connection | None:
        """The holder's weights under this connection's name, where the sizes allow it."""
        back = (holder.source, holder.target) == (s.target, s.source)
        if isinstance(holder, Convolution):
            return TransposedConvolution(
                *(s.name, s.source, s.variable, s.target, holder.weight, s.exponent),
                s.received_as,
                Shared(holder.name),
                source_shape=holder.target_shape,
                target_shape=holder.source_shape,
                stride=holder.stride,
                padding=holder.padding,
            )
        wanted = _size(self.shapes[s.target]), _size(self.shapes[s.source])
        rows, columns = reversed(wanted) if back else wanted
        height, width = holder.weight.shape
        if rows > height or columns > width:
            return None
        shared = Shared(holder.name, back, self._slice(rows, height), self._slice(columns, width))
        weight = resolve(holder.weight, shared)
        return Dense(
            s.name, s.source, s.variable, s.target, weight, s.exponent, s.received_as, shared
        )

    def _slice(self, used: int, present: int) -> tuple[int, int] | None:
        if used == present:
            return None
        first = int(self.rng.integers(present - used + 1))
        return first, first + used

    def _dense(self, s: _Synapses, reach: int) -> Connection | None:
        shape = _size(self.shapes[s.target]), _size(self.shapes[s.source])
        weight = self._mantissas(shape, s, reach, shape[1])
        if weight is None:
            return None
        return Dense(s.name, s.source, s.variable, s.target, weight, s.exponent, s.received_as)

    def _one_to_one(self, s: _Synapses, reach: int) -> Connection | None:
        weight = self._mantissas((_size(self.shapes[s.target]),), s, reach, 1)
        if weight is None:
            return None
        return OneToOne(s.name, s.source, s.variable, s.target, weight, s.exponent, s.received_as)

    def _convolution(self, s: _Synapses, reach: int) -> Connection | None:
        return self._sliding(Convolution, s, self.shapes[s.source], self.shapes[s.target], reach)

    def _transposed(self, s: _Synapses, reach: int) -> Connection | None:
        wide, narrow = self.shapes[s.target], self.shapes[s.source]
        return self._sliding(TransposedConvolution, s, wide, narrow, reach)

    def _sliding(
        self, kind: type[Convolution], s: _Synapses, wide: Shape, narrow: Shape, reach: int
    ) -> Connection | None:
        geometry = self._geometry(wide, narrow)
        if geometry is None:
            return None
        kernel, stride, padding = geometry
        fan_in = max(wide[0], narrow[0]) * kernel[0] * kernel[1]
        weight = self._mantissas((narrow[0], wide[0], *kernel), s, reach, fan_in)
        if weight is None:
            return None
        return kind(
            *(s.name, s.source, s.variable, s.target, weight, s.exponent, s.received_as),
            source_shape=self.shapes[s.source],
            target_shape=self.shapes[s.target],
            stride=stride,
            padding=padding,
        )

    def _geometry(self, wide: Shape, narrow: Shape) -> tuple[tuple[int, int], int, int] | None:
        """Kernel, stride and padding by which ``narrow`` values slide over ``wide``."""
        for _ in range(30):
            kernel = int(self.rng.integers(1, 5)), int(self.rng.integers(1, 5))
            stride, padding = int(self.rng.integers(1, 4)), int(self.rng.integers(min(kernel)))
            most = [(side + padding - 1) // stride + 1 for side in wide[1:]]
            if all(n <= m for n, m in zip(narrow[1:], most, strict=True)):
                return kernel, stride, padding
        return None

    def _readout(self, used: set[str], reaches: dict[tuple[str, str], int]) -> Readout | None:
        """Weights of its own, a connection's, or none."""
        if self.structure.readout is None:
            return None
        name, variable = self.structure.readout
        size = _size(self.shapes[name])
        bits = int(self.rng.integers(-3, 9))
        way = self.rng.random()
        for c in self.made.values():
            sent = (c.source, c.variable) == (name, variable) and c.name in used
            if way < 0.5 and sent and isinstance(c, Dense) and len(c.weight) == self.pixels:
                return Readout(name, variable, connection=c.name, frac_bits=bits)
        if way < 0.7 and size == self.pixels:
            return Readout(name, variable, frac_bits=bits)
        largest = int(np.clip((1 << 24) // (reaches[name, variable] * size), 1, 3000))
        weight = self.rng.integers(-largest, largest + 1, (self.pixels, size), dtype=np.int16)
        return Readout(name, variable, weight, frac_bits=bits)


_BUILDERS: dict[str, Callable[[_Filling, _Synapses, int], Connection | None]] = {
    "dense": _Filling._dense,
    "one_to_one": _Filling._one_to_one,
    "convolution": _Filling._convolution,
    "transposed_convolution": _Filling._transposed,
}


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))


def _width(bits: int) -> Interval:
    return between(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
