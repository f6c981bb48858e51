"""Encodings on all cores: exact products in floating point, once per frame.

NumPy would multiply integers without BLAS, and floats by BLAS, whose threads go on spinning for a
tenth of a second, on the cores that the kernel wants next.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Encoding, IntegerNetwork, shift_right
from pvae_neuro.sim.fast.compiled import compiled
from pvae_neuro.sim.fast.team import Team

# Rows of weights that serve all images while they are in the second-level cache.
ROWS_TOGETHER = 16
ROWS_PER_PASS = 4
FLOAT64_EXACT = 1 << 53


def encode(
    network: IntegerNetwork, encoding: Encoding, frame: NDArray[np.int32], threads: int
) -> NDArray[np.int32]:
    """Values of an input's variable for encoded pixels [B, M]: int32 [B, n]."""
    weight = _exact_weight(network, encoding)
    if weight is None:
        return encoding.apply(frame).astype(np.int32)
    out = np.empty((len(frame), weight.shape[1]), np.int32)

    def share(first: int, last: int, start: int, stop: int) -> None:
        product = np.zeros((last - first, weight.shape[1]))
        add_drive(np.ascontiguousarray(frame[first:last]), weight, product)
        shifted = shift_right(product.astype(np.int64), encoding.shift)
        out[first:last] = np.clip(shifted, -encoding.limit, encoding.limit)

    with Team(len(frame), threads) as team:
        team.run(share, 0, 0)
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


@nb.njit
def _bright(encoded, first, place, value):  # type: ignore[no-untyped-def]
    """List the pixels that are not zero, filled up with zeros to whole passes."""
    found = 0
    for m in range(first, min(first + ROWS_TOGETHER, encoded.shape[0])):
        if encoded[m] != 0:
            place[found], value[found] = m, encoded[m]
            found += 1
    while found % ROWS_PER_PASS:
        place[found], value[found] = first, 0.0
        found += 1
    return found


@compiled
def add_drive(encoded, weight, product):  # type: ignore[no-untyped-def]
    """``product[b, k] += sum over pixels m of encoded[b, m] * weight[m, k]``.

    encoded int32 [B, M], weight float64 [M, K], product float64 [B, K]. Exact while no partial sum
    reaches 2**53, which the caller sees to. Dark pixels cost nothing.
    """
    place, value = np.empty(ROWS_TOGETHER, np.int64), np.empty(ROWS_TOGETHER, np.float64)
    for first in range(0, encoded.shape[1], ROWS_TOGETHER):
        for b in range(encoded.shape[0]):
            for p in range(0, _bright(encoded[b], first, place, value), ROWS_PER_PASS):
                w0, w1 = weight[place[p]], weight[place[p + 1]]
                w2, w3 = weight[place[p + 2]], weight[place[p + 3]]
                x0, x1, x2, x3 = value[p], value[p + 1], value[p + 2], value[p + 3]
                for k in range(product.shape[1]):
                    product[b, k] += x0 * w0[k] + x1 * w1[k] + x2 * w2[k] + x3 * w3[k]
