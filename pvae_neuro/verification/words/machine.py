"""A machine that runs a written listing: registers and products as narrow as the listing says.

It shares no formula with the language or the engines, so it is a second opinion on both. Every
operation of every program, of the sampler too, checks that its result and its product fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import NetworkError

REGISTER_BITS, PRODUCT_BITS = 24, 48

Ints = NDArray[np.int64]
State = dict[str, Ints]
"""Variables by ``population.variable``, each int64 [B, n]."""
Product = Callable[[Ints, Ints], Ints]
"""Sum of weight times value at each target: of values [B, source] and weights, [B, target]."""


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
                result = FORMULAS[step.operation](*arguments)
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


FORMULAS: dict[str, Callable[..., Ints]] = {
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
ARITY = {"select": 3, "mul": 3, "abs": 1, "neg": 1, "clz": 1, "draw": 1, "word": 0}


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


# -------------------------------------------------------------------------------- connections


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


PRODUCTS: dict[str, Callable[[str, dict[str, str]], Product]] = {
    "dense": lambda kind, said: _dense,
    "one_to_one": lambda kind, said: _one_to_one,
    "convolution": _convolution,
    "transposed_convolution": _convolution,
}
