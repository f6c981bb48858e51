"""Sums that stay in vector registers, and the instructions that multiply and add pairs.

A kernel holds a block of sums in a variable and adds two products to each at a time; the compiler
keeps the variable in registers. On x86 a pair of products is one instruction (``pmaddubsw`` for
bytes, ``pmaddwd`` for 16 bits) of registers of 512 bits, or of 256 with AVX2; elsewhere it is plain
vector arithmetic. All give the same integers, provided that the sums fit, which the callers see to.

While rows are added by these instructions, the sums stand in the order in which they leave them;
the functions that store them put them in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from llvmlite import ir

from pvae_neuro.sim.fast.language import Array, Value
from pvae_neuro.sim.fast.machine import I8, I16, I32, intrinsic
from pvae_neuro.sim.fast.processor import AVX512, has

# Sums of a block. With AVX2 half of the registers hold those of rows of bytes and of pairs; a block
# of 16-bit rows is small, so that all its weights stay in the first-level cache.
BYTE_LANES = 128
WORD_LANES = 16
PAIR_LANES = 64
BYTE_SUMS, WORD_SUMS, PAIR_SUMS = (
    ir.VectorType(I16, BYTE_LANES),
    ir.VectorType(I32, WORD_LANES),
    ir.VectorType(I32, PAIR_LANES),
)
# Bits that the processor interleaves on their own.
_LANE = 128
_BYTES = {512: "llvm.x86.avx512.pmaddubs.w.512", 256: "llvm.x86.avx2.pmadd.ub.sw"}
_WORDS = {512: "llvm.x86.avx512.pmaddw.d.512", 256: "llvm.x86.avx2.pmadd.wd"}


def _register(bits: int) -> int:
    """Bits of the registers that hold so many bits of sums; 0 where arithmetic is plain."""
    if has(*AVX512) and bits >= 1024:
        return 512
    return 256 if has("avx2") else 0


def add_byte_rows(sums: Value, weight: Array, places: Sequence[Value], pair: Value) -> Value:
    """``sums[i] + z0 * weight[place0 + i] + z1 * weight[place1 + i]``: int8 rows, uint8 counts.

    Here and below ``pair`` holds two numbers of 16 bits, the first one below.
    """
    rows = [weight.line(place, BYTE_LANES).ir for place in places]
    b, bits = sums.b, _register(16 * BYTE_LANES)
    if not bits:
        return _plain(sums, zip(rows, _parts(pair), strict=True))
    # Counts of 8 bits each, unsigned.
    packed = b.trunc(b.or_(pair.ir, b.lshr(pair.ir, ir.Constant(I32, 8))), I16)
    factors = _repeated(b, packed, bits)
    both = _interleave(b, *rows, bits)
    return sums + _products(b, _BYTES[bits], [(factors, part) for part in both])


def add_word_rows(sums: Value, weight: Array, places: Sequence[Value], pair: Value) -> Value:
    """``sums[i] + z0 * weight[place0 + i] + z1 * weight[place1 + i]``: int16 rows, int16 values."""
    rows = [weight.line(place, WORD_LANES).ir for place in places]
    b, bits = sums.b, _register(32 * WORD_LANES)
    if not bits:
        return _plain(sums, zip(rows, _parts(pair), strict=True))
    factors = _repeated(b, pair.ir, bits, I16)
    both = _interleave(b, *rows, bits)
    return sums + _products(b, _WORDS[bits], [(part, factors) for part in both])


def add_pairs(sums: Value, weight: Array, place: Value, pair: Value) -> Value:
    """``sums[i] + x0 * weight[place + 2 i] + x1 * weight[place + 2 i + 1]``: int8 by int16."""
    line, b = weight.line(place, 2 * PAIR_LANES).ir, sums.b
    if not _register(32 * PAIR_LANES):
        halves = [_pick(b, line, range(odd, 2 * PAIR_LANES, 2)) for odd in (0, 1)]
        return _plain(sums, zip(halves, _parts(pair), strict=True))
    return _add_products(sums, b.sext(line, ir.VectorType(I16, 2 * PAIR_LANES)), pair)


def add_word_pairs(sums: Value, values: Array, place: Value, pair: Value) -> Value:
    """``sums[i] + x0 * w0 + x1 * w1`` where ``values[place + i]`` holds x0 and x1, int16."""
    line, b = values.line(place, PAIR_LANES), sums.b
    if not _register(32 * PAIR_LANES):
        halves = [half.ir for half in (line << 16 >> 16, line >> 16)]
        return _plain(sums, zip(halves, _parts(pair), strict=True))
    return _add_products(sums, b.bitcast(line.ir, ir.VectorType(I16, 2 * PAIR_LANES)), pair)


def store_byte_sums(sums: Value, out: Array, place: Any) -> None:
    """Write sums to ``out[place : place + BYTE_LANES]``, int32."""
    out.set_line(place, _in_order(sums))


def store_word_sums(sums: Value, out: Array, place: Any) -> None:
    """Write sums to ``out[place : place + WORD_LANES]``, int32."""
    out.set_line(place, _in_order(sums))


def _plain(sums: Value, products: Iterable[tuple[Any, Value]]) -> Value:
    """Add products of rows and numbers without special instructions."""
    for row, factor in products:
        sums = sums + Value(sums.b, row).to(sums.kind) * factor.to(sums.kind.element)
    return sums


def _parts(pair: Value) -> tuple[Value, Value]:
    """Both numbers of a pair: signed 16 bits each, the first one below."""
    return pair << 16 >> 16, pair >> 16


def _repeated(b: ir.IRBuilder, value: Any, bits: int, element: ir.IntType = I8) -> Any:
    """A register that holds a number many times, read as smaller ones."""
    lanes = bits // value.type.width
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    single = b.insert_element(undefined, value, ir.Constant(I32, 0))
    filled = _pick(b, single, [0] * lanes)
    return b.bitcast(filled, ir.VectorType(element, bits // element.width))


def _products(b: ir.IRBuilder, name: str, pairs: Sequence[tuple[Any, Any]]) -> Value:
    """Sums of two products each, side by side, by an instruction of registers."""
    operand = pairs[0][0].type
    result = ir.VectorType(ir.IntType(2 * operand.element.width), operand.count // 2)
    multiply = intrinsic(b, name, result, [operand, operand])
    return Value(b, _join(b, [b.call(multiply, pair) for pair in pairs]))


def _add_products(sums: Value, words: Any, pair: Value) -> Value:
    """Add the products of pairs of 16-bit words with a pair of factors."""
    b, bits = sums.b, _register(32 * PAIR_LANES)
    factors, lanes = _repeated(b, pair.ir, bits, I16), bits // 16
    parts = [
        _pick(b, words, range(first, first + lanes)) for first in range(0, words.type.count, lanes)
    ]
    return sums + _products(b, _WORDS[bits], [(part, factors) for part in parts])


def _pick(b: ir.IRBuilder, vector: Any, places: Sequence[int], other: Any = None) -> Any:
    """Shuffle one vector, or two."""
    other = ir.Constant(vector.type, ir.Undefined) if other is None else other
    mask = ir.Constant(ir.VectorType(I32, len(places)), [ir.Constant(I32, p) for p in places])
    return b.shuffle_vector(vector, other, mask)


def _join(b: ir.IRBuilder, vectors: Sequence[Any]) -> Any:
    """Concatenate vectors, a power of two of them."""
    while len(vectors) > 1:
        both = range(2 * vectors[0].type.count)
        vectors = [_pick(b, vectors[i], both, vectors[i + 1]) for i in range(0, len(vectors), 2)]
    return vectors[0]


def _interleave(b: ir.IRBuilder, row0: Any, row1: Any, bits: int) -> list[Any]:
    """Interleave two rows within each lane of a register: the first halves, then the second."""
    width, length = row0.type.element.width, row0.type.count
    half = _LANE // width // 2
    found = []
    for first in range(0, length, bits // width):
        for start in (first, first + half):
            places = [
                place
                for lane in range(start, start + bits // width, 2 * half)
                for i in range(lane, lane + half)
                for place in (i, length + i)
            ]
            found.append(_pick(b, row0, places, row1))
    return found


def _in_order(sums: Value) -> Value:
    """Undo the order that sums of :func:`_interleave` have."""
    width, count = sums.kind.element.width, sums.kind.count
    bits = _register(width * count)
    if not bits:
        return sums
    # Sums of one lane of one register; those of the other half are a register further.
    chunk = _LANE // width
    order = [
        first + half * (bits // width) + lane + i
        for first in range(0, count, 2 * bits // width)
        for lane in range(0, bits // width, chunk)
        for half in (0, 1)
        for i in range(chunk)
    ]
    return Value(sums.b, _pick(sums.b, sums.ir, order))
