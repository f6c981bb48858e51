"""Philox4x64-10 in machine code: the words of :mod:`pvae_neuro.sim.noise`, made in place.

Source of the generator: Salmon et al. 2011; constants as in NumPy's bit generator.

A block takes twenty products of 64 by 64 bits, and each round waits for the one before, so that
several blocks are made at once. With AVX-512 half of them are made in vectors, of products of 32
bits: the multiplier of single numbers and the vector units work side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from pvae_neuro.sim.fast.machine import (
    I32,
    I64,
    Written,
    counted,
    load,
    number,
    pointer_to,
    splat,
    store,
)
from pvae_neuro.sim.fast.memory import RAW, SAMPLE, SEED, STEP
from pvae_neuro.sim.fast.processor import AVX512, has

_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10
_WORD = (1 << 64) - 1
BLOCK_BYTES = 32
VECTOR, SINGLE = 8, 4
"""Blocks that are made at once, in vectors and one by one."""
Halves = tuple[Any, Any]


def _wide_product(b: ir.IRBuilder, value: Any, multiplier: int) -> Halves:
    """High and low half of a product: one instruction."""
    wide = ir.IntType(128)
    product = b.mul(b.zext(value, wide), ir.Constant(wide, multiplier))
    return b.trunc(b.lshr(product, ir.Constant(wide, 64)), I64), b.trunc(product, I64)


def _vector_product(b: ir.IRBuilder, value: Any, multiplier: int) -> Halves:
    """The same for a vector, of four products of 32 bits."""
    lanes = value.type.count
    shift, mask = (splat_of(bits, lanes) for bits in (32, 0xFFFFFFFF))
    low, high = splat_of(multiplier & 0xFFFFFFFF, lanes), splat_of(multiplier >> 32, lanes)
    value_low, value_high = b.and_(value, mask), b.lshr(value, shift)
    lowest = b.mul(value_low, low)
    first = b.add(b.mul(value_low, high), b.lshr(lowest, shift))
    second = b.add(b.mul(value_high, low), b.and_(first, mask))
    top = b.add(b.mul(value_high, high), b.lshr(first, shift))
    return (
        b.add(top, b.lshr(second, shift)),
        b.or_(b.shl(second, shift), b.and_(lowest, mask)),
    )


def splat_of(value: int, lanes: int) -> ir.Constant:
    """A constant vector of 64-bit numbers."""
    return ir.Constant(ir.VectorType(I64, lanes), [number(value)] * lanes)


@dataclass
class _Blocks:
    """Blocks while they are made: four numbers each, and how their products are made."""

    state: list[Any]
    product: Callable[[ir.IRBuilder, Any, int], Halves]

    def round(self, b: ir.IRBuilder, keys: Sequence[Any]) -> None:
        """One round."""
        high_0, low_0 = self.product(b, self.state[0], _MULTIPLIERS[0])
        high_1, low_1 = self.product(b, self.state[2], _MULTIPLIERS[1])
        key_0, key_1 = (self._like(b, key) for key in keys)
        self.state = [
            b.xor(b.xor(high_1, self.state[1]), key_0),
            low_1,
            b.xor(b.xor(high_0, self.state[3]), key_1),
            low_0,
        ]

    def _like(self, b: ir.IRBuilder, value: Any) -> Any:
        kind = self.state[0].type
        return splat(b, value, kind.count) if isinstance(kind, ir.VectorType) else value


class _Writer:
    """Writes the function."""

    def __init__(self, module: ir.Module, name: str) -> None:
        numbers = I64.as_pointer()
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [numbers, numbers]), name)
        self.b = b = ir.IRBuilder(function.append_basic_block())
        command, room = function.args
        stream, first, blocks = (load(b, b.gep(command, [number(i)]), I64) for i in (1, 2, 3))
        raw, seed, step, sample = (
            load(b, b.gep(room, [number(i)]), I64) for i in (RAW, SEED, STEP, SAMPLE)
        )
        self.raw, self.rest = pointer_to(b, raw), [step, sample, stream]
        # NumPy raises the counter before it makes a block.
        self.first = b.add(first, number(1))
        self.seed = seed
        # Best first: as many blocks at once as there are, then fewer.
        done = number(0)
        for vectors in FORMS:
            together = VECTOR * vectors or 1
            left = b.sub(blocks, done)
            whole = b.add(done, b.sub(left, b.urem(left, number(together))))
            with counted(b, done, whole, together) as block:
                self._make(block, vectors)
            done = whole
        b.ret_void()

    def _make(self, block: Any, vectors: int) -> None:
        """Make blocks from ``block`` on."""
        b = self.b
        counter = b.add(self.first, block)
        groups = [self._vector(counter, i) for i in range(vectors)]
        groups = groups or [_Blocks([counter, *self.rest], _wide_product)]
        entry = b.block
        keys = [self.seed, number(0)]
        head, end = b.append_basic_block(), b.append_basic_block()
        b.branch(head)
        b.position_at_end(head)
        turn = b.phi(I64)
        turn.add_incoming(number(1), entry)
        states = [[b.phi(v.type) for v in g.state] for g in groups]
        kphi = [b.phi(I64) for _ in keys]
        for phi, k in zip(kphi, keys):
            phi.add_incoming(k, entry)
        for phis, g in zip(states, groups):
            for phi, v in zip(phis, g.state):
                phi.add_incoming(v, entry)
            g.state = list(phis)
            g.round(b, kphi)
            for phi, v in zip(phis, g.state):
                phi.add_incoming(v, head)
        for phi, w in zip(kphi, _WEYL):
            phi.add_incoming(b.add(phi, number(w)), head)
        turn.add_incoming(b.add(turn, number(1)), head)
        b.cbranch(b.icmp_signed("<", turn, number(_ROUNDS)), head, end)
        b.position_at_end(end)
        at = b.gep(self.raw, [b.mul(block, number(BLOCK_BYTES))])
        if not vectors:
            for i, value in enumerate(groups[0].state):
                store(b, value, b.gep(at, [number(8 * i)]), 8)
            return
        for group in groups:
            store(b, _transposed(b, group.state), at, 32)
            at = b.gep(at, [number(BLOCK_BYTES * VECTOR)])

    def _vector(self, counter, i):
        b = self.b
        lanes = [number(VECTOR * i + lane) for lane in range(VECTOR)]
        numbers = b.add(splat(b, counter, VECTOR), ir.Constant(ir.VectorType(I64, VECTOR), lanes))
        rest = [splat(b, value, VECTOR) for value in self.rest]
        return _Blocks([numbers, *rest], _vector_product)


FORMS = (4, 2, 0)
"""How many vectors of blocks and single ones are made together."""


def _transposed(b: ir.IRBuilder, state: Sequence[Any]) -> Any:
    """Numbers of blocks, one block after the other."""

    def pick(x: Any, y: Any, places: Sequence[int]) -> Any:
        kind = ir.VectorType(I32, len(places))
        return b.shuffle_vector(x, y, ir.Constant(kind, [number(p, I32) for p in places]))

    both = range(2 * VECTOR)
    pairs = [pick(*state[i : i + 2], both) for i in (0, 2)]
    return pick(*pairs, [VECTOR * i + lane for lane in range(VECTOR) for i in range(4)])


def _write(module: ir.Module, name: str) -> None:
    """Stream; first block; number of blocks: noise of the room's step and sample."""
    _Writer(module, name)


fill_words = Written(_write)
