"""Philox4x64-10, compiled: the words of :mod:`pvae_neuro.sim.noise`, made in place.

Source of the generator: Salmon et al. 2011; constants as in NumPy's bit generator.

A block takes twenty products of 64 by 64 bits, of which the processor begins one in a cycle. With
AVX-512, eight blocks are made in each of several vectors, from products of 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from pvae_neuro.sim.fast.language import Array, Body, Value, Variable, command, int64_at
from pvae_neuro.sim.fast.machine import I32, I64
from pvae_neuro.sim.fast.memory import RAW, SAMPLE, SEED, STEP
from pvae_neuro.sim.fast.processor import AVX512, has

_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS, _SHARED_ROUNDS = 10, 2
_NUMBERS = 4
_LANES = 8
_TOGETHER = 4 * _LANES


@command
def fill_words(code: Body, given: Array, room: Array) -> None:
    """Stream; first block; number of blocks: noise of the room's step and sample."""
    raw, blocks, whole = int64_at(room[RAW]), given[3], code.value(0)
    # NumPy raises the counter before it makes a block.
    counter = given[2] + 1, room[STEP], room[SAMPLE], given[1]
    turns = [[room[SEED], code.value(0)]]
    while len(turns) < _ROUNDS:
        turns.append([key + step for key, step in zip(turns[-1], _WEYL, strict=True)])
    if has(*AVX512):
        whole = blocks & -_TOGETHER
        with code.loop(0, whole, _TOGETHER) as block:
            _make_vectors(code, counter, turns, block, raw)
    with code.loop(whole, blocks) as block:
        state = [counter[0] + block, *counter[1:]]
        for keys in turns:
            state = _round(state, keys)
        for i, number in enumerate(state):
            raw[block * _NUMBERS + i] = number


def _make_vectors(
    code: Body, counter: Sequence[Value], turns: Sequence[Sequence[Value]], block: Value, raw: Array
) -> None:
    """Make some vectors of blocks, a round of all of them at a time."""
    groups = range(0, _TOGETHER, _LANES)
    starts = [_counting(code, first) + (counter[0] + block) for first in groups]
    states = []
    for start in starts:
        made = [start, *counter[1:]]
        # Half of the numbers of these rounds are the same for all blocks.
        for shared in turns[:_SHARED_ROUNDS]:
            made = _round(made, shared)
        states.append([code.variable(start * 0 + number) for number in made])
    keys = [code.variable(key) for key in turns[_SHARED_ROUNDS]]
    with code.loop(_SHARED_ROUNDS, _ROUNDS):
        for state in states:
            _set(state, _round(state, keys))
        _set(keys, [key + step for key, step in zip(keys, _WEYL, strict=True)])
    for first, state in zip(groups, states, strict=True):
        raw.set_line((block + first) * _NUMBERS, _block_by_block(state))


def _round(state: Sequence[Value], keys: Sequence[Value]) -> list[Value]:
    high_0, low_0 = _product(state[0], _MULTIPLIERS[0])
    high_1, low_1 = _product(state[2], _MULTIPLIERS[1])
    return [high_1 ^ state[1] ^ keys[0], low_1, high_0 ^ state[3] ^ keys[1], low_0]


def _product(value: Value, multiplier: int) -> tuple[Value, Value]:
    """High and low half of a product."""
    several = isinstance(value.kind, ir.VectorType)
    return (_vector_product if several else _wide_product)(value, multiplier)


def _set(variables: Sequence[Variable], values: Sequence[Value]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.set(value)


def _wide_product(value: Value, multiplier: int) -> tuple[Value, Value]:
    """One instruction."""
    b, wide = value.b, ir.IntType(128)
    product = b.mul(b.zext(value.ir, wide), ir.Constant(wide, multiplier))
    high = b.lshr(product, ir.Constant(wide, 64))
    return Value(b, b.trunc(high, I64)), Value(b, b.trunc(product, I64))


def _vector_product(value: Value, multiplier: int) -> tuple[Value, Value]:
    """Four products of 32 bits."""
    mask = (1 << 32) - 1
    low, high = multiplier & mask, multiplier >> 32
    value = Value(value.b, value.ir)
    lowest = (value & mask) * low
    first = (value & mask) * high + _upper(lowest)
    second = _upper(value) * low + (first & mask)
    top = _upper(value) * high + _upper(first) + _upper(second)
    return top, second << 32 | lowest & mask


def _upper(value: Value) -> Value:
    """The upper 32 of 64 bits, without a sign."""
    shift = ir.Constant(value.kind, [ir.Constant(I64, 32)] * value.kind.count)
    return Value(value.b, value.b.lshr(value.ir, shift))


def _counting(code: Body, first: int) -> Value:
    numbers = [ir.Constant(I64, first + lane) for lane in range(_LANES)]
    return Value(code.b, ir.Constant(ir.VectorType(I64, _LANES), numbers))


def _block_by_block(state: Sequence[Value]) -> Value:
    """Numbers of a vector of blocks, one block after the other."""
    b, both = state[0].b, range(2 * _LANES)
    order = [_LANES * i + lane for lane in range(_LANES) for i in range(_NUMBERS)]
    halves = [_pick(b, state[i].ir, state[i + 1].ir, both) for i in (0, 2)]
    return Value(b, _pick(b, halves[0], halves[1], order))


def _pick(b: ir.IRBuilder, x: Any, y: Any, places: Sequence[int]) -> Any:
    """Shuffle two vectors."""
    kind = ir.VectorType(I32, len(places))
    return b.shuffle_vector(x, y, ir.Constant(kind, [ir.Constant(I32, p) for p in places]))
