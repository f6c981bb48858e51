"""A tensor of the graph with the range of its values, and what follows from that range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import NetworkError

# MatMulInteger operands keep to 7 bits: on processors without VNNI two products of an unsigned and
# a signed byte are added in 16 bits, and saturate above 127.
DIGIT_BITS = 7
DIGIT = 1 << DIGIT_BITS
DIGIT_ZERO_POINT = DIGIT // 2


@dataclass(frozen=True)
class Signal:
    """A tensor of the graph, int32 or int64, and the range of its values.

    Attributes
    ----------
    name : str
    low, high : int
        Smallest and largest value, inclusive.
    """

    name: str
    low: int
    high: int

    def __post_init__(self) -> None:
        if not fits("int64", self.low, self.high):
            raise NetworkError(
                f"{self.name}: values from {self.low} to {self.high} need more than 64 bits; "
                f"choose smaller exponents or gains"
            )

    @property
    def dtype(self) -> str:
        """``int32`` where the range fits, else ``int64``."""
        return "int32" if fits("int32", self.low, self.high) else "int64"


@dataclass(frozen=True)
class Digit:
    """One base-128 digit of a signal, as a byte; its value is the byte less ``zero_point``.

    Attributes
    ----------
    name : str
        uint8 tensor, below 128.
    zero_point : int
    low, high : int
        Range of the value.
    """

    name: str
    zero_point: int
    low: int
    high: int


def product_range(weight: NDArray[np.integer[Any]], low: int, high: int) -> tuple[int, int]:
    """Smallest and largest value of ``weight @ x`` for x in [low, high], over all rows.

    Parameters
    ----------
    weight : int [target, source]
    low, high : int

    Returns
    -------
    (int, int)
    """
    wide = weight.astype(np.int64)
    rows = zip(
        np.maximum(wide, 0).sum(axis=1).tolist(),
        np.minimum(wide, 0).sum(axis=1).tolist(),
        strict=True,
    )
    ranges = [(p * low + n * high, p * high + n * low) for p, n in rows]
    return min(r[0] for r in ranges), max(r[1] for r in ranges)


def fits(dtype: str, low: int, high: int) -> bool:
    """Whether a range fits an integer type."""
    limits = np.iinfo(dtype)
    return bool(limits.min <= low and high <= limits.max)


def balanced(count: int) -> tuple[int, int]:
    """Range of ``count`` balanced digits -64 .. 63 in base 128."""
    ones = sum(DIGIT**place for place in range(count))
    return -DIGIT_ZERO_POINT * ones, (DIGIT_ZERO_POINT - 1) * ones
