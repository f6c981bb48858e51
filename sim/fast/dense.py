"""Dense products of a group of samples: ``total[b, n] = sum over k of value[b, k] weight[n, k]``.

Each block of weights is fetched once for several samples. Values are packed from the cells in bytes
or in words of 16 bits (:class:`Packed`). On x86 one instruction makes the sums of two products or
four: ``tdpbusd`` for tiles of 16 samples (AMX), ``vpdpbusd`` and ``vpdpwssd`` (VNNI), ``pmaddubsw``
and ``pmaddwd`` (from SSE on); elsewhere it is plain vector arithmetic. All give the same integers:
sums are of 32 bits, and the finished ones fit 24 by the proof of ranges.

A function here is a command of the group: its numbers are listed in :class:`Product`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from pvae_neuro.sim.fast.layouts import pad, padded_size
from pvae_neuro.sim.fast.machine import (
    I8,
    I16,
    I32,
    I64,
    POINTER,
    counted,
    intrinsic,
    load,
    number,
    pointer_to,
    splat,
    store,
)
from pvae_neuro.sim.fast.memory import CELLS, GROUP, ROWS, STRIDE

TARGETS = 16
"""Targets whose weights lie side by side."""
TILE_ROWS, TILE_BYTES = 16, 64
TILES, SUM_TILES = 8, 4
OFFSET = 128
ROWS_TOGETHER = 4
VOID, NUMBERS = ir.VoidType(), I64.as_pointer()


class Product(NamedTuple):
    """Numbers of a product.

    Attributes
    ----------
    function : int
        Address of its code.
    values, total : int
        Bytes between a sample's cells and its packed values, and its sums.
    plane : int
        Bytes between planes of packed values.
    weights : int
        Address of the weights.
    blocks, depth : int
        Number of blocks of ``TARGETS`` targets; bytes of a block, of one plane.
    begin : int
        Address of what the sums begin with, for :class:`Dot` of two planes.
    """

    function: int
    values: int
    total: int
    plane: int
    weights: int
    blocks: int
    depth: int
    begin: int = 0


# ---------------------------------------------------------------------------------- layouts


def byte_layout(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Four sources side by side for each of ``TARGETS`` targets: int8 [n/16, k/4, 16, 4]."""
    padded = pad(pad(weight.astype(np.int8, copy=False), 0, TARGETS), 1, TILE_BYTES)
    return np.ascontiguousarray(padded.reshape(-1, TARGETS, padded.shape[1] // 4, 4).swapaxes(1, 2))


def two_byte_layout(weight: NDArray[np.integer[Any]]) -> NDArray[np.int8]:
    """Weights of 16 bits as signed bytes, the lower plane first: int8 [n/16, 2, k/4, 16, 4]."""
    low = weight.astype(np.int8)
    high = (weight.astype(np.int32) - low) >> 8
    return np.stack([byte_layout(low), byte_layout(high.astype(np.int8))], axis=1)


def word_layout(weight: NDArray[np.integer[Any]]) -> NDArray[np.int16]:
    """Two sources side by side for each of ``TARGETS`` targets: int16 [n/16, k/2, 16, 2]."""
    padded = pad(pad(weight.astype(np.int16), 0, TARGETS), 1, TILE_BYTES)
    return np.ascontiguousarray(padded.reshape(-1, TARGETS, padded.shape[1] // 2, 2).swapaxes(1, 2))


# ---------------------------------------------------------------------------------- packing


@dataclass(frozen=True)
class Packed:
    """How values of 32 bits are packed for a product.

    Attributes
    ----------
    bytes : int
        Of a value, in one plane.
    planes : int
        Planes of bytes, the lowest first.
    offset : int
        What is added to the last plane, modulo 256.
    """

    bytes: int = 1
    planes: int = 1
    offset: int = 0

    def plane(self, sources: int) -> int:
        """Bytes of a plane."""
        return self.bytes * padded_size(sources, TILE_BYTES)

    def write(self, module: ir.Module, name: str) -> None:
        """Add the command to a module: place of values; bytes to the packed ones; number; plane."""
        function = ir.Function(module, ir.FunctionType(VOID, [NUMBERS, NUMBERS]), name)
        b = ir.IRBuilder(function.append_basic_block())
        command, room = function.args
        place, packed, count, plane = (
            load(b, b.gep(command, [number(i)]), I64) for i in range(1, 5)
        )
        cells = load(b, b.gep(room, [number(CELLS)]), I64)
        values = pointer_to(b, cells, b.mul(place, number(4)))
        out = pointer_to(b, cells, packed)
        kind = ir.VectorType(ir.IntType(8 * self.bytes), TARGETS)
        with counted(b, number(0), count, TARGETS) as i:
            line = load(b, b.gep(values, [b.mul(i, number(4))]), ir.VectorType(I32, TARGETS))
            for p in range(self.planes):
                shifted = b.ashr(line, splat(b, number(8 * p, I32), TARGETS))
                if p == self.planes - 1:
                    shifted = b.add(shifted, splat(b, number(self.offset, I32), TARGETS))
                at = b.add(b.mul(i, number(self.bytes)), b.mul(plane, number(p)))
                store(b, b.trunc(shifted, kind), b.gep(out, [at]))
        b.ret_void()


# ------------------------------------------------------------------------------------ tiles


@dataclass(frozen=True)
class Tiles:
    """Products by tiles, of bytes: the planes of the values and of the weights.

    Attributes
    ----------
    signed : tuple of bool
        For each byte of a value, the lowest first, whether it is signed.
    weight_planes : int
        Bytes of a weight, all signed.
    """

    signed: tuple[bool, ...] = (False,)
    weight_planes: int = 1
    # From so many samples on they share what is fetched of the weights.
    rows: ClassVar[int] = 1

    def write(self, module: ir.Module, name: str) -> None:
        """Add the command to a module."""
        function = ir.Function(module, ir.FunctionType(VOID, [NUMBERS, NUMBERS]), name)
        b = ir.IRBuilder(function.append_basic_block())
        rows = load(b, b.gep(function.args[1], [number(ROWS)]), I64)
        few, many = b.append_basic_block(), b.append_basic_block()
        b.cbranch(b.icmp_signed("<=", rows, number(TILE_ROWS)), few, many)
        # Two planes of 32 samples are too many for the tiles, and for the first-level cache.
        for block, row_tiles in ((few, 1), (many, 1 if len(self.signed) > 1 else 2)):
            b.position_at_end(block)
            inner = self._rows(module, f"{name}rows{block.name}", row_tiles)
            step = TILE_ROWS * row_tiles
            with counted(b, number(0), rows, step) as start:
                left = b.sub(rows, start)
                part = b.select(b.icmp_signed("<", left, number(step)), left, number(step))
                b.call(inner, [*function.args, start, part])
            b.ret_void()

    def _rows(self, module: ir.Module, name: str, row_tiles: int) -> ir.Function:
        """The product of samples from ``start`` on: so many tiles of them, the last not empty."""
        kinds = [NUMBERS, NUMBERS, I64, I64]
        function = ir.Function(module, ir.FunctionType(VOID, kinds), name)
        function.linkage = "internal"
        b = ir.IRBuilder(function.append_basic_block())
        product, group, stride, _ = _numbers(b, function)
        start, rows = function.args[2:]
        group = b.add(group, b.mul(start, stride))
        shifts = len(self.signed) + self.weight_planes - 1
        blocks = max(1, SUM_TILES // (row_tiles * shifts))
        tiles = _TileCode(b, self, row_tiles, blocks, shifts, stride, rows)
        tiles.configure()
        whole = b.mul(b.sdiv(product.blocks, number(blocks)), number(blocks))
        for begin, end, together in ((number(0), whole, blocks), (whole, product.blocks, 1)):
            with counted(b, begin, end, together) as first:
                tiles.block(product, group, first, together)
        b.call(intrinsic(b, "llvm.x86.tilerelease", VOID, []), [])
        b.ret_void()
        return function


class _TileCode:
    """Writes the instructions on tiles: sums first, then values, then weights."""

    def __init__(
        self,
        b: ir.IRBuilder,
        form: Tiles,
        row_tiles: int,
        blocks: int,
        shifts: int,
        stride: Any,
        rows: Any,
    ) -> None:
        self.b, self.form, self.stride, self.rows = b, form, stride, rows
        self.row_tiles, self.blocks, self.shifts = row_tiles, blocks, shifts
        self.sums = row_tiles * blocks * shifts
        self.scratch = b.alloca(I8, TILE_ROWS * TILE_BYTES)
        self.scratch.align = TILE_BYTES

    def configure(self) -> None:
        """Set the shapes of the tiles: rows of samples for sums and values."""
        b = self.b
        config = b.alloca(I8, 64)
        config.align = 64
        store(b, ir.Constant(ir.VectorType(I8, 64), None), config)
        store(b, number(1, I8), config)
        first = b.select(
            b.icmp_signed("<", self.rows, number(TILE_ROWS)), self.rows, number(TILE_ROWS)
        )
        parts = [first, b.sub(self.rows, first)]
        weights = self.sums + self.row_tiles * len(self.form.signed)
        for tile in range(TILES):
            store(b, number(TILE_BYTES, I16), b.gep(config, [number(16 + 2 * tile)]))
            # Sums and values have a row for each sample, those of the two parts in turn.
            high = parts[tile % self.row_tiles] if tile < weights else number(TILE_ROWS)
            store(b, b.trunc(high, I8), b.gep(config, [number(48 + tile)]))
        b.call(intrinsic(b, "llvm.x86.ldtilecfg", VOID, [POINTER]), [config])

    def _sum(self, row: int, block: int, shift: int) -> int:
        return row + self.row_tiles * (block + self.blocks * shift)

    def _tile(self, name: str, *arguments: Any) -> None:
        b = self.b
        given = [number(a, I8) if isinstance(a, int) else a for a in arguments]
        kinds = [a.type for a in given]
        b.call(intrinsic(b, f"llvm.x86.{name}", VOID, kinds), given)

    def block(self, product: Any, group: Any, first: Any, blocks: int) -> None:
        """Some blocks of targets, for all samples."""
        b = self.b
        for tile in range(self.sums):
            self._tile("tilezero", tile)
        size = b.mul(product.depth, number(self.form.weight_planes))
        weights = [
            pointer_to(b, product.weights, b.mul(b.add(first, number(i)), size))
            for i in range(blocks)
        ]
        values = [
            pointer_to(b, group, b.add(product.values, b.mul(self.stride, number(TILE_ROWS * row))))
            for row in range(self.row_tiles)
        ]
        # Bytes of a sample's values in one plane.
        with counted(b, number(0), b.lshr(product.depth, number(4)), TILE_BYTES) as k:
            self._step(product, weights, values, k)
        for row in range(self.row_tiles):
            for i in range(blocks):
                self._write_sums(product, group, b.add(first, number(i)), row, i)

    def _step(self, product: Any, weights: list[Any], values: list[Any], k: Any) -> None:
        """Sixty-four sources."""
        b, signed = self.b, self.form.signed
        first_weight = self.sums + self.row_tiles * len(signed)
        for plane in range(len(signed)):
            at = b.add(b.mul(product.plane, number(plane)), k)
            for row, pointer in enumerate(values):
                tile = self.sums + self.row_tiles * plane + row
                self._tile("tileloadd64", tile, b.gep(pointer, [at]), self.stride)
        taken = 0
        for weight_plane in range(self.form.weight_planes):
            at = b.add(b.mul(product.depth, number(weight_plane)), b.mul(k, number(TARGETS)))
            for i, pointer in enumerate(weights):
                weight = first_weight + taken % (TILES - first_weight)
                taken += 1
                self._tile("tileloadd64", weight, b.gep(pointer, [at]), number(TILE_BYTES))
                for plane, sign in enumerate(signed):
                    for row in range(self.row_tiles):
                        self._tile(
                            "tdpbssd" if sign else "tdpbusd",
                            self._sum(row, i, plane + weight_plane),
                            self.sums + self.row_tiles * plane + row,
                            weight,
                        )

    def _write_sums(self, product: Any, group: Any, block: Any, row: int, i: int) -> None:
        b = self.b
        at = b.add(product.total, b.mul(block, number(4 * TARGETS)))
        at = b.add(at, b.mul(self.stride, number(TILE_ROWS * row)))
        out = pointer_to(b, group, at)
        self._tile("tilestored64", self._sum(row, i, 0), out, self.stride)
        line = ir.VectorType(I32, TARGETS)
        for shift in range(1, self.shifts):
            self._tile("tilestored64", self._sum(row, i, shift), self.scratch, number(TILE_BYTES))
            count = b.sub(self.rows, number(TILE_ROWS * row))
            count = b.select(b.icmp_signed("<", count, number(TILE_ROWS)), count, number(TILE_ROWS))
            with counted(b, number(0), count) as r:
                high = load(b, b.gep(self.scratch, [b.mul(r, number(TILE_BYTES))]), line, 64)
                place = b.gep(out, [b.mul(r, self.stride)])
                high = b.shl(high, splat(b, number(8 * shift, I32), TARGETS))
                store(b, b.add(load(b, place, line), high), place)


def _numbers(b: ir.IRBuilder, function: ir.Function) -> tuple[Any, Any, Any, Any]:
    """The product's numbers; address of the group's cells; bytes of a sample's cells; samples."""
    command, room = function.args[:2]
    read = [load(b, b.gep(command, [number(i)]), I64) for i in range(len(Product._fields))]
    known = [load(b, b.gep(room, [number(i)]), I64) for i in (GROUP, STRIDE, ROWS)]
    return (Product(*read), *known)


# ------------------------------------------------------------------------------------- dots


@dataclass(frozen=True)
class Dot:
    """An instruction that adds sums of a few products to each lane of 32 bits.

    Attributes
    ----------
    lanes : int
    bytes : int
        Bytes of one source's value and weight.
    blocks : int
        Vectors of sums that are kept at once, for each sample.
    add : callable
        ``add(b, sums, values, weights)``, all vectors of 32-bit lanes.
    planes : int
        Planes of the values. Where there are two, the upper one has ``OFFSET`` added, since
        instructions take unsigned values, and the sums begin with what takes it off again.
    """

    lanes: int
    bytes: int
    blocks: int
    add: Callable[[ir.IRBuilder, Any, Any, Any], Any]
    planes: int = 1
    rows: ClassVar[int] = ROWS_TOGETHER

    def write(self, module: ir.Module, name: str) -> None:
        """Add the command to a module."""
        function = ir.Function(module, ir.FunctionType(VOID, [NUMBERS, NUMBERS]), name)
        b = ir.IRBuilder(function.append_basic_block())
        product, group, stride, rows = _numbers(b, function)
        whole = b.and_(rows, number(-ROWS_TOGETHER))
        targets = b.mul(product.blocks, number(TARGETS))
        # A sample alone takes more targets at once, so that as many sums are under way.
        steps = {ROWS_TOGETHER: (self.blocks, 1), 1: (4 * self.blocks, self.blocks, 1)}
        for together, start, stop in ((ROWS_TOGETHER, number(0), whole), (1, whole, rows)):
            done = number(0)
            for blocks in steps[together]:
                wide = number(self.lanes * blocks)
                end = b.mul(b.sdiv(targets, wide), wide)
                with (
                    counted(b, done, end, self.lanes * blocks) as target,
                    counted(b, start, stop, together) as row,
                ):
                    self._sums(b, product, group, stride, row, target, together, blocks)
                done = end
        b.ret_void()

    def _sums(
        self,
        b: ir.IRBuilder,
        product: Any,
        group: Any,
        stride: Any,
        row: Any,
        target: Any,
        rows: int,
        blocks: int,
    ) -> None:
        """Sums of some samples and targets."""
        kind = ir.VectorType(I32, self.lanes)
        weights = [
            self._weights_at(b, product, b.add(target, number(i * self.lanes)))
            for i in range(blocks)
        ]
        first = b.add(product.values, b.mul(row, stride))
        values = [pointer_to(b, group, b.add(first, b.mul(stride, number(r)))) for r in range(rows)]
        zero = ir.Constant(kind, None)
        begin = [zero] * blocks
        if self.planes > 1:
            at = b.mul(target, number(4))
            line = pointer_to(b, product.begin, at)
            begin = [
                load(b, b.gep(line, [number(4 * self.lanes * i)]), kind) for i in range(blocks)
            ]
        entry = b.block
        head, end = b.append_basic_block(), b.append_basic_block()
        b.branch(head)
        b.position_at_end(head)
        k = b.phi(I64)
        k.add_incoming(number(0), entry)
        places = [(r, p, i) for r in range(rows) for p in range(self.planes) for i in range(blocks)]
        sums = {place: b.phi(kind) for place in places}
        totals = {}
        lines = [load(b, b.gep(w, [b.mul(k, number(TARGETS))]), kind) for w in weights]
        following = b.add(k, number(4))
        for r, p, i in places:
            at = b.add(k, b.mul(product.plane, number(p)))
            value = splat(b, load(b, b.gep(values[r], [at]), I32), self.lanes)
            total = self.add(b, sums[r, p, i], value, lines[i])
            sums[r, p, i].add_incoming(zero if p else begin[i], entry)
            sums[r, p, i].add_incoming(total, head)
            totals[r, p, i] = total
        k.add_incoming(following, head)
        deep = b.lshr(product.depth, number(4))
        b.cbranch(b.icmp_signed("<", following, deep), head, end)
        b.position_at_end(end)
        for r in range(rows):
            at = b.add(product.total, b.mul(b.add(row, number(r)), stride))
            out = pointer_to(b, group, b.add(at, b.mul(target, number(4))))
            for i in range(blocks):
                total = totals[r, 0, i]
                for p in range(1, self.planes):
                    upper = b.shl(totals[r, p, i], splat(b, number(8 * p, I32), self.lanes))
                    total = b.add(total, upper)
                store(b, total, b.gep(out, [number(4 * self.lanes * i)]))

    def _weights_at(self, b: ir.IRBuilder, product: Any, target: Any) -> Any:
        block = b.lshr(target, number(4))
        within = b.and_(target, number(TARGETS - 1))
        at = b.add(b.mul(block, product.depth), b.mul(within, number(4)))
        return pointer_to(b, product.weights, at)


def _cast(b: ir.IRBuilder, vector: Any, element: ir.IntType) -> Any:
    bits = vector.type.count * vector.type.element.width
    return b.bitcast(vector, ir.VectorType(element, bits // element.width))


def _instruction(name: str, *elements: ir.IntType) -> Callable[..., Any]:
    """Call an instruction of a name on vectors of these elements; the last is the result's."""

    def call(b: ir.IRBuilder, *vectors: Any) -> Any:
        given = [_cast(b, v, e) for v, e in zip(vectors, elements, strict=False)]
        bits = given[0].type.count * given[0].type.element.width
        result = ir.VectorType(elements[-1], bits // elements[-1].width)
        function = intrinsic(b, name, result, [g.type for g in given])
        return b.call(function, given)

    return call


def _accumulating(name: str, element: ir.IntType) -> Callable[..., Any]:
    return _instruction(name, I32, element, element, I32)


def _multiply_add(name: str) -> Callable[..., Any]:
    multiply = _instruction(name, I16, I16, I32)
    return lambda b, sums, values, weights: b.add(sums, multiply(b, values, weights))


def _bytes_in_two_steps(pairs: str, words: str) -> Callable[..., Any]:
    """``pmaddubsw`` saturates at 16 bits: values are at most 127."""
    first, second = _instruction(pairs, I8, I8, I16), _instruction(words, I16, I16, I32)

    def add(b: ir.IRBuilder, sums: Any, values: Any, weights: Any) -> Any:
        both = first(b, values, weights)
        ones = ir.Constant(both.type, [number(1, I16)] * both.type.count)
        return b.add(sums, second(b, both, ones))

    return add


def _plain_words(b: ir.IRBuilder, sums: Any, values: Any, weights: Any) -> Any:
    """Two products of 16 bits for each lane, without special instructions."""
    shift = splat(b, number(16, I32), sums.type.count)

    def halves(vector: Any) -> tuple[Any, Any]:
        return b.ashr(b.shl(vector, shift), shift), b.ashr(vector, shift)

    for value, weight in zip(halves(values), halves(weights), strict=True):
        sums = b.add(sums, b.mul(value, weight))
    return sums


def offset_sums(weight: NDArray[np.int8]) -> NDArray[np.int32]:
    """What sums begin with where ``OFFSET`` is added to the upper of two planes: int32 [n]."""
    sums = -(OFFSET << 8) * weight.astype(np.int64).sum(axis=1)
    return pad(sums.astype(np.int32), 0, TARGETS)


_FOUR_BYTES = _accumulating("llvm.x86.avx512.vpdpbusd.512", I8)
TWO_BYTE_DOTS: dict[str, Dot] = {"vnni": Dot(16, 1, 2, _FOUR_BYTES, planes=2)}
BYTE_DOTS: dict[str, Dot] = {
    "vnni": Dot(16, 1, 4, _FOUR_BYTES),
    "avx512": Dot(
        16,
        1,
        4,
        _bytes_in_two_steps("llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512"),
    ),
    "avx2": Dot(
        8, 1, 2, _bytes_in_two_steps("llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd")
    ),
    "sse4": Dot(
        4, 1, 2, _bytes_in_two_steps("llvm.x86.ssse3.pmadd.ub.sw.128", "llvm.x86.sse2.pmadd.wd")
    ),
}
WORD_DOTS: dict[str, Dot] = {
    "vnni": Dot(16, 2, 4, _accumulating("llvm.x86.avx512.vpdpwssd.512", I16)),
    "avx512": Dot(16, 2, 4, _multiply_add("llvm.x86.avx512.pmaddw.d.512")),
    "avx2": Dot(8, 2, 2, _multiply_add("llvm.x86.avx2.pmadd.wd")),
    "sse4": Dot(4, 2, 2, _multiply_add("llvm.x86.sse2.pmadd.wd")),
    "plain": Dot(4, 2, 2, _plain_words),
}
