"""Arithmetic whose every bit is the same on all processors and with all versions of NumPy.

Elementwise sums, products and quotients are so by the standard of floating-point numbers. Matrix
products and long sums are not, since libraries add in orders of their own; nor are ``exp`` and
``tanh``, whose last bit is each library's own choice. Where a number is rounded to an integer, one
such bit can decide.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# More than twice the 17 digits of a float64: results are rounded once, correctly.
_DECIMAL = Context(prec=40)
# Beyond, exponentials are no float64 but 0 or infinity.
_LARGEST = 800.0
# Slices of matrices hold so many bits that sums of their products are whole numbers below 2**53.
_SUM_BITS = 53
_KEPT_BITS = 60


def exp(values: NDArray[Any] | float) -> Float64:
    """``e**value``, correctly rounded; 0 or infinite beyond float64."""
    return _elementwise(_exp, values)


def squashed(values: NDArray[Any], bound: float) -> Float64:
    """``bound * tanh(value / bound)``, with a tanh that is correctly rounded."""
    # At 40 it is 1 up to rounding.
    inside = np.clip(np.asarray(values, np.float64) / bound, -40.0, 40.0)
    return bound * _elementwise(_tanh, inside)


def product(left: NDArray[Any], right: NDArray[Any]) -> Float64:
    """Matrix product of finite numbers, [n, m] by [m, k].

    Each row of the left and column of the right matrix is cut into slices of so few bits that
    every sum of their products is exact, whatever its order. What is cut off of an entry is below
    2**-60 of the largest one in its row or column.
    """
    bits = (_SUM_BITS - left.shape[1].bit_length()) // 2
    count = -(-_KEPT_BITS // bits)
    rows, row_exponents = _slices(np.asarray(left, np.float64), bits, count, axis=1)
    columns, column_exponents = _slices(np.asarray(right, np.float64), bits, count, axis=0)
    total = np.zeros((left.shape[0], right.shape[1]))
    # From the smallest to the largest, in one order.
    for level in reversed(range(count)):
        for place in range(level + 1):
            total += np.ldexp(rows[place] @ columns[level - place], -bits * (level + 2))
    return np.ldexp(np.ldexp(total, row_exponents), column_exponents)


def sums(values: NDArray[Any]) -> Float64:
    """Sum of each row, [n, m], correctly rounded."""
    return np.array([math.fsum(row) for row in np.asarray(values, np.float64).tolist()])


def power_below(ratio_of: float, to: float) -> int:
    """Largest e with ``to * 2**e <= ratio_of``, both above 0."""
    (first, exponent), (second, other) = math.frexp(ratio_of), math.frexp(to)
    return exponent - other - (first < second)


def _slices(
    values: Float64, bits: int, count: int, axis: int
) -> tuple[list[Float64], NDArray[np.int32]]:
    """Whole numbers of ``bits`` bits, most significant first, and the exponents of the rows."""
    largest = np.abs(values).max(axis=axis, keepdims=True, initial=0.0)
    exponents = np.frexp(largest)[1]
    rest = np.ldexp(values, -exponents)
    found = []
    for _ in range(count):
        rest = np.ldexp(rest, bits)
        whole = np.trunc(rest)
        found.append(whole)
        rest = rest - whole
    return found, exponents


def _elementwise(function: Any, values: NDArray[Any] | float) -> Float64:
    given = np.asarray(values, np.float64)
    different, places = np.unique(given, return_inverse=True)
    return np.array([function(value) for value in different.tolist()])[places].reshape(given.shape)


def _exp(value: float) -> float:
    return float(_DECIMAL.exp(Decimal(min(max(value, -_LARGEST), _LARGEST))))


def _tanh(value: float) -> float:
    square = _DECIMAL.exp(Decimal(2.0 * value))
    return float(_DECIMAL.divide(square - 1, square + 1))
