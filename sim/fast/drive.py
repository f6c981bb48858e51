"""Drive of the lateral topology, once per image: exact products in floating point.

NumPy would give them to BLAS, whose threads go on spinning for a tenth of a second, on the cores
that the kernels want next.
"""

from __future__ import annotations

import numba as nb


@nb.njit(cache=True, nogil=True)
def add_drive(encoded, weight, product):  # type: ignore[no-untyped-def]
    """``product[b, k] += sum over pixels m of encoded[b, m] * weight[m, k]``.

    encoded int32 [B, M], weight float64 [M, K], product float64 [B, K]. Exact while no partial sum
    reaches 2**53, which the plan sees to. Dark pixels cost nothing.
    """
    for b in range(encoded.shape[0]):
        for m in range(encoded.shape[1]):
            pixel = float(encoded[b, m])
            if pixel != 0.0:
                for k in range(weight.shape[1]):
                    product[b, k] += pixel * weight[m, k]
