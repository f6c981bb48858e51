"""Exact integer matrix products in floating point.

Floating-point units multiply integers exactly while every partial sum fits the mantissa: below
2**24 in float32, below 2**53 in float64. The bound (largest message times the largest L1 norm of a
target's weights) is checked here, whatever a certificate says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53


class FloatProduct:
    """``messages [B, M] @ weight [M, K]``, exact, in the narrowest format that allows it.

    Parameters
    ----------
    weight : int8 [M, K]
    limit : int
        Largest absolute message.

    Raises
    ------
    EngineError
        If no floating-point format is wide enough.
    """

    def __init__(self, weight: NDArray[np.int8], limit: int) -> None:
        bound = largest_sum(weight, limit)
        if bound >= FLOAT64_EXACT:
            raise EngineError(
                f"sums of products reach {bound}, beyond the exact range of float64; use "
                f"--engine reference"
            )
        self.dtype = np.dtype(np.float32 if bound < FLOAT32_EXACT else np.float64)
        self._weight = np.ascontiguousarray(weight, dtype=self.dtype)

    def __call__(self, messages: NDArray[Any]) -> NDArray[Any]:
        """Multiply messages [B, M] of this product's dtype."""
        result: NDArray[Any] = messages @ self._weight
        return result


def largest_sum(weight: NDArray[np.int8], limit: int) -> int:
    """Largest absolute partial sum of ``messages @ weight`` over messages within +-limit."""
    return int(np.abs(weight.astype(np.int64)).sum(axis=0).max()) * limit
