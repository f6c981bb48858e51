"""From neuron programs to machine code: one function below for each word operation.

A program becomes loops over its neurons, as LLVM's own language: the compiler turns them into
vector instructions, and no Python is parsed. A draw ends a loop, since it works on a whole
population at once (:mod:`sampling`); what later loops need is spilled to memory.

The proof of ranges keeps every word within 24 bits, so that all words are of 32 bits here. A
product is made in 64 bits only where its interval asks for that.

Sizes, weights and values of constants are arguments; the text does not depend on them. Two networks
of the same programs, proved to the same widths, give the same text, which is the key under which
compiled code is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from llvmlite import ir

from pvae_neuro.network import Interval
from pvae_neuro.network.interval import point
from pvae_neuro.network.operations import product_interval
from pvae_neuro.sim.fast.machine import I1, I16, I32, I64, Machine, compile_functions, number
from pvae_neuro.sim.fast.memory import CELLS, RAW

INT32_MAX = (1 << 31) - 1


# ------------------------------------------------------------------------- one per operation


@dataclass(frozen=True)
class Word:
    """A word while a loop is written: its name in LLVM's language and its bounds."""

    value: Any
    interval: Interval


def _smaller(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed("<", x, y), x, y)


def _larger(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed(">", x, y), x, y)


def _shifted_right(b: ir.IRBuilder, value: Any, amount: Word) -> Any:
    """``shift_right`` of a value of 32 or 64 bits, with no more steps than the amount needs."""
    low, high = amount.interval.smallest, amount.interval.largest
    if low == high == 0:
        return value
    kind = value.type
    places = amount.value if kind == I32 else b.sext(amount.value, kind)
    zero, one = number(0, kind), number(1, kind)
    if low < 0:
        value = b.shl(value, _larger(b, b.neg(places), zero))
        places = _larger(b, places, zero)
    if high > 0:
        # In 32 bits the half of a shift by 31 is still right: 1 << 31, shifted without its sign.
        half = b.lshr(b.shl(one, places), one)
        value = b.ashr(b.add(value, half), places)
    return value


def _product(b: ir.IRBuilder, x: Word, y: Word, shift: Word) -> Any:
    bounds = product_interval(x.interval, y.interval)
    reach = max(bounds.largest, -bounds.smallest)
    # The rounded shift adds half of its unit.
    half = (1 << max(shift.interval.largest, 0)) >> 1
    if reach + half <= INT32_MAX:
        return _shifted_right(b, b.mul(x.value, y.value), shift)
    wide = b.mul(b.sext(x.value, I64), b.sext(y.value, I64))
    return b.trunc(_shifted_right(b, wide, shift), I32)


def _at_least(b: ir.IRBuilder, x: Word, y: Word) -> Any:
    return b.zext(b.icmp_signed(">=", x.value, y.value), I32)


def _select(b: ir.IRBuilder, condition: Word, x: Word, y: Word) -> Any:
    return b.select(b.icmp_signed("!=", condition.value, number(0, I32)), x.value, y.value)


def _absolute(b: ir.IRBuilder, x: Word) -> Any:
    return _larger(b, x.value, b.neg(x.value))


def _leading_zeros(b: ir.IRBuilder, x: Word) -> Any:
    # Words have 24 bits, registers 32.
    zeros = b.sub(b.ctlz(x.value, number(0, I1)), number(8, I32))
    return b.select(b.icmp_signed("<", x.value, number(0, I32)), number(0, I32), zeros)


def _shift_left(b: ir.IRBuilder, x: Word, amount: Word) -> Any:
    low, high = amount.interval
    turned = Word(b.neg(amount.value), Interval(-high, -low))
    return _shifted_right(b, x.value, turned)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda b, x, y: b.add(x.value, y.value),
    "sub": lambda b, x, y: b.sub(x.value, y.value),
    "mul": _product,
    "shl": _shift_left,
    "shr": lambda b, x, amount: _shifted_right(b, x.value, amount),
    "and": lambda b, x, y: b.and_(x.value, y.value),
    "or": lambda b, x, y: b.or_(x.value, y.value),
    "xor": lambda b, x, y: b.xor(x.value, y.value),
    "min": lambda b, x, y: _smaller(b, x.value, y.value),
    "max": lambda b, x, y: _larger(b, x.value, y.value),
    "ge": _at_least,
    "select": _select,
    "abs": _absolute,
    "neg": lambda b, x: b.neg(x.value),
    "clz": _leading_zeros,
}


# ------------------------------------------------------------------------------------- loops


@dataclass(frozen=True)
class Cell:
    """A value of each neuron, or one that all share, at a place in the cells."""

    place: int
    shared: bool = False


@dataclass(frozen=True)
class RandomWord:
    """The neuron's random word of this step."""


@dataclass(frozen=True)
class Received:
    """Sums that connections delivered: they add up, then shift by their exponent.

    Attributes
    ----------
    parts : tuple of (int, int or None)
        Places of values and of the weights that they are multiplied by; None for ones.
    exponent : int
    """

    parts: tuple[tuple[int, int | None], ...]
    exponent: int


Reading = Cell | RandomWord | Received


@dataclass(frozen=True)
class Step:
    """``result = operation(arguments)``."""

    operation: str
    arguments: tuple[str, ...]
    result: str


