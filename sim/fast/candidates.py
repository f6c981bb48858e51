"""Lists of neurons, made many at a time: those that may fire, and those that did.

A neuron is a candidate if its word reaches a lower bound of its first threshold. The bounds of 64
ranges of potentials fit into registers. With AVX-512 all of them are looked up at once; with AVX2
or SSE their upper bytes are, which leaves one candidate in 256 neurons more. Elsewhere neurons are
taken one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import pairwise
from typing import Any, NamedTuple

from llvmlite import ir

from pvae_neuro.sim.fast.language import Array, Body, Value, Variable, select
from pvae_neuro.sim.fast.machine import I1, I8, I16, I32, I64, intrinsic
from pvae_neuro.sim.fast.processor import level
from pvae_neuro.sim.fast.thresholds import FIRST_ROWS

_NIBBLE = 16


class Ranges(NamedTuple):
    """Potentials, and bounds of their first thresholds; see :class:`thresholds.Table`.

    Attributes
    ----------
    u_min, span : Value
        Smallest potential; how far the largest one is above it.
    bits, row_bits : Value
        Binary logarithms of the potentials of a range and of a row.
    words : Array
        Bounds, uint16 [FIRST_ROWS].
    bytes : Array
        Their upper halves, uint8.
    """

    u_min: Value
    span: Value
    bits: Value
    row_bits: Value
    words: Array
    bytes: Array

    def above(self, u: Value) -> Value:
        """How far potentials are above the smallest one."""
        above = u - self.u_min
        span = above * 0 + self.span
        # No proved potential is outside; a wrong one must not read memory that is not the table's.
        inside = Value(u.b, u.b.icmp_unsigned("<", above.ir, span.ir))
        return select(inside, above, span)

    def place(self, above: Value) -> Value:
        """Number of the row, and how far within it in 16 bits."""
        return above << (16 - self.row_bits)


class Lists(NamedTuple):
    """What is written of each candidate: its number, and :meth:`Ranges.place`."""

    neuron: Array
    place: Array


class _Way(NamedTuple):
    """How many neurons are taken at once.

    Attributes
    ----------
    together : int
    finder : callable
        ``finder(ranges)`` loads the bounds. It returns a function that tells, a bit each, which of
        ``together`` words reach the bound of their range.
    lanes : int
    pack : callable
        ``pack(values, bits)`` moves those of ``lanes`` values whose bits are set to the front.
    """

    together: int
    finder: Callable[[Ranges], Callable[[Value, Value], Value]]
    lanes: int
    pack: Callable[[Value, Value], Value]


def list_candidates(
    code: Body, ranges: Ranges, u: Array, words: Array, neurons: Value, out: Lists
) -> Value:
    """List the neurons that may fire; returns how many."""
    way, found, whole = _WAYS.get(level()), code.variable(0), code.value(0)
    if way is not None:
        whole = neurons & -way.together
        find = way.finder(ranges)
        with code.loop(0, whole, way.together) as i:
            above = ranges.above(u.line(i, way.together))
            bits = find(above >> ranges.bits, words.line(i, way.together))
            places = ranges.place(above)
            for first in range(0, way.together, way.lanes):
                shift = ir.Constant(bits.kind, first)
                part = Value(code.b, code.b.lshr(bits.ir, shift)).to(ir.IntType(way.lanes))
                here = Value(code.b, _pick(places, range(first, first + way.lanes)))
                _append(way, out, (_counting(i + first, way.lanes), here), part, found)
    with code.loop(whole, neurons) as i:
        above = ranges.above(u[i])
        out.neuron[found], out.place[found] = i, ranges.place(above)
        found += words[i] >= ranges.words[above >> ranges.bits]
    return found


def keep_active(code: Body, numbers: Array, counts: Array, listed: Value) -> Value:
    """Drop neurons of count zero from a list; returns how many are left."""
    way, kept = _WAYS.get(level()), code.variable(0)
    if way is None:
        with code.loop(listed) as a:
            count, neuron = counts[a], numbers[a]
            numbers[kept], counts[kept] = neuron, count
            kept += count > 0
        return kept
    with code.loop(0, listed, way.lanes) as a:
        values = [array.line(a, way.lanes) for array in (numbers, counts)]
        active = (values[1] > 0) & (_counting(a, way.lanes) < listed.to(I32))
        bits = active.read_as(ir.IntType(way.lanes))
        _append(way, [numbers, counts], values, bits, kept)
    return kept


def list_nonzero(code: Body, values: Array, neurons: Value, numbers: Array, counts: Array) -> Value:
    """List the neurons whose values are not zero, and those; returns how many."""
    way, found, whole = _WAYS.get(level()), code.variable(0), code.value(0)
    if way is not None:
        whole = neurons & -way.lanes
        with code.loop(0, whole, way.lanes) as i:
            line = values.line(i, way.lanes)
            bits = (line != 0).read_as(ir.IntType(way.lanes))
            _append(way, [numbers, counts], [_counting(i, way.lanes), line], bits, found)
    with code.loop(whole, neurons) as i:
        numbers[found], counts[found] = i, values[i]
        found += values[i] != 0
    return found


def _append(
    way: _Way, arrays: Sequence[Array], values: Sequence[Value], bits: Value, end: Variable
) -> None:
    """Append those of some values whose bits are set; a whole vector is written behind the end."""
    for array, value in zip(arrays, values, strict=True):
        array.set_line(end, way.pack(value, bits))
    end += Value(bits.b, bits.b.zext(bits.b.ctpop(bits.ir), I64))


def _counting(first: Value, lanes: int) -> Value:
    """``first``, ``first + 1`` and so on, int32."""
    return Value(first.b, _constant(range(lanes), I32)) + first.to(I32)


def _constant(values: Sequence[int], kind: ir.IntType) -> ir.Constant:
    return ir.Constant(ir.VectorType(kind, len(values)), [ir.Constant(kind, v) for v in values])


def _pick(value: Value, places: Sequence[int]) -> Any:
    return value.b.shuffle_vector(value.ir, value.ir, _constant(places, I32))


def _call(b: ir.IRBuilder, name: str, result: Any, *arguments: Any) -> Any:
    return b.call(intrinsic(b, name, result, [a.type for a in arguments]), arguments)


def _reached(b: ir.IRBuilder, words: Any, bound: Any) -> Value:
    """Which of some words reach their bounds, without signs: a bit each."""
    lanes = ir.IntType(words.type.count)
    return Value(b, b.bitcast(b.icmp_unsigned(">=", words, bound), lanes))


# ----------------------------------------------------------------------------- instructions


def _find_by_words(ranges: Ranges) -> Callable[[Value, Value], Value]:
    """AVX-512: a lookup among 64 numbers of 16 bits."""
    table, kind = ranges.words.line(0, FIRST_ROWS), ir.VectorType(I16, 32)
    low, high = (_pick(table, range(half, half + 32)) for half in (0, 32))

    def find(number: Value, words: Value) -> Value:
        b = number.b
        halves = [_pick(number, range(half, half + 16)) for half in (0, 16)]
        packed = Value(b, _call(b, "llvm.x86.avx512.packusdw.512", kind, *halves))
        # The instruction takes four of one half, then four of the other.
        turned = _pick(packed.read_as(ir.VectorType(I64, 8)), (0, 2, 4, 6, 1, 3, 5, 7))
        places = b.bitcast(turned, kind)
        bound = _call(b, "llvm.x86.avx512.vpermi2var.hi.512", kind, low, places, high)
        return _reached(b, words.ir, bound)

    return find


def _compress(values: Value, bits: Value) -> Value:
    b, kind = values.b, values.kind
    mask = b.bitcast(bits.ir, ir.VectorType(I1, kind.count))
    name = f"llvm.x86.avx512.mask.compress.v{kind.count}i32"
    return Value(b, _call(b, name, kind, values.ir, ir.Constant(kind, None), mask))


def _find_by_bytes(together: int, name: str, ranges: Ranges) -> Callable[[Value, Value], Value]:
    """Four lookups among 16 bytes, which give zero for a place below zero."""
    lines = [ranges.bytes.line(first, _NIBBLE) for first in range(0, FIRST_ROWS, _NIBBLE)]
    repeated = [*range(_NIBBLE)] * (together // _NIBBLE)
    tables = [Value(line.b, _pick(line, repeated)) for line in lines]
    # A place above a table finds something in it as well, which the next one takes away.
    changes = [tables[0], *(y ^ x for x, y in pairwise(tables))]

    def find(number: Value, words: Value) -> Value:
        b, places = number.b, number.to(I8)
        there = [(places - _NIBBLE * i).ir for i in range(len(tables))]
        bound = reduce(
            lambda x, y: x ^ y,
            (
                Value(b, _call(b, name, t.kind, t.ir, at))
                for t, at in zip(changes, there, strict=True)
            ),
        )
        upper = b.lshr(words.ir, _constant([8] * together, I16))
        return _reached(b, b.trunc(upper, bound.kind), bound.ir)

    return find


def _places_of_bits(bits: Value, lanes: int, unit: int) -> Any:
    """For each set of bits the places of those that are set, in units of so many bytes."""
    b, name = bits.b, "places_of_bits"
    if name not in b.module.globals:
        rows = [[i for i in range(lanes) if which >> i & 1] for which in range(1 << lanes)]
        rows = [row + [0] * (lanes - len(row)) for row in rows]
        table = _constant([unit * p + i for row in rows for p in row for i in range(unit)], I8)
        made = ir.GlobalVariable(b.module, table.type, name)
        made.initializer, made.global_constant, made.linkage = table, True, "internal"
    known = b.bitcast(b.module.globals[name], ir.VectorType(I8, lanes * unit).as_pointer())
    return b.load(b.gep(known, [b.zext(bits.ir, I64)]), align=lanes * unit)


def _permute(values: Value, bits: Value) -> Value:
    b, kind = values.b, values.kind
    places = b.zext(_places_of_bits(bits, kind.count, 1), kind)
    return Value(b, _call(b, "llvm.x86.avx2.permd", kind, values.ir, places))


def _shuffle(values: Value, bits: Value) -> Value:
    b, known = values.b, values.read_as(ir.VectorType(I8, 4 * values.kind.count))
    places = _places_of_bits(bits, values.kind.count, 4)
    moved = _call(b, "llvm.x86.ssse3.pshuf.b.128", known.kind, known.ir, places)
    return Value(b, moved).read_as(values.kind)


_WIDE = _Way(32, _find_by_words, 16, _compress)
_WAYS = {
    "amx": _WIDE,
    "vnni": _WIDE,
    "avx512": _WIDE,
    "avx2": _Way(32, partial(_find_by_bytes, 32, "llvm.x86.avx2.pshuf.b"), 8, _permute),
    "sse4": _Way(16, partial(_find_by_bytes, 16, "llvm.x86.ssse3.pshuf.b.128"), 4, _shuffle),
}
