"""Turns a neuron program into one Python function: a straight line of NumPy calls, in place.

Walking over a program's instructions costs as much as computing them where a population has few
hundred neurons. So each activation is written out once as source text, with one function here for
each word operation, and compiled; temporary arrays are used again as soon as they are free. What
depends on constants alone is computed beforehand. Words are 64-bit integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import OPERATIONS, Population
from pvae_neuro.network.program import Program

Ints = NDArray[np.int64]
Random = Callable[..., None]
"""Meaning of ``word`` and ``draw``: takes their arguments and the array for the result."""


@dataclass(frozen=True, eq=False)
class Received:
    """How a received sum comes about.

    Attributes
    ----------
    ports : tuple of str
        Sums that arrive, by the names under which they are handed to the compiled function.
    held : tuple of int64 arrays
        Values that the host sets.
    exponent : int
        Power of two that turns their sum into the population's unit.
    """

    ports: tuple[str, ...]
    held: tuple[Ints, ...]
    exponent: int


def compile_program(
    population: Population,
    program: Program,
    variables: Mapping[str, Ints],
    received: Mapping[str, Received],
    random: Mapping[str, Random],
) -> Callable[[Mapping[str, Ints]], None]:
    """Make one activation a function that updates the variables in place.

    Parameters
    ----------
    population : Population
    program : Program
    variables : mapping of str to int64 [n] or [B, n]
        The population's state; these very arrays are updated.
    received : mapping of str to Received
    random : mapping of str to callable
        ``word`` and ``draw``, where the program has them.

    Returns
    -------
    callable
        Takes what arrived, by port.
    """
    shape = next(iter(variables.values())).shape
    text = _Source(shape, random, {o.value: o.variable for o in program.outputs})
    for name, array in variables.items():
        text.name(name, array)
    for constant in population.constants:
        text.constant(constant.name, constant.values.astype(np.int64))
    for literal in (0, 1):
        text.constant(str(literal), np.array([literal], np.int64))
    uses = _last_uses(program)
    for name, parts in received.items():
        text.receive(name, parts)
    for number, instruction in enumerate(program.instructions):
        text.instruction(number, instruction.operation, instruction.arguments, uses)
    text.store({o.variable: o.value for o in program.outputs}, variables)
    return text.function(f"{population.name}.{program.name}")


def _last_uses(program: Program) -> dict[str, int]:
    """Number of the last instruction that reads each name; outputs are read after the last."""
    last = {a: number for number, i in enumerate(program.instructions) for a in i.arguments}
    last.update({o.value: len(program.instructions) for o in program.outputs})
    return last


@dataclass(eq=False)
class _Source:
    """Lines of a function, and the objects that they name."""

    shape: tuple[int, ...]
    random: Mapping[str, Random]
    # Variable that takes each result.
    targets: Mapping[str, str]
    lines: list[str] = field(default_factory=list)
    objects: dict[str, Any] = field(default_factory=lambda: {"np": np, **_FORMULAS})
    # Python names of the program's names.
    names: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Ints] = field(default_factory=dict)
    free: list[str] = field(default_factory=list)
    temporary: set[str] = field(default_factory=set)

    def bind(self, value: Any) -> str:
        """Name an object."""
        name = f"x{len(self.objects)}"
        self.objects[name] = value
        return name

    def name(self, name: str, array: Ints) -> None:
        """An array of the program under its name."""
        self.names[name] = self.bind(array)

    def constant(self, name: str, values: Ints) -> None:
        """A value that is known beforehand."""
        self.constants[name] = values
        self.name(name, values)

    def take(self) -> str:
        """An array for a result."""
        if self.free:
            return self.free.pop()
        name = self.bind(np.zeros(self.shape, np.int64))
        self.temporary.add(name)
        return name

    def place(self, result: str, uses: Mapping[str, int], last: int) -> str:
        """Array for the result of an instruction.

        That is the variable's own where the result becomes its value, and nothing reads the old
        value after the instruction ``last``.
        """
        variable = self.targets.get(result)
        if variable is not None and uses.get(variable, -1) <= last:
            return self.names[variable]
        return self.take()

    def release(self, names: Sequence[str], number: int, uses: Mapping[str, int]) -> None:
        """Give the arrays back that nothing reads after this instruction."""
        for name in dict.fromkeys(names):
            place = self.names[name]
            if place in self.temporary and uses.get(name, -1) <= number:
                self.free.append(place)

    def receive(self, name: str, parts: Received) -> None:
        """Add up what arrived, and shift it to the population's unit."""
        terms = [f"arrived[{self.bind(port)}]" for port in parts.ports]
        terms += [self.bind(array) for array in parts.held]
        if len(terms) == 1 and parts.exponent == 0:
            self.names[name] = f"r{len(self.names)}"
            self.lines.append(f"{self.names[name]} = {terms[0]}")
            return
        out = self.names[name] = self.take()
        first, *others = terms
        if not others:
            self.lines += _shift(self, first, np.array([-parts.exponent]), out)
            return
        self.lines.append(f"np.add({first}, {others[0]}, out={out})")
        self.lines += [f"{out} += {term}" for term in others[1:]]
        self.lines += _shift(self, out, np.array([-parts.exponent]), out)

    def instruction(
        self, number: int, operation: str, arguments: tuple[str, ...], uses: Mapping[str, int]
    ) -> None:
        """Write one instruction."""
        result = f"t{number}"
        if operation in self.random:
            self._random(operation, arguments, result, number, uses)
            return
        known = [self.constants.get(argument) for argument in arguments]
        if all(value is not None for value in known):
            self.constant(result, np.asarray(OPERATIONS[operation].integer(*known), np.int64))
            return
        places = [self.names[argument] for argument in arguments]
        # Every operation has read its arguments before it writes the last time.
        self.release(arguments, number, uses)
        out = self.names[result] = self.place(result, uses, number)
        self.lines += _EMITTERS[operation](self, places, known, out)

    def _random(
        self,
        operation: str,
        arguments: tuple[str, ...],
        result: str,
        number: int,
        uses: Mapping[str, int],
    ) -> None:
        places = [
            self.bind(np.array(np.broadcast_to(self.constants[argument], self.shape)))
            if argument in self.constants
            else self.names[argument]
            for argument in arguments
        ]
        # It reads its argument to the end.
        out = self.names[result] = self.place(result, uses, number - 1)
        call = ", ".join([*places, out])
        self.lines.append(f"{self.bind(self.random[operation])}({call})")
        self.release(arguments, number, uses)

    def store(self, outputs: Mapping[str, str], variables: Mapping[str, Ints]) -> None:
        """Write all outputs at once: no output is stored before another has been read."""
        values = {}
        for variable, value in outputs.items():
            place = self.names[value]
            if value in variables and value in outputs and value != variable:
                kept = self.take()
                self.lines.append(f"{kept}[...] = {place}")
                place = kept
            values[variable] = place
        for variable, place in values.items():
            if place != self.names[variable]:
                self.lines.append(f"{self.names[variable]}[...] = {place}")

    def function(self, name: str) -> Callable[[Mapping[str, Ints]], None]:
        """Compile."""
        body = "\n    ".join(self.lines or ["pass"])
        parameters = "".join(f", {n}={n}" for n in self.objects)
        text = f"def activate(arrived{parameters}):\n    {body}\n"
        exec(compile(text, f"<{name}>", "exec"), self.objects)
        compiled: Callable[[Mapping[str, Ints]], None] = self.objects["activate"]
        return compiled


