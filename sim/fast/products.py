"""Exact integer products of graded spikes with feedback weights, on the fastest unit at hand.

Floating-point units multiply integers exactly while every partial sum fits the mantissa: below
2**24 in float32, below 2**53 in float64. The bound (largest message times the largest L1 norm of a
row) is checked here, whatever a certificate says. Processors with 8-bit dot products
(VNNI) do better on bytes: there each message is split into balanced base-256 digits, one
``torch._int_mm`` per digit.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53
# torch._int_mm wants more rows than this, and columns in multiples of eight.
MIN_SPLIT_ROWS = 17
DIGIT = 256


class Product(Protocol):
    """``messages [B, M] @ weight [M, K]``, exact."""

    dtype: np.dtype[Any]

    def __call__(self, messages: NDArray[Any]) -> NDArray[Any]:
        """Multiply; the result holds integers in any dtype."""
        ...


class FloatProduct:
    """Matrix product in floating point, within its exact range.

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
                f"fast: feedback sums reach {bound}, beyond the exact range of float64; use "
                f"--engine reference"
            )
        self.dtype = np.dtype(np.float32 if bound < FLOAT32_EXACT else np.float64)
        self._weight = np.ascontiguousarray(weight, dtype=self.dtype)

    def __call__(self, messages: NDArray[Any]) -> NDArray[Any]:
        """Multiply messages [B, M] of this product's dtype."""
        result: NDArray[Any] = messages @ self._weight
        return result


class SplitProduct:
    """Matrix products of bytes through ``torch._int_mm``.

    Parameters
    ----------
    weight : int8 [M, K]
    limit : int
        Largest absolute message.
    """

    dtype = np.dtype(np.int32)

    def __init__(self, weight: NDArray[np.int8], limit: int) -> None:
        import torch

        self._torch = torch
        # Column-major, which the 8-bit kernels read without a copy.
        self._weight = torch.from_numpy(np.ascontiguousarray(weight.T)).t()
        self._digits = digits_needed(limit)

    def __call__(self, messages: NDArray[Any]) -> NDArray[Any]:
        """Multiply int32 messages [B, M], B > 16."""
        total = np.zeros((len(messages), self._weight.shape[1]), np.int64)
        for place, digit in enumerate(balanced_digits(messages, self._digits)):
            product = self._torch._int_mm(self._torch.from_numpy(digit), self._weight)
            total += product.numpy().astype(np.int64) << (8 * place)
        return total


def largest_sum(weight: NDArray[np.int8], limit: int) -> int:
    """Largest absolute partial sum of ``messages @ weight`` over messages within +-limit."""
    return int(np.abs(weight.astype(np.int64)).sum(axis=0).max()) * limit


def digits_needed(limit: int) -> int:
    """How many balanced base-256 digits hold every integer within +-limit."""
    digits, reach = 1, 127
    while reach < limit:
        digits, reach = digits + 1, reach * DIGIT + 127
    return digits


def balanced_digits(values: NDArray[np.integer[Any]], digits: int) -> list[NDArray[np.int8]]:
    """Split integers into digits in [-128, 127], lowest first: ``sum d_k * 256**k``."""
    rest = values.astype(np.int32)
    found = []
    for _ in range(digits):
        digit = rest.astype(np.int8)
        found.append(digit)
        rest = (rest - digit) >> 8
    return found


@lru_cache(maxsize=1)
def has_byte_products() -> bool:
    """Whether this processor has 8-bit dot products and torch is there to use them."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    if not any(name in flags for name in ("avx512_vnni", "avx_vnni", "amx_int8")):
        return False
    try:
        import torch
    except ImportError:
        return False
    return hasattr(torch, "_int_mm")


def choose_product(weight: NDArray[np.int8], limit: int, rows: int) -> Product:
    """Byte products where the processor has them and the batch is large enough, else floats."""
    fits = rows >= MIN_SPLIT_ROWS and weight.shape[0] % 8 == weight.shape[1] % 8 == 0
    if fits and has_byte_products():
        return SplitProduct(weight, limit)
    return FloatProduct(weight, limit)
