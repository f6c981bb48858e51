"""A machine that runs a written listing: registers and products as narrow as the listing says.

It reads ``listing.txt`` and ``arrays.txt`` (:mod:`pvae_neuro.exporters.listing`) and shares no
formula with the language or the engines, so it is a second opinion on both. Every operation of
every program, of the sampler too, checks that its result and its product fit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.show import show

LISTING, ARRAYS = "listing.txt", "arrays.txt"
REGISTER_BITS, PRODUCT_BITS = 24, 48

Ints = NDArray[np.int64]
State = dict[str, Ints]
"""Variables by ``population.variable``, each int64 [B, n]."""


# ------------------------------------------------------------------------------- what is read


@dataclass
class Step:
    """One operation; ``bits`` and ``product`` are the widths that the listing gives it."""

    result: str
    operation: str
    arguments: tuple[str, ...]
    bits: int | None
    product: int | None


@dataclass
class Code:
    """A program."""

    steps: list[Step] = field(default_factory=list)
    stores: dict[str, str] = field(default_factory=dict)


@dataclass
class Unit:
    """A population, or a sampler, which has the same parts."""

    size: int = 1
    bits: dict[str, int] = field(default_factory=dict)
    initial: dict[str, Ints] = field(default_factory=dict)
    constants: dict[str, Ints] = field(default_factory=dict)
    programs: dict[str, Code] = field(default_factory=dict)
    inverse: Ints | None = None
    sampler: str = "none"
    stream: int = 0
    first: int = 0


@dataclass
class Synapses:
    """A connection; ``source`` is the variable that it sends."""

    source: str
    target: str
    apply: Product
    weight: Ints


@dataclass
class Receive:
    """Connections that add up under one name."""

    name: str
    exponent: int
    connections: list[str]
    sum_bits: int
    bits: int


@dataclass
class Run:
    """One line of the schedule."""

    population: str
    program: str
    receives: list[Receive] = field(default_factory=list)


@dataclass
class Encode:
    """How the host sets a variable."""

    weight: Ints | None = None
    shift: int = 0
    limit: int = 0


@dataclass
class Machine:
    """A listing that was read, ready to run."""

    name: str = ""
    frac_bits: int = 0
    encodings: dict[str, Encode] = field(default_factory=dict)
    samplers: dict[str, Unit] = field(default_factory=dict)
    populations: dict[str, Unit] = field(default_factory=dict)
    connections: dict[str, Synapses] = field(default_factory=dict)
    schedule: dict[str, list[Run]] = field(default_factory=dict)

    def encode(self, images: NDArray[Any]) -> State:
        """What the host sets for images [B, M]: integers [B, n], by ``population.variable``."""
        scaled = np.asarray(images, np.float64) * 2.0**self.frac_bits
        return self.encode_pixels(np.rint(scaled).astype(np.int64))

    def encode_pixels(self, pixels: Ints) -> State:
        """The same for integer pixels [B, M]."""
        found = {}
        for name, encoding in self.encodings.items():
            values = pixels
            if encoding.weight is not None:
                values = _shift(pixels @ encoding.weight.T, encoding.shift)
                values = np.clip(values, -encoding.limit, encoding.limit)
            population, _, variable = name.partition(".")
            _fits(f"host, {name}", values, self.populations[population].bits[variable])
            found[name] = values
        return found

    def start(self, samples: int) -> State:
        """Every variable at the start of a run."""
        return {
            f"{name}.{variable}": np.tile(np.broadcast_to(values, unit.size), (samples, 1))
            for name, unit in self.populations.items()
            for variable, values in unit.initial.items()
        }

    def run(
        self, samples: int, inputs: State, words: Mapping[str, NDArray[Any]], iterations: int
    ) -> Iterator[State]:
        """Yield every variable at the end of each iteration, then after ``final``.

        Parameters
        ----------
        samples : int
            B.
        inputs : dict of str to int [B, n]
            As :meth:`encode` gives them.
        words : mapping of str to int [B, T + 1, n]
            Random words of each population that draws.

        Raises
        ------
        NetworkError
            At the first word or product that does not fit its width; names population, program
            and operation.
        """
        state = {**self.start(samples), **inputs}
        for step in range(iterations + 1):
            now = {name: w[:, step].astype(np.int64) for name, w in words.items()}
            for line in self.schedule["iteration" if step < iterations else "final"]:
                self.activate(line, state, now)
            yield dict(state)

    def activate(self, line: Run, state: State, words: Mapping[str, Ints]) -> None:
        """Run one line of the schedule on the state."""
        unit = self.populations[line.population]
        known = {name: state[f"{line.population}.{name}"] for name in unit.bits}
        sent = {c: state[self.connections[c].source] for r in line.receives for c in r.connections}
        known.update(self.receive(line, sent))
        where = f"{line.population}.{line.program}"
        known = self.compute(where, unit, line.program, known, words.get(line.population))
        for variable, value in unit.programs[line.program].stores.items():
            name = f"{line.population}.{variable}"
            stored = np.broadcast_to(known[value], state[name].shape)
            _fits(f"{where}: {variable} <- {value}", stored, unit.bits[variable])
            state[name] = stored

    def receive(self, line: Run, sent: State) -> State:
        """What a line of the schedule receives, by name, of what each connection sends."""
        received = {}
        for each in line.receives:
            low = high = np.zeros((1, 1), np.int64)
            for name in each.connections:
                c, value = self.connections[name], sent[name]
                up, down = np.maximum(value, 0), np.minimum(value, 0)
                more, less = np.maximum(c.weight, 0), np.minimum(c.weight, 0)
                # In the worst order all positive terms come first, or all negative ones.
                high = high + c.apply(up, more) + c.apply(down, less)
                low = low + c.apply(up, less) + c.apply(down, more)
            where = f"{line.population}.{line.program}: receive {each.name}"
            _fits(f"{where}, sum", np.stack([low, high]), each.sum_bits)
            received[each.name] = _shift(low + high, -each.exponent)
            _fits(where, received[each.name], each.bits)
        return received

    def compute(
        self, where: str, unit: Unit, program: str, known: State, word: Ints | None = None
    ) -> State:
        """Constants, ``known``, which may hold others, and the result of every operation."""
        literals = {"0": np.zeros((1, 1), np.int64), "1": np.ones((1, 1), np.int64)}
        known = {**literals, **unit.constants, **known}
        for step in unit.programs[program].steps:
            text = f"{where}: {step.result} = {step.operation}({', '.join(step.arguments)})"
            if step.bits is None:
                raise NetworkError(f"{text}: the listing gives no width")
            arguments = [known[a] for a in step.arguments]
            if step.operation == "word":
                result = _given(text, word)
            elif step.operation == "draw":
                result = self.draw(unit.sampler, arguments[0], _given(text, word))[-1]["z"]
            elif step.operation == "mul":
                result = _multiply(text, arguments, step.product or 0)
            else:
                result = _FORMULAS[step.operation](*arguments)
            _fits(text, result, step.bits)
            known[step.result] = result
        return known

    def draw(self, sampler: str, u: Ints, word: Ints) -> list[State]:
        """State of a sampler after its beginning and after each pass, until all are done."""
        unit = self.samplers[sampler]
        known: State = {"u": u, "w": word}
        states: list[State] = []
        shape = np.broadcast_shapes(u.shape, word.shape)
        inverse = np.zeros(0, np.int64) if unit.inverse is None else unit.inverse
        for number in range(len(inverse) + 1):
            program = "advance" if number else "begin"
            where = f"{sampler}.{program}"
            if number:
                known["inverse"] = inverse[number - 1 : number]
            results = self.compute(where, unit, program, known)
            for variable, value in unit.programs[program].stores.items():
                known[variable] = np.broadcast_to(results[value], shape)
                _fits(f"{where}: {variable} <- {value}", known[variable], unit.bits[variable])
            states.append({name: known[name] for name in unit.bits})
            if known["done"].all():
                return states
        raise NetworkError(f"{sampler}: some counts are not done after {len(inverse)} passes")


# ------------------------------------------------------------------------------ golden vectors


def replay(machine: Machine, vectors: Mapping[str, Any]) -> int:
    """Compute golden vectors with a listing, operation by operation; how many integers were equal.

    Parameters
    ----------
    machine : Machine
    vectors : mapping
        What ``vectors.json`` holds.

    Raises
    ------
    NetworkError
        At the first integer that differs, or word that does not fit.
    InputError
        If these are no golden vectors of such a network.
    """
    try:
        return sum(_equal(machine, record) for record in vectors["records"])
    except NetworkError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"vectors: expected golden vectors of the network {machine.name!r}, as its listing has "
            f"them; {type(error).__name__}: {error}"
        ) from error


def _equal(machine: Machine, record: Mapping[str, Any]) -> int:
    """How many integers of a record are equal; raises at the first one that is not."""
    compared = 0
    for place, expected, found in _compared(machine, record):
        values = np.atleast_1d(np.asarray(expected, np.int64))
        got = np.broadcast_to(found, values.shape)
        if (values != got).any():
            at = int(np.argmax(values != got))
            raise NetworkError(
                f"{place}, step {record['step']}: number {at} of the golden vector is "
                f"{values[at]}, the listing computes {got[at]}"
            )
        compared += values.size
    return compared


def _compared(machine: Machine, record: Mapping[str, Any]) -> Iterator[tuple[str, Any, Ints]]:
    """Yield place, golden vector and computed values for each word of a record."""
    if "run" not in record:
        host = machine.encode_pixels(np.array([record["pixels"]], np.int64))
        yield from ((f"host, {name}", record["host"][name], host[name][0]) for name in host)
        return
    where, neurons = record["run"], np.array(record["neurons"])
    population, program = where.split(".")
    unit = machine.populations[population]
    part = next(
        (line for lines in machine.schedule.values() for line in lines
         if (line.population, line.program) == (population, program)
         and {c for r in line.receives for c in r.connections} == record["sent"].keys()),
        None,
    )  # fmt: skip
    if part is None:
        raise NetworkError(f"{where}: the listing's schedule has no such line")
    sent = {name: np.array([values], np.int64) for name, values in record["sent"].items()}
    read = {name: np.array([values], np.int64) for name, values in record["read"].items()}
    for name, values in machine.receive(part, sent).items():
        yield f"{where}: receive {name}", record["read"][name], values[0, neurons]
    for name in read.keys() & unit.constants.keys():
        values = np.broadcast_to(unit.constants[name], unit.size)
        yield f"{where}: constant {name}", record["read"][name], values[neurons]
    word = np.array([record["word"]], np.int64) if "word" in record else None
    known = machine.compute(where, unit, program, read, word)
    for name, results in record["results"].items():
        yield f"{where}: {name}", results, known[name].reshape(-1)
    for step in unit.programs[program].steps:
        if step.operation == "draw" and word is not None:
            states = machine.draw(unit.sampler, known[step.arguments[0]], word)
            golden = record["draws"][step.result]
            if len(golden) != len(states):
                raise NetworkError(
                    f"{where}: {step.result} takes {len(states) - 1} passes, expected "
                    f"{len(golden) - 1}"
                )
            for number, (wanted, state) in enumerate(zip(golden, states, strict=True)):
                for name, values in wanted.items():
                    yield f"{where}: {name} after pass {number}", values, state[name][0]
    for variable, value in unit.programs[program].stores.items():
        yield f"{where}: {variable}", record["store"][variable], known[value].reshape(-1)


# --------------------------------------------------------------------------------- arithmetic


def _shift(value: Any, right: Any) -> Any:
    """To the right, rounded half up; to the left where the amount is negative."""
    right, left = np.maximum(right, 0), np.maximum(np.negative(right), 0)
    return ((value << left) + np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)) >> (
        right
    )


def _zeros_in_front(value: Ints) -> Ints:
    count = np.zeros_like(value)
    for bit in range(REGISTER_BITS):
        count += (value >> bit) == 0
    return count


_FORMULAS: dict[str, Callable[..., Ints]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "shl": lambda a, s: _shift(a, -s),
    "shr": _shift,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "min": np.minimum,
    "max": np.maximum,
    "ge": lambda a, b: (a >= b).astype(np.int64),
    "select": lambda c, a, b: np.where(c == 0, b, a),
    "abs": lambda a: np.where(a < 0, -a, a),
    "neg": lambda a: -a,
    "clz": _zeros_in_front,
}
_ARITY = {"select": 3, "mul": 3, "abs": 1, "neg": 1, "clz": 1, "draw": 1, "word": 0}


def _multiply(where: str, arguments: list[Ints], bits: int) -> Ints:
    a, b, shift = arguments
    product = a * b
    _fits(f"{where}, product", product, bits)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    _fits(f"{where}, product", product + half, bits)
    result: Ints = _shift(product, shift)
    return result


def _given(where: str, word: Ints | None) -> Ints:
    if word is None:
        raise NetworkError(f"{where}: expected random words, got none")
    return word


def _fits(where: str, value: Ints, bits: int) -> None:
    half = 1 << (bits - 1) if bits else 0
    low, high = int(value.min()), int(value.max())
    if low < -half or high >= half:
        raise NetworkError(f"{where}: {low} .. {high} does not fit {bits} bits")


# ------------------------------------------------------------------------------------ reading

_RESULT = re.compile(r"(t\d+) = (\w+)\((.*?)\)(?: +(\d+) bits)?(?:, product (\d+) bits)?")
_STORE = re.compile(r"(\S+) <- (\S+)")
_RECEIVE = re.compile(r"receive (\S+) exponent (-?\d+) from (\S+) sum (\d+) bits, then (\d+) bits")


def read_listing(
    folder: str | os.PathLike[str],
    register_bits: int = REGISTER_BITS,
    product_bits: int = PRODUCT_BITS,
) -> Machine:
    """Read a listing for a machine whose registers and products have these widths.

    Parameters
    ----------
    folder : path-like
        With ``listing.txt`` and ``arrays.txt``.
    register_bits, product_bits : int

    Raises
    ------
    InputError
        If there is no such listing, or a line of it says nothing; names the line.
    NetworkError
        If a word or a product is declared wider than the machine's.
    """
    path = user_path(folder) / LISTING
    try:
        text = path.read_text("utf-8")
        arrays = dict(map(_array, path.with_name(ARRAYS).read_text("utf-8").split("array ")[1:]))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path.parent}: expected a folder with {LISTING} and {ARRAYS}, as an export with a "
            f"listing writes it; {error}"
        ) from error
    return _Reader(path, arrays, register_bits, product_bits).read(text)


def _array(text: str) -> tuple[str, Ints]:
    head, _, numbers = text.partition("\n")
    name, *sides = head.split()
    return name, np.array(numbers.split(), np.int64).reshape([int(side) for side in sides])


class _Reader:
    def __init__(self, path: Path, arrays: State, register_bits: int, product_bits: int) -> None:
        self.path, self.arrays = path, arrays
        self.register_bits, self.product_bits = register_bits, product_bits
        self.machine = Machine()
        self.unit, self.code = Unit(), Code()
        # Unit, and unit and program: where the present line is.
        self.unit_name = self.place = ""
        self.lines: list[Run] = []

    def read(self, text: str) -> Machine:
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.partition("#")[0].strip()
            if not words:
                continue
            try:
                self._line(words)
            except NetworkError:
                raise
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise InputError(
                    f"{self.path}, line {number}: expected a line of a listing, got {show(words)}; "
                    f"export the listing again"
                ) from error
        self.machine.schedule.setdefault("final", [])
        if not self.machine.schedule.get("iteration"):
            raise InputError(f"{self.path}: expected a schedule; export the listing again")
        for sampler, unit in self.machine.samplers.items():
            for name, given in (("begin", {"u", "w"}), ("advance", {"inverse"})):
                if name not in unit.programs:
                    raise InputError(
                        f"{self.path}: {sampler}: expected a program {name!r}, got none; export "
                        f"the listing again"
                    )
                self._check_names(f"{sampler}.{name}", unit, unit.programs[name], given)
        for run in chain(*self.machine.schedule.values()):
            unit = self.machine.populations[run.population]
            where = f"{run.population}.{run.program}"
            received = {receive.name for receive in run.receives}
            self._check_names(where, unit, unit.programs[run.program], received)
        return self.machine

    def _check_names(self, where: str, unit: Unit, code: Code, given: set[str]) -> None:
        """Every name that a program reads is there when it reads it."""
        known = {"0", "1", *unit.bits, *unit.constants, *given}
        for step in code.steps:
            unknown = [name for name in step.arguments if name not in known]
            if step.operation == "draw" and unit.sampler not in self.machine.samplers:
                unknown.append(f"sampler {unit.sampler}")
            if unknown:
                raise InputError(
                    f"{self.path}: {where}: {step.result} reads {show(', '.join(unknown))}, which "
                    f"nothing gives; export the listing again"
                )
            known.add(step.result)
        for variable, value in code.stores.items():
            if value not in known:
                raise InputError(
                    f"{self.path}: {where}: {variable} <- {show(value)}, which nothing gives; "
                    f"export the listing again"
                )

    def _line(self, line: str) -> None:
        if found := _RESULT.fullmatch(line):
            self._step(*found.groups())
        elif found := _STORE.fullmatch(line):
            variable, value = found.groups()
            self._width(f"{variable} <- {value}", self.unit.bits[variable])
            self.code.stores[variable] = value
        elif found := _RECEIVE.fullmatch(line):
            name, exponent, names, total, bits = found.groups()
            for what, width in ((f"receive {name}, sum", total), (f"receive {name}", bits)):
                self._width(what, int(width))
            connections = names.split("+")
            receive = Receive(name, int(exponent), connections, int(total), int(bits))
            for each in connections:
                _ = self.machine.connections[each]
            self.lines[-1].receives.append(receive)
        else:
            keyword, *words = line.split()
            getattr(self, f"on_{keyword}")(*words)

    def _step(self, result: str, name: str, inside: str, bits: Any, product: Any) -> None:
        arguments = tuple(inside.split(", ")) if inside else ()
        if len(arguments) != _ARITY.get(name, 2):
            raise ValueError(name)
        if name not in _FORMULAS:
            _ = {"mul": 0, "draw": 0, "word": 0}[name]
        where = f"{result} = {name}({inside})"
        bits, product = (int(width) if width else None for width in (bits, product))
        self._width(where, bits)
        if product is not None and product > self.product_bits:
            raise self._too_wide(f"{where}, product", product, self.product_bits)
        self.code.steps.append(Step(result, name, arguments, bits, product))

    def _width(self, where: str, bits: int | None) -> None:
        if bits is not None and bits > self.register_bits:
            raise self._too_wide(where, bits, self.register_bits)

    def _too_wide(self, where: str, bits: int, most: int) -> NetworkError:
        return NetworkError(
            f"{self.place}: {where}: the listing has {bits} bits, the machine has {most}"
        )

    def _value(self, text: str) -> Ints:
        values = self.arrays[text[1:]] if text[0] == "@" else np.array([int(text)])
        half = 1 << (self.register_bits - 1)
        if values.min() < -half or values.max() >= half:
            raise self._too_wide(text, int(max(abs(values.min()), values.max())).bit_length() + 1,
                                 self.register_bits)  # fmt: skip
        return values

    # One method for each word that a line begins with.

    def on_listing(self, version: str) -> None:
        if version != "1":
            raise ValueError(version)

    def on_network(self, name: str) -> None:
        self.machine.name = name

    def on_words(self, *_: str) -> None:
        pass

    def on_input(self, *words: str) -> None:
        self.machine.frac_bits = int(_options(words)["frac_bits"])

    def on_encode(self, name: str, *words: str) -> None:
        encoding = Encode()
        if words != ("pixel",):
            said = _options(words)
            weight = self.arrays[said["weight"][1:]]
            encoding = Encode(weight, int(said["shift"]), int(said["limit"]))
        self.machine.encodings[name] = encoding

    def on_sampler(self, name: str, *words: str) -> None:
        if not words:
            self.unit = self.machine.samplers[name] = Unit()
            self.unit_name = self.place = name
            return
        said = _options(words)
        self.unit.sampler = name
        self.unit.stream, self.unit.first = int(said["stream"]), int(said["first"])

    def on_inverse(self, values: str) -> None:
        self.unit.inverse = self._value(values)

    def on_population(self, name: str, *words: str) -> None:
        self.unit = self.machine.populations[name] = Unit(int(_options(words)["size"]))
        self.unit_name = self.place = name

    def on_variable(self, name: str, *words: str) -> None:
        said = _options(words)
        self._width(f"variable {name}", int(said["bits"]))
        self.unit.bits[name] = int(said["bits"])
        self.unit.initial[name] = self._value(said["initial"])

    def on_constant(self, name: str, value: str) -> None:
        self.unit.constants[name] = self._value(value)

    def on_program(self, name: str) -> None:
        self.code = self.unit.programs[name] = Code()
        self.place = f"{self.unit_name}.{name}"

    def on_connection(self, name: str, kind: str, *words: str) -> None:
        source, _, target, *others = words
        said = _options(others)
        weight = self.arrays[said["weights"][1:]]
        for axis in ("rows", "columns"):
            if axis in said:
                first, last = map(int, said[axis].split(":"))
                weight = weight[first:last] if axis == "rows" else weight[:, first:last]
        if said.get("transposed") == "yes":
            weight = weight.T
        apply = _PRODUCTS[kind](kind, said)
        sender, _, variable = source.partition(".")
        _ = self.machine.populations[sender].bits[variable]
        silence = np.zeros((1, self.machine.populations[sender].size), np.int64)
        if apply(silence, weight).shape != (1, self.machine.populations[target].size):
            raise ValueError(weight.shape)
        self.machine.connections[name] = Synapses(source, target, apply, weight)

    def on_iteration(self) -> None:
        self.lines = self.machine.schedule["iteration"] = []

    def on_final(self) -> None:
        self.lines = self.machine.schedule["final"] = []

    def on_run(self, name: str) -> None:
        population, program = name.split(".")
        self.place = name
        _ = self.machine.populations[population].programs[program]
        self.lines.append(Run(population, program))


def _options(words: Sequence[str]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2], strict=True))


# -------------------------------------------------------------------------------- connections


Product = Callable[[Ints, Ints], Ints]
"""Sum of weight times value at each target: of values [B, source] and weights, [B, target]."""


def _dense(values: Ints, weight: Ints) -> Ints:
    # Floats are exact: no sum of a million such products reaches 2**53.
    return np.rint(values.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)


def _one_to_one(values: Ints, weight: Ints) -> Ints:
    return values * weight


def _convolution(kind: str, said: dict[str, str]) -> Product:
    source, target = (tuple(map(int, said[side].split("x"))) for side in ("from", "to"))
    stride, padding = int(said["stride"]), int(said["padding"])
    back = {"convolution": False, "transposed_convolution": True}[kind]
    wide, narrow = (target, source) if back else (source, target)

    def apply(values: Ints, weight: Ints) -> Ints:
        """Position by position of the kernel; outer rows and columns lie in the wide picture."""
        samples = len(values)
        given = values.reshape(samples, *source).astype(np.float64)
        total = np.zeros((samples, *target))
        for i in range(weight.shape[2]):
            for j in range(weight.shape[3]):
                tall, y = _met(narrow[1], wide[1], stride, i - padding)
                broad, x = _met(narrow[2], wide[2], stride, j - padding)
                kernel = weight[:, :, i, j].astype(np.float64)
                if back:
                    sent = given[:, :, y][:, :, :, x]
                    total[:, :, tall[:, None], broad] += np.einsum("oi,bohw->bihw", kernel, sent)
                else:
                    sent = given[:, :, tall][:, :, :, broad]
                    total[:, :, y[:, None], x] += np.einsum("oi,bihw->bohw", kernel, sent)
        return np.rint(total.reshape(samples, -1)).astype(np.int64)

    return apply


def _met(narrow: int, wide: int, stride: int, offset: int) -> tuple[Ints, Ints]:
    """Positions on the wide side that a kernel position meets, and the slides that meet them."""
    slides = np.arange(narrow)
    positions = stride * slides + offset
    inside = (positions >= 0) & (positions < wide)
    return positions[inside], slides[inside]


_PRODUCTS: dict[str, Callable[[str, dict[str, str]], Product]] = {
    "dense": lambda kind, said: _dense,
    "one_to_one": lambda kind, said: _one_to_one,
    "convolution": _convolution,
    "transposed_convolution": _convolution,
}
