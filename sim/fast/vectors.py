"""Sums that stay in vector registers, and the instructions that multiply and add pairs.

A kernel adds two products to each sum of a block at a time; the compiler keeps the block in
registers. On x86 with AVX2 or AVX-512 a pair of products is one instruction (``pmaddubsw`` for
bytes, ``pmaddwd`` for 16 bits, which LLVM joins with the sum where the processor can); elsewhere
it is plain vector arithmetic. All give the same integers, provided that the sums fit, which the
callers see to.

A ``pair`` below holds two numbers of 16 bits, the first one below.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from llvmlite import ir

from pvae_neuro.sim.fast.language import Array, Body, Value
from pvae_neuro.sim.fast.machine import I8, I16, I32, intrinsic, splat
from pvae_neuro.sim.fast.processor import level

PART = 128
"""Bits of a register within which the processor interleaves."""


class Registers(NamedTuple):
    """Registers of a processor, and the instructions that multiply and add pairs.

    Attributes
    ----------
    bits : int
    bytes, words : str
        Instructions for unsigned by signed bytes, and for words.
    byte_lanes, word_lanes, pair_lanes : int
        Sums of a block, by what is multiplied: rows of bytes, rows of words, pairs of any. All of a
        block fit the registers, with their factors; all weights of a block of words the first-level
        cache.
    pair_blocks : int
        Blocks of sums of pairs that fit: several hide how long an instruction takes.
    """

    bits: int
    bytes: str
    words: str
    byte_lanes: int = 128
    word_lanes: int = 16
    pair_lanes: int = 64
    pair_blocks: int = 1


_WIDE = Registers(
    512, "llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512", word_lanes=32,
    pair_blocks=4,
)  # fmt: skip
_REGISTERS = {
    **dict.fromkeys(("amx", "vnni", "avx512"), _WIDE),
    "avx2": Registers(256, "llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd"),
    "sse4": Registers(128, "llvm.x86.ssse3.pmadd.ub.sw.128", "llvm.x86.sse2.pmadd.wd", 64, 8, 32),
    "plain": Registers(0, "", ""),
}
REGISTERS = _REGISTERS[level()]
BYTE_LANES, WORD_LANES, PAIR_LANES, PAIR_BLOCKS = REGISTERS[3:]


class Sums:
    """A block of sums, zero at first: a variable for each register."""

    lanes: ClassVar[int]
    element: ClassVar[ir.IntType]

    def __init__(self, code: Body) -> None:
        self.bits = REGISTERS.bits
        count = self.lanes * self.element.width // self.bits if self.bits else 1
        kind = ir.VectorType(self.element, self.lanes // count)
        self.parts = [code.variable(0, kind) for _ in range(count)]

    def _joined(self) -> Value:
        vectors: list[Value] = list(self.parts)
        while len(vectors) > 1:
            both = range(2 * vectors[0].kind.count)
            vectors = [vectors[i].picked(both, vectors[i + 1]) for i in range(0, len(vectors), 2)]
        return vectors[0]

    def _add_plainly(self, products: Iterable[tuple[Value, Value]]) -> None:
        """Add products of vectors and numbers without special instructions."""
        (sums,) = self.parts
        for numbers, factor in products:
            sums.set(sums + numbers.to(self.element) * factor.to(self.element))


class PairSums(Sums):
    """``PAIR_LANES`` sums of 32 bits."""

    lanes, element = PAIR_LANES, I32

    def add_weights(self, weight: Array, place: Value, pair: Value) -> None:
        """Add ``x0 * weight[place + 2 i] + x1 * weight[place + 2 i + 1]``: int8 by int16."""
        line = weight.line(place, 2 * PAIR_LANES)
        if self.bits:
            self._add(line.to(I16), pair)
            return
        halves = (line.picked(range(odd, 2 * PAIR_LANES, 2)) for odd in (0, 1))
        self._add_plainly(zip(halves, _numbers(pair), strict=True))

    def add_values(self, values: Array, place: Value, pair: Value) -> None:
        """Add ``x0 * w0 + x1 * w1`` where ``values[place + i]`` holds x0 and x1, int16."""
        line = values.line(place, PAIR_LANES)
        if self.bits:
            self._add(line.read_as(ir.VectorType(I16, 2 * PAIR_LANES)), pair)
            return
        self._add_plainly(zip(_numbers(line), _numbers(pair), strict=True))

    def _add(self, words: Value, pair: Value) -> None:
        factors, lanes = _repeated(pair, self.bits, I16), self.bits // 16
        for number, part in enumerate(self.parts):
            taken = words.picked(range(number * lanes, (number + 1) * lanes))
            part.set(part + _multiplied(REGISTERS.words, taken, factors))

    def add(self, other: PairSums) -> None:
        """Add the sums of another block."""
        for part, more in zip(self.parts, other.parts, strict=True):
            part.set(part + more)

    def store(self, out: Array, place: Any) -> None:
        """Write the sums to ``out[place : place + lanes]``, int32."""
        out.set_line(place, self._joined())


class RowSums(Sums):
    """Sums over rows of weights, two of which are interleaved: as their registers leave them."""

    def _interleaved(self, rows: Sequence[Value]) -> Iterable[Value]:
        """Two rows within each part of a register: their first halves, then the second ones."""
        width, length = rows[0].kind.element.width, rows[0].kind.count
        half = PART // width // 2
        for first in range(0, length, self.bits // width):
            for start in (first, first + half):
                places = [
                    place
                    for part in range(start, start + self.bits // width, 2 * half)
                    for i in range(part, part + half)
                    for place in (i, length + i)
                ]
                yield rows[0].picked(places, rows[1])

    def store(self, out: Array, place: Any) -> None:
        """Write the sums to ``out[place : place + lanes]``, int32, in order."""
        joined = self._joined()
        if self.bits:
            # Sums of one part; those of the other half are a register further.
            width, chunk = self.element.width, PART // self.element.width
            order = [
                first + half * (self.bits // width) + part + i
                for first in range(0, self.lanes, 2 * self.bits // width)
                for part in range(0, self.bits // width, chunk)
                for half in (0, 1)
                for i in range(chunk)
            ]
            joined = joined.picked(order)
        out.set_line(place, joined)


class ByteSums(RowSums):
    """``BYTE_LANES`` sums of 16 bits: rows of int8 by counts of 0 .. 255."""

    lanes, element = BYTE_LANES, I16

    def add(self, weight: Array, places: Sequence[Value], pair: Value) -> None:
        """Add ``z0 * weight[places[0] + i] + z1 * weight[places[1] + i]``."""
        rows = [weight.line(place, BYTE_LANES) for place in places]
        if not self.bits:
            self._add_plainly(zip(rows, _numbers(pair), strict=True))
            return
        factors = _repeated((pair | pair >> 8).to(I16), self.bits, I8)
        for part, both in zip(self.parts, self._interleaved(rows), strict=True):
            part.set(part + _multiplied(REGISTERS.bytes, factors, both))


class WordSums(RowSums):
    """``WORD_LANES`` sums of 32 bits: rows of int16 by int16."""

    lanes, element = WORD_LANES, I32

    def add(self, weight: Array, places: Sequence[Value], pair: Value) -> None:
        """Add ``z0 * weight[places[0] + i] + z1 * weight[places[1] + i]``."""
        rows = [weight.line(place, WORD_LANES) for place in places]
        if not self.bits:
            self._add_plainly(zip(rows, _numbers(pair), strict=True))
            return
        factors = _repeated(pair, self.bits, I16)
        for part, both in zip(self.parts, self._interleaved(rows), strict=True):
            part.set(part + _multiplied(REGISTERS.words, both, factors))


def _multiplied(name: str, x: Value, y: Value) -> Value:
    """Sums of two products each, side by side, by an instruction of registers."""
    result = ir.VectorType(ir.IntType(2 * x.kind.element.width), x.kind.count // 2)
    return Value(x.b, x.b.call(intrinsic(x.b, name, result, [x.kind, y.kind]), [x.ir, y.ir]))


def _numbers(pair: Value) -> tuple[Value, Value]:
    """Both numbers of a pair: signed 16 bits each."""
    return pair << 16 >> 16, pair >> 16


def _repeated(value: Value, bits: int, element: ir.IntType) -> Value:
    """A register that holds a number many times, read as smaller ones."""
    filled = Value(value.b, splat(value.b, value.ir, bits // value.kind.width))
    return filled.read_as(ir.VectorType(element, bits // element.width))
