"""Lists of neurons, made many at a time: those that may fire, and those that did.

A neuron is a candidate if its word reaches a lower bound of its first threshold. The bounds of 64
ranges of potentials fit into registers: with AVX-512 all of them are looked up at once, with AVX2
their upper bytes, which leaves one candidate in 256 neurons more. Elsewhere neurons are taken one
by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from llvmlite import ir

from pvae_neuro.sim.fast.language import Array, Body, Value, Variable
from pvae_neuro.sim.fast.machine import I1, I8, I16, I32, I64, intrinsic
from pvae_neuro.sim.fast.processor import level
from pvae_neuro.sim.fast.thresholds import FIRST_ROWS

TOGETHER = 32
_NIBBLE = 16


class Bounds(NamedTuple):
    """Bounds of the first threshold; see :class:`thresholds.Table`.

    Attributes
    ----------
    u_min : Value
        Smallest potential.
    bits : Value
        Binary logarithm of the potentials of a range.
    words : Array
        Bounds, uint16 [FIRST_ROWS].
    bytes : Array
        Their upper halves, uint8.
    """

    u_min: Value
    bits: Value
    words: Array
    bytes: Array


class _Way(NamedTuple):
    """How many neurons are taken at once.

    Attributes
    ----------
    finder : callable
        ``finder(bounds)`` loads the bounds. It returns a function that tells, a bit each, which of
        ``TOGETHER`` words reach the bound of their range.
    lanes : int
    pack : callable
        ``pack(values, bits)`` moves those of ``lanes`` values whose bits are set to the front.
    """

    finder: Callable[[Bounds], Callable[[Value, Value], Value]]
    lanes: int
    pack: Callable[[Value, Value], Value]


def list_candidates(
    code: Body, bounds: Bounds, u: Array, words: Array, neurons: Value, out: Array
) -> Value:
    """List the neurons that may fire; returns how many."""
    way, found, whole = _WAYS.get(level()), code.variable(0), code.value(0)
    last = FIRST_ROWS - 1
    if way is not None:
        whole = neurons & -TOGETHER
        find = way.finder(bounds)
        with code.loop(0, whole, TOGETHER) as i:
            ranges = (u.line(i, TOGETHER) - bounds.u_min) >> bounds.bits
            bits = find(ranges, words.line(i, TOGETHER))
            for first in range(0, TOGETHER, way.lanes):
                part = Value(code.b, code.b.lshr(bits.ir, ir.Constant(I32, first)))
                numbers = _counting(i + first, way.lanes)
                _append(way, [out], [numbers], part.to(ir.IntType(way.lanes)), found)
    with code.loop(whole, neurons) as i:
        bound = bounds.words[((u[i] - bounds.u_min) >> bounds.bits) & last]
        out[found] = i
        found += words[i] >= bound
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


def _find_by_words(bounds: Bounds) -> Callable[[Value, Value], Value]:
    """AVX-512: a lookup among 64 numbers of 16 bits."""
    table, kind = bounds.words.line(0, FIRST_ROWS), ir.VectorType(I16, TOGETHER)
    low, high = (_pick(table, range(half, half + TOGETHER)) for half in (0, TOGETHER))

    def find(ranges: Value, words: Value) -> Value:
        b = ranges.b
        halves = [_pick(ranges, range(half, half + 16)) for half in (0, 16)]
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


def _find_by_bytes(bounds: Bounds) -> Callable[[Value, Value], Value]:
    """AVX2: four lookups among 16 bytes, which give zero for a place below zero."""
    byte_lanes = ir.VectorType(I8, TOGETHER)
    tables = [
        Value(bounds.u_min.b, _pick(bounds.bytes.line(first, _NIBBLE), [*range(_NIBBLE)] * 2))
        for first in range(0, FIRST_ROWS, _NIBBLE)
    ]
    # A place above a table finds something in it as well, which the next one takes away.
    changes = [tables[0], *(y ^ x for x, y in pairwise(tables))]

    def find(ranges: Value, words: Value) -> Value:
        b = ranges.b
        places = (ranges & FIRST_ROWS - 1).to(I8)
        bound = None
        for number, table in enumerate(changes):
            there = (places - _NIBBLE * number).ir
            part = Value(b, _call(b, "llvm.x86.avx2.pshuf.b", byte_lanes, table.ir, there))
            bound = part if bound is None else bound ^ part
        upper = b.lshr(words.ir, _constant([8] * TOGETHER, I16))
        return _reached(b, b.trunc(upper, byte_lanes), bound.ir)

    return find


def _permute(values: Value, bits: Value) -> Value:
    """Move values by a table: for each set of bits the places of those that are set."""
    b, lanes = values.b, values.kind.count
    rows = [[i for i in range(lanes) if which >> i & 1] for which in range(1 << lanes)]
    name = "places_of_bits"
    if name not in b.module.globals:
        table = _constant([p for row in rows for p in (*row, *[0] * (lanes - len(row)))], I8)
        made = ir.GlobalVariable(b.module, table.type, name)
        made.initializer, made.global_constant, made.linkage = table, True, "internal"
    known = b.bitcast(b.module.globals[name], ir.VectorType(I8, lanes).as_pointer())
    places = b.load(b.gep(known, [b.zext(bits.ir, I64)]), align=lanes)
    wide = b.zext(places, values.kind)
    return Value(b, _call(b, "llvm.x86.avx2.permd", values.kind, values.ir, wide))


_WIDE = _Way(_find_by_words, 16, _compress)
_WAYS = {
    "amx": _WIDE,
    "vnni": _WIDE,
    "avx512": _WIDE,
    "avx2": _Way(_find_by_bytes, 8, _permute),
}
