"""Encodings on all cores: exact products in floating point, once per frame.

NumPy would multiply integers without BLAS, and floats by BLAS, whose threads go on spinning for a
tenth of a second, on the cores that the kernel wants next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Encoding, IntegerNetwork
from pvae_neuro.sim.fast.language import (
    FLOAT64,
    Array,
    Body,
    Value,
    float64_at,
    function,
    int32_at,
    int64_at,
    larger,
    smaller,
)
from pvae_neuro.sim.fast.machine import I64
from pvae_neuro.sim.fast.memory import address
from pvae_neuro.sim.fast.team import share_out

# Rows of weights that serve all images while they are in the second-level cache.
ROWS_TOGETHER = 16
ROWS_PER_PASS = 4
FLOAT64_EXACT = 1 << 53


def encode(
    network: IntegerNetwork, encoding: Encoding, x: NDArray[np.int32], threads: int | None
) -> NDArray[np.int32]:
    """Values of an input's variable for encoded pixels [B, M]: int32 [B, n]."""
    if encoding.weight is None:
        return x
    weight = _exact_weight(network, encoding)
    if weight is None:
        return encoding.apply(x).astype(np.int32)
    x = np.ascontiguousarray(x)
    pixels, size = weight.shape
    out = np.empty((len(x), size), np.int32)

    def share(first: int, last: int) -> None:
        room = np.empty(2 * ROWS_TOGETHER + (last - first) * size)
        add_drive(
            address(x[first:]), address(weight), address(out[first:]), address(room),
            last - first, pixels, size, encoding.shift, encoding.limit,
        )  # fmt: skip

    share_out(share, len(x), threads)
    return out


def _exact_weight(network: IntegerNetwork, encoding: Encoding) -> NDArray[np.float64] | None:
    """Weights [M, n] in float64 if every partial sum is exact there."""
    key = f"fast encoding {encoding.population}.{encoding.variable}"
    if key not in network.compiled:
        network.compiled[key] = _converted(network, encoding)
    weight: NDArray[np.float64] | None = network.compiled[key]
    return weight


def _converted(network: IntegerNetwork, encoding: Encoding) -> NDArray[np.float64] | None:
    if encoding.weight is None:
        return None
    reach = encoding.reach(network.input.interval)
    if max(-reach.smallest, reach.largest) >= FLOAT64_EXACT:
        return None
    return np.ascontiguousarray(encoding.weight.T, dtype=np.float64)


@function(9)
def add_drive(code: Body, *arguments: Value) -> int:
    """``out[b, k] = clamp(shift_right(sum over m of encoded[b, m] * weight[m, k], shift))``.

    By their addresses: encoded int32 [B, M], weight float64 [M, K], out int32 [B, K], and room for
    two numbers for each of ``ROWS_TOGETHER`` and for the sums; samples, pixels, size, shift and
    limit. Exact while no partial sum reaches 2**53, which the caller sees to. Dark pixels cost
    nothing.
    """
    encoded, weight, out, room, samples, pixels, size, shift, limit = arguments
    place, value = int64_at(room), float64_at(room + 8 * ROWS_TOGETHER)
    sums = room + 16 * ROWS_TOGETHER
    with code.loop(samples * size) as k:
        float64_at(sums)[k] = 0.0
    with code.loop(0, pixels, ROWS_TOGETHER) as first, code.loop(samples) as b:
        line, row = int32_at(encoded + 4 * b * pixels), float64_at(sums + 8 * b * size)
        last = smaller(first + ROWS_TOGETHER, pixels)
        bright = _bright(code, line, (first, last), place, value)
        with code.loop(0, bright, ROWS_PER_PASS) as p:
            passed = range(ROWS_PER_PASS)
            rows = [float64_at(weight + 8 * size * place[p + i]) for i in passed]
            factors = [value[p + i] for i in passed]
            with code.loop(size) as k:
                products = [x * w[k] for x, w in zip(factors, rows, strict=True)]
                row[k] += products[0] + products[1] + products[2] + products[3]
    half = (code.value(1) << shift) >> 1
    with code.loop(samples * size) as k:
        rounded = (float64_at(sums)[k].to(I64) + half) >> shift
        int32_at(out)[k] = smaller(larger(rounded, -limit), limit)
    return 0


def _bright(
    code: Body, encoded: Array, part: tuple[Value, Value], place: Array, value: Array
) -> Value:
    """List the pixels of a part that are not zero, filled up with zeros to whole passes."""
    found = code.variable(0)
    with code.loop(*part) as m, code.when(encoded[m] != 0):
        place[found] = m
        value[found] = encoded[m].to(FLOAT64)
        found += 1
    with code.loop_while(lambda: found % ROWS_PER_PASS != 0):
        place[found] = part[0]
        value[found] = 0.0
        found += 1
    return found
