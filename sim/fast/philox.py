"""Philox4x64-10 inside a compiled kernel: the words of :mod:`pvae_neuro.sim.noise`, made in place.

Source of the generator: Salmon et al. 2011; constants as in NumPy's bit generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.types.containers import UniTuple
from numba.extending import intrinsic

from pvae_neuro.sim.fast.memory import RAW, SAMPLE, SEED, STEP, command, uint64_at

_MULTIPLIER_0 = np.uint64(0xD2E7470EE14C6C93)
_MULTIPLIER_1 = np.uint64(0xCA5A826395121157)
_WEYL_0 = np.uint64(0x9E3779B97F4A7C15)
_WEYL_1 = np.uint64(0xBB67AE8584CAA73B)


@intrinsic  # type: ignore[untyped-decorator]
def _wide_product(typing_context: Any, a: Any, b: Any) -> Any:
    """Both halves of a 64 by 64 bit product, high and low: one instruction."""
    signature = UniTuple(types.uint64, 2)(types.uint64, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide, word = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(value, wide) for value in arguments))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
        halves = [high, builder.trunc(product, word)]
        return context.make_tuple(builder, signature.return_type, halves)

    return signature, generate


@command
def fill_words(command, room):  # type: ignore[no-untyped-def]
    """Stream; first block; number of blocks: noise of the room's step and sample."""
    raw = uint64_at(room[RAW])
    for block in range(command[3]):
        c0, c1 = np.uint64(command[2] + block + 1), np.uint64(room[STEP])
        c2, c3 = np.uint64(room[SAMPLE]), np.uint64(command[1])
        k0, k1 = np.uint64(room[SEED]), np.uint64(0)
        for _ in range(10):
            high_0, low_0 = _wide_product(_MULTIPLIER_0, c0)
            high_1, low_1 = _wide_product(_MULTIPLIER_1, c2)
            c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
            k0 += _WEYL_0
            k1 += _WEYL_1
        place = 4 * block
        raw[place] = c0
        raw[place + 1] = c1
        raw[place + 2] = c2
        raw[place + 3] = c3
