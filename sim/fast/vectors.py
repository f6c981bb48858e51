"""Sums that stay in vector registers: three multiply-adds that numba's types cannot name.

A kernel holds a block of sums in a variable and adds two products to each at a time; the compiler
keeps the variable in registers. On x86 with AVX2 a pair of products is one instruction
(``vpmaddubsw`` for bytes, ``vpmaddwd`` for 16 bits); elsewhere it is plain vector arithmetic. Both
give the same integers, provided that the sums fit, which the callers see to.

While rows are added with AVX2, the sums stand in the order in which the instructions leave them;
the functions that store them put them in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numba as nb
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic

# Sums of a block. With AVX2 half of the registers hold those of rows of bytes and of pairs; a block
# of 16-bit rows is small, so that all its weights stay in the first-level cache.
BYTE_LANES = 128
WORD_LANES = 16
PAIR_LANES = 64
HEAD_LANES = 8
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


class _Sums(types.Type):
    """A block of sums."""

    def __init__(self, lanes: int, element: ir.IntType) -> None:
        self.lowered = ir.VectorType(element, lanes)
        super().__init__(name=f"Sums({lanes} x {element})")


@register_default(_Sums)
class _SumsModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, sums: _Sums) -> None:
        super().__init__(manager, sums, sums.lowered)


_BYTE_SUMS = _Sums(BYTE_LANES, _I16)
_WORD_SUMS = _Sums(WORD_LANES, _I32)
_PAIR_SUMS = _Sums(PAIR_LANES, _I32)


def _has_avx2() -> bool:
    # Someone who compiles for another processor than this one gets plain arithmetic.
    if nb.config.CPU_NAME or nb.config.CPU_FEATURES:
        return False
    try:
        return bool(binding.get_host_cpu_features().get("avx2", False))
    except RuntimeError:
        return False


_AVX2 = _has_avx2()


@intrinsic  # type: ignore[untyped-decorator]
def shift_right(typing_context: Any, value: Any, places: Any) -> Any:
    """``value >> places`` in 32 bits; numba's own takes 64, for which AVX2 has no instruction."""
    return types.int32(
        types.int32, types.int32
    ), lambda context, builder, signature, arguments: builder.ashr(*arguments)


@intrinsic  # type: ignore[untyped-decorator]
def reached(typing_context: Any, thresholds: Any, place: Any, word: Any) -> Any:
    """Which of ``HEAD_LANES`` thresholds, uint16, from ``place`` on a word reaches: a bit each."""
    signature = types.int32(thresholds, types.int64, types.uint16)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        thresholds, place, word = arguments
        line = _line(builder, thresholds, place, _I16, HEAD_LANES)
        below = builder.icmp_unsigned("<=", line, _splat(builder, word, HEAD_LANES))
        return builder.zext(builder.bitcast(below, ir.IntType(HEAD_LANES)), _I32)

    return signature, generate


def _zeros(sums: _Sums) -> Any:
    return sums(), lambda context, builder, signature, arguments: ir.Constant(sums.lowered, None)


@intrinsic  # type: ignore[untyped-decorator]
def byte_sums(typing_context: Any) -> Any:
    """``BYTE_LANES`` sums of 16 bits, zero."""
    return _zeros(_BYTE_SUMS)


@intrinsic  # type: ignore[untyped-decorator]
def word_sums(typing_context: Any) -> Any:
    """``WORD_LANES`` sums of 32 bits, zero."""
    return _zeros(_WORD_SUMS)


@intrinsic  # type: ignore[untyped-decorator]
def pair_sums(typing_context: Any) -> Any:
    """``PAIR_LANES`` sums of 32 bits, zero."""
    return _zeros(_PAIR_SUMS)