@dataclass
class Loop:
    """A loop over the neurons of a population.

    Attributes
    ----------
    reads : dict of str to Reading
    intervals : dict of str to Interval
        Bounds of all names.
    steps : list of Step
    writes : list of (str, int)
        Names of values, and the places of the arrays that they are stored in.
    """

    reads: dict[str, Reading] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    writes: list[tuple[str, int]] = field(default_factory=list)

    def arguments(self) -> tuple[list[int], list[int]]:
        """Places of all arrays, each once, and exponents: what the code is given when it runs."""
        places = [*self.read_places(), *(place for _, place in self.writes)]
        exponents = [r.exponent for r in self.reads.values() if isinstance(r, Received)]
        return list(dict.fromkeys(places)), exponents

    def read_places(self) -> list[int]:
        """Places of the arrays that it reads."""
        places: list[int] = []
        for reading in self.reads.values():
            if isinstance(reading, Cell):
                places.append(reading.place)
            elif isinstance(reading, Received):
                places += [p for part in reading.parts for p in part if p is not None]
        return places


class _Writer:
    """Writes one loop as a function of a module."""

    def __init__(self, loop: Loop, module: ir.Module, name: str) -> None:
        self.loop = loop
        self.places, self.exponents = loop.arguments()
        pointers, numbers = [I32.as_pointer()] * len(self.places), [I32] * len(self.exponents)
        kind = ir.FunctionType(ir.VoidType(), [*pointers, *numbers, I16.as_pointer(), I64])
        self.inner = ir.Function(module, kind, f"{name}_loop")
        self.inner.linkage = "internal"
        # Arrays have different places, so that no store can change what another one holds.
        for argument in self.inner.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        self._write_inner()
        self._write_outer(module, name)

    def _write_outer(self, module: ir.Module, name: str) -> None:
        """The command: address of the places and exponents; neurons; skipped words."""
        numbers = I64.as_pointer()
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [numbers, numbers]), name)
        b = ir.IRBuilder(function.append_basic_block())

        def entry(array: Any, place: int) -> Any:
            return b.load(b.gep(array, [number(place)]))

        command, room = function.args
        given = b.inttoptr(entry(command, 1), numbers)
        size, skipped = entry(command, 2), entry(command, 3)
        cells = b.inttoptr(entry(room, CELLS), I32.as_pointer())
        words = b.gep(b.inttoptr(entry(room, RAW), I16.as_pointer()), [skipped])
        pointers = [b.gep(cells, [entry(given, i)]) for i in range(len(self.places))]
        exponents = [
            b.trunc(entry(given, len(self.places) + i), I32) for i in range(len(self.exponents))
        ]
        b.call(self.inner, [*pointers, *exponents, words, size])
        b.ret_void()

    def _write_inner(self) -> None:
        entry, body, end = (self.inner.append_basic_block() for _ in range(3))
        b = self.builder = ir.IRBuilder(entry)
        self.array = dict(zip(self.places, self.inner.args, strict=False))
        self.words, self.size = self.inner.args[-2], self.inner.args[-1]
        shared = {
            reading.place: b.load(self.array[reading.place])
            for reading in self.loop.reads.values()
            if isinstance(reading, Cell) and reading.shared
        }
        b.branch(body)
        b.position_at_end(body)
        self.index = b.phi(I64)
        self.index.add_incoming(number(0), entry)
        exponents = iter(self.inner.args[len(self.places) : -2])
        known = {"0": Word(number(0, I32), point(0)), "1": Word(number(1, I32), point(1))}
        bounds = self.loop.intervals
        for name, reading in self.loop.reads.items():
            known[name] = Word(self._read(reading, shared, exponents), bounds[name])
        for step in self.loop.steps:
            value = OPERATIONS[step.operation](b, *(known[a] for a in step.arguments))
            known[step.result] = Word(value, bounds[step.result])
        for name, place in self.loop.writes:
            b.store(known[name].value, b.gep(self.array[place], [self.index]))
        following = b.add(self.index, number(1))
        self.index.add_incoming(following, body)
        b.cbranch(b.icmp_signed("<", following, self.size), body, end)
        ir.IRBuilder(end).ret_void()

    def _read(self, reading: Reading, shared: dict[int, Any], exponents: Any) -> Any:
        b = self.builder
        if isinstance(reading, Cell):
            return shared[reading.place] if reading.shared else self._load(reading.place)
        if isinstance(reading, RandomWord):
            return b.zext(b.load(b.gep(self.words, [self.index])), I32)
        total = None
        for place, weight in reading.parts:
            value = self._load(place)
            if weight is not None:
                value = b.mul(value, self._load(weight))
            total = value if total is None else b.add(total, value)
        amount = Word(b.neg(next(exponents)), point(-reading.exponent))
        return _shifted_right(b, total, amount)

    def _load(self, place: int) -> Any:
        return self.builder.load(self.builder.gep(self.array[place], [self.index]))


def compile_loops(loops: Sequence[Loop]) -> Machine:
    """Compile loops; those of the same text are compiled once in a process."""
    return compile_functions([partial(_write, loop) for loop in loops])


def _write(loop: Loop, module: ir.Module, name: str) -> None:
    """Add the command of a loop to a module."""
    _Writer(loop, module, name)
