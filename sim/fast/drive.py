"""Drive of the lateral topology, once per image: exact products in floating point.

NumPy would give them to BLAS, whose threads go on spinning for a tenth of a second, on the cores
that the kernels want next.
"""

from __future__ import annotations

import numba as nb
import numpy as np

# Rows of weights that serve all images while they are in the second-level cache.
ROWS_TOGETHER = 16
ROWS_PER_PASS = 4


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


@nb.njit(cache=True, nogil=True)
def add_drive(encoded, weight, product):  # type: ignore[no-untyped-def]
    """``product[b, k] += sum over pixels m of encoded[b, m] * weight[m, k]``.

    encoded int32 [B, M], weight float64 [M, K], product float64 [B, K]. Exact while no partial sum
    reaches 2**53, which the plan sees to. Dark pixels cost nothing.
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