@intrinsic  # type: ignore[untyped-decorator]
def add_byte_rows(
    typing_context: Any, sums: Any, weight: Any, place0: Any, place1: Any, pair: Any
) -> Any:
    """``sums[i] + z0 * weight[place0 + i] + z1 * weight[place1 + i]``: int8 rows, uint8 counts.

    Here and below ``pair`` holds two numbers of 16 bits, the first one below.
    """
    signature = _BYTE_SUMS(_BYTE_SUMS, weight, types.int64, types.int64, types.int32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, weight, place0, place1, pair = arguments
        row0, row1 = (_line(builder, weight, place, _I8, BYTE_LANES) for place in (place0, place1))
        if not _AVX2:
            return _plain(builder, sums, zip((row0, row1), _parts(builder, pair), strict=True))
        factors = _bytes_factor(builder, pair)
        multiply = _instruction(builder, "llvm.x86.avx2.pmadd.ub.sw", _I8, 32)
        products = [
            builder.call(multiply, [factors, both]) for both in _interleave(builder, row0, row1, 32)
        ]
        return builder.add(sums, _join(builder, products))

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def add_word_rows(
    typing_context: Any, sums: Any, weight: Any, place0: Any, place1: Any, pair: Any
) -> Any:
    """``sums[i] + z0 * weight[place0 + i] + z1 * weight[place1 + i]``: int16 rows, int16 values."""
    signature = _WORD_SUMS(_WORD_SUMS, weight, types.int64, types.int64, types.int32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, weight, place0, place1, pair = arguments
        row0, row1 = (_line(builder, weight, place, _I16, WORD_LANES) for place in (place0, place1))
        if not _AVX2:
            return _plain(builder, sums, zip((row0, row1), _parts(builder, pair), strict=True))
        factors = _words_factor(builder, pair)
        products = [
            _multiply_words(builder, both, factors) for both in _interleave(builder, row0, row1, 16)
        ]
        return builder.add(sums, _join(builder, products))

    return signature, generate


def _add_products(builder: Any, sums: Any, words: Any, pair: Any) -> Any:
    """Add the products of pairs of 16-bit words with a pair of factors."""
    factors = _words_factor(builder, pair)
    products = [
        _multiply_words(builder, _pick(builder, words, range(first, first + 16)), factors)
        for first in range(0, 2 * PAIR_LANES, 16)
    ]
    return builder.add(sums, _join(builder, products))


@intrinsic  # type: ignore[untyped-decorator]
def add_pairs(typing_context: Any, sums: Any, weight: Any, place: Any, pair: Any) -> Any:
    """``sums[i] + x0 * weight[place + 2 i] + x1 * weight[place + 2 i + 1]``: int8 by int16."""
    signature = _PAIR_SUMS(_PAIR_SUMS, weight, types.int64, types.int32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, weight, place, pair = arguments
        line = _line(builder, weight, place, _I8, 2 * PAIR_LANES)
        if not _AVX2:
            halves = [_pick(builder, line, range(odd, 2 * PAIR_LANES, 2)) for odd in (0, 1)]
            return _plain(builder, sums, zip(halves, _parts(builder, pair), strict=True))
        words = builder.sext(line, ir.VectorType(_I16, 2 * PAIR_LANES))
        return _add_products(builder, sums, words, pair)

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def add_word_pairs(typing_context: Any, sums: Any, values: Any, place: Any, pair: Any) -> Any:
    """``sums[i] + x0 * w0 + x1 * w1`` where ``values[place + i]`` holds x0 and x1, int16."""
    signature = _PAIR_SUMS(_PAIR_SUMS, values, types.int64, types.int32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, values, place, pair = arguments
        line = _line(builder, values, place, _I32, PAIR_LANES)
        if not _AVX2:
            shift = _splat(builder, ir.Constant(_I32, 16), PAIR_LANES)
            halves = builder.ashr(builder.shl(line, shift), shift), builder.ashr(line, shift)
            return _plain(builder, sums, zip(halves, _parts(builder, pair), strict=True))
        words = builder.bitcast(line, ir.VectorType(_I16, 2 * PAIR_LANES))
        return _add_products(builder, sums, words, pair)

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def load_pair(typing_context: Any, numbers: Any, place: Any) -> Any:
    """Two int16 that follow each other, as one number."""
    signature = types.int32(numbers, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), _I32.as_pointer())
        loaded = builder.load(pointer)
        loaded.align = 2
        return loaded

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def call_command(typing_context: Any, command: Any, room: Any) -> Any:
    """Call the function whose address is the command's first number."""
    signature = types.void(command, room)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in arguments])
        function = builder.inttoptr(builder.load(arguments[0]), kind.as_pointer())
        builder.call(function, arguments)
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def call(typing_context: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    """Call a function of five numbers by its address; see :func:`memory.compiled`."""
    signature = types.int64(*[types.int64] * 6)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64] * 5)
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        return builder.call(function, arguments[1:])

    return signature, generate