# ------------------------------------------------------------------- one function an operation

Known = Sequence[Any]
Emitter = Callable[[_Source, Sequence[str], Known, str], list[str]]


def _ufunc(name: str) -> Emitter:
    def emit(source: _Source, places: Sequence[str], known: Known, out: str) -> list[str]:
        return [f"np.{name}({', '.join(places)}, out={out})"]

    return emit


def _formula(name: str) -> Emitter:
    """The definition itself, for operations that are rare."""

    def emit(source: _Source, places: Sequence[str], known: Known, out: str) -> list[str]:
        return [f"{out}[...] = {name}({', '.join(places)})"]

    return emit


def _multiply(source: _Source, places: Sequence[str], known: Known, out: str) -> list[str]:
    a, b, amount = places
    if known[2] is not None:
        return [f"np.multiply({a}, {b}, out={out})", *_shift(source, out, known[2], out)]
    # The product must not overwrite the amount before the shift has read it.
    return [f"{out}[...] = shift_right({a} * {b}, {amount})"]


def _shift_right(source: _Source, places: Sequence[str], known: Known, out: str) -> list[str]:
    value, amount = places
    if known[1] is not None:
        return _shift(source, value, known[1], out)
    return [f"{out}[...] = shift_right({value}, {amount})"]


def _shift_left(source: _Source, places: Sequence[str], known: Known, out: str) -> list[str]:
    value, amount = places
    if known[1] is not None:
        return _shift(source, value, -known[1], out)
    return [f"{out}[...] = shift_right({value}, -{amount})"]


def _shift(source: _Source, value: str, right: Ints, out: str) -> list[str]:
    """``out = value >> right`` for known amounts, rounded half up."""
    if (right == 0).all():
        return [] if value == out else [f"{out}[...] = {value}"]
    if (right >= 0).all():
        amount, half = source.bind(right), source.bind((np.int64(1) << right) >> 1)
        return [f"np.add({value}, {half}, out={out})", f"{out} >>= {amount}"]
    if (right <= 0).all():
        return [f"np.left_shift({value}, {source.bind(-right)}, out={out})"]
    return [f"{out}[...] = shift_right({value}, {source.bind(right)})"]


_FORMULAS: dict[str, Any] = {
    "shift_right": OPERATIONS["shr"].integer,
    "select": OPERATIONS["select"].integer,
    "clz": OPERATIONS["clz"].integer,
}
_EMITTERS: dict[str, Emitter] = {
    "add": _ufunc("add"),
    "sub": _ufunc("subtract"),
    "mul": _multiply,
    "shl": _shift_left,
    "shr": _shift_right,
    "and": _ufunc("bitwise_and"),
    "or": _ufunc("bitwise_or"),
    "xor": _ufunc("bitwise_xor"),
    "min": _ufunc("minimum"),
    "max": _ufunc("maximum"),
    "ge": _ufunc("greater_equal"),
    "select": _formula("select"),
    "abs": _ufunc("absolute"),
    "neg": _ufunc("negative"),
    "clz": _formula("clz"),
}
COMPILED = frozenset(_EMITTERS) | {"word", "draw"}
"""Operations that can be compiled."""
