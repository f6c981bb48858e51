"""Encodings on all cores: exact products in floating point, once per frame.

NumPy would multiply integers without BLAS, and floats by BLAS, whose threads go on spinning for a
tenth of a second, on the cores that the kernel wants next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Encoding, IntegerNetwork
from pvae_neuro.sim.fast.memory import address, compiled, float64_at, inner, int32_at, int64_at
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


@inner
def _bright(encoded, first, last, place, value):  # type: ignore[no-untyped-def]
    """List the pixels that are not zero, filled up with zeros to whole passes."""
    found = 0
    for m in range(first, last):
        if encoded[m] != 0:
            place[found] = m
            value[found] = encoded[m]
            found += 1
    while found % ROWS_PER_PASS:
        place[found] = first
        value[found] = 0.0
        found += 1
    return found


@compiled(9)
def add_drive(encoded, weight, out, room, samples, pixels, size, shift, limit):  # type: ignore[no-untyped-def]
    """``out[b, k] = clamp(shift_right(sum over m of encoded[b, m] * weight[m, k], shift))``.

    By their addresses: encoded int32 [B, M], weight float64 [M, K], out int32 [B, K], and room for
    two numbers for each of ``ROWS_TOGETHER`` and for the sums. Exact while no partial sum reaches
    2**53, which the caller sees to. Dark pixels cost nothing.
    """
    place, value = int64_at(room), float64_at(room + 8 * ROWS_TOGETHER)
    sums = room + 16 * ROWS_TOGETHER
    row = float64_at(sums)
    for k in range(samples * size):
        row[k] = 0.0
    for first in range(0, pixels, ROWS_TOGETHER):
        last = first + ROWS_TOGETHER if first + ROWS_TOGETHER < pixels else pixels
        for b in range(samples):
            row = float64_at(sums + 8 * b * size)
            bright = _bright(int32_at(encoded + 4 * b * pixels), first, last, place, value)
            for p in range(0, bright, ROWS_PER_PASS):
                w0 = float64_at(weight + 8 * size * place[p])
                w1 = float64_at(weight + 8 * size * place[p + 1])
                w2 = float64_at(weight + 8 * size * place[p + 2])
                w3 = float64_at(weight + 8 * size * place[p + 3])
                x0, x1, x2, x3 = value[p], value[p + 1], value[p + 2], value[p + 3]
                for k in range(size):
                    row[k] += x0 * w0[k] + x1 * w1[k] + x2 * w2[k] + x3 * w3[k]
    half = (np.int64(1) << shift) >> 1
    row, drive = float64_at(sums), int32_at(out)
    for k in range(samples * size):
        drive[k] = min(max((np.int64(row[k]) + half) >> shift, -limit), limit)
    return 0