def _writer(sums: _Sums, out: Any, quarter: int | None) -> Any:
    """Typed code that writes sums as int32, put in order where ``quarter`` says how."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, array, place = arguments
        if quarter is not None and _AVX2:
            values = _in_order(builder, values, quarter)
        if values.type.element != _I32:
            values = builder.sext(values, ir.VectorType(_I32, values.type.count))
        pointer = builder.bitcast(builder.gep(array, [place]), values.type.as_pointer())
        builder.store(values, pointer).align = 1
        return context.get_dummy_value()

    return types.void(sums, out, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_byte_sums(typing_context: Any, sums: Any, out: Any, place: Any) -> Any:
    """Write sums to ``out[place : place + BYTE_LANES]``, int32."""
    return _writer(_BYTE_SUMS, out, 8)


@intrinsic  # type: ignore[untyped-decorator]
def store_word_sums(typing_context: Any, sums: Any, out: Any, place: Any) -> Any:
    """Write sums to ``out[place : place + WORD_LANES]``, int32."""
    return _writer(_WORD_SUMS, out, 4)


@intrinsic  # type: ignore[untyped-decorator]
def store_pair_sums(typing_context: Any, sums: Any, out: Any, place: Any) -> Any:
    """Write sums to ``out[place : place + PAIR_LANES]``, int32."""
    return _writer(_PAIR_SUMS, out, None)


def _line(builder: Any, base: Any, place: Any, element: ir.IntType, lanes: int) -> Any:
    """Load weights that follow each other."""
    pointer = builder.gep(base, [place])
    loaded = builder.load(builder.bitcast(pointer, ir.VectorType(element, lanes).as_pointer()))
    # Rows are aligned where it matters for speed; nothing depends on it.
    loaded.align = 1
    return loaded


def _plain(builder: Any, sums: Any, products: Iterable[tuple[Any, Any]]) -> Any:
    """Add products of rows and numbers without special instructions."""
    element = sums.type.element
    for row, factor in products:
        number = builder.trunc(factor, element) if element.width < 32 else factor
        wide = builder.sext(row, sums.type) if row.type != sums.type else row
        sums = builder.add(sums, builder.mul(wide, _splat(builder, number, sums.type.count)))
    return sums


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return _pick(builder, single, [0] * lanes)


def _parts(builder: Any, pair: Any) -> tuple[Any, Any]:
    """Both numbers of a pair: signed 16 bits each, the first one below."""
    shift = ir.Constant(_I32, 16)
    return builder.ashr(builder.shl(pair, shift), shift), builder.ashr(pair, shift)


def _words_factor(builder: Any, pair: Any) -> Any:
    return builder.bitcast(_splat(builder, pair, 8), ir.VectorType(_I16, 16))


def _bytes_factor(builder: Any, pair: Any) -> Any:
    """The same in 8 bits each, unsigned."""
    packed = builder.or_(pair, builder.lshr(pair, ir.Constant(_I32, 8)))
    both = builder.trunc(packed, _I16)
    return builder.bitcast(_splat(builder, both, 16), ir.VectorType(_I8, 32))


def _pick(builder: Any, vector: Any, places: Sequence[int], other: Any = None) -> Any:
    """Shuffle one vector, or two."""
    other = ir.Constant(vector.type, ir.Undefined) if other is None else other
    mask = ir.Constant(ir.VectorType(_I32, len(places)), [ir.Constant(_I32, p) for p in places])
    return builder.shuffle_vector(vector, other, mask)


def _join(builder: Any, vectors: Sequence[Any]) -> Any:
    """Concatenate vectors, a power of two of them."""
    while len(vectors) > 1:
        both = range(2 * vectors[0].type.count)
        vectors = [
            _pick(builder, vectors[i], both, vectors[i + 1]) for i in range(0, len(vectors), 2)
        ]
    return vectors[0]


def _interleave(builder: Any, row0: Any, row1: Any, lanes: int) -> list[Any]:
    """Interleave two rows within each half of a 256-bit register, as the processor does."""
    found = []
    quarter, length = lanes // 4, row0.type.count
    for first in range(0, length, lanes):
        for start in (0, quarter):
            places = [
                place
                for half in (0, lanes // 2)
                for i in range(quarter)
                for place in (first + half + start + i, length + first + half + start + i)
            ]
            found.append(_pick(builder, row0, places, row1))
    return found


def _in_order(builder: Any, sums: Any, quarter: int) -> Any:
    """Undo the order that sums of :func:`_interleave` have: swap the middle quarters."""
    order = [
        first + q * quarter + i
        for first in range(0, sums.type.count, 4 * quarter)
        for q in (0, 2, 1, 3)
        for i in range(quarter)
    ]
    return _pick(builder, sums, order)


def _instruction(builder: Any, name: str, element: ir.IntType, lanes: int) -> Any:
    operand = ir.VectorType(element, lanes)
    result = ir.VectorType(ir.IntType(2 * element.width), lanes // 2)
    kind = ir.FunctionType(result, [operand, operand])
    return cgutils.get_or_insert_function(builder.module, kind, name)


def _multiply_words(builder: Any, words: Any, pair: Any) -> Any:
    multiply = _instruction(builder, "llvm.x86.avx2.pmadd.wd", _I16, 16)
    return builder.call(multiply, [words, pair])
