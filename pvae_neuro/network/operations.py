"""The word operations that neuron programs are made of: all that a neuron core must be able to do.

Each operation has one integer formula, one interval rule and, where it has one, a meaning in real
numbers. Words are signed; a network whose values could leave their widths is refused before it
runs, so nothing wraps. Shifts to the right round half up.

An engine implements each of these by name, and nothing per model. The integer formulas below are
the definition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network.interval import (
    LARGEST,
    Interval,
    Ints,
    between,
    hull,
    saturating_product,
    saturating_sum,
    shift_bounds,
)

WORD_WIDTH = 24
"""Signed width of every word: states, accumulators and the results of operations."""
PRODUCT_WIDTH = 48
"""Signed width of a product before its shift."""
LARGEST_SHIFT = 31

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Operation:
    """One word operation.

    Attributes
    ----------
    name : str
    arity : int
        Number of arguments.
    text : str
        Infix form for listings, with ``{0}``, ``{1}``, ... for the arguments.
    integer : callable
        Formula over int64 arrays.
    interval : callable
        Bounds of the result from the bounds of the arguments.
    real : callable or None
        Meaning over floats; None where only integers have one.
    """

    name: str
    arity: int
    text: str
    integer: Callable[..., Ints]
    interval: Callable[..., Interval]
    real: Callable[..., Floats] | None


def shift_right(value: Any, amount: Any) -> Any:
    """``value >> amount``, rounded half up; a negative amount shifts to the left.

    Defined at 0 and beyond the width. ``amount`` is a number or one number per neuron, in
    -31 .. 31.
    """
    right, left = np.maximum(amount, 0), np.maximum(-np.asarray(amount), 0)
    half = (np.int64(1) << right) >> 1
    return ((value << left) + half) >> right


def leading_zeros(value: Ints) -> Ints:
    """Zeros before the first one of a 24-bit word: 24 of 0, none of a negative number."""
    length = np.frexp(np.maximum(value, 0).astype(np.float64))[1]
    return np.where(value < 0, 0, WORD_WIDTH - length).astype(np.int64)


# ---------------------------------------------------------------------------- interval rules


def _add(a: Interval, b: Interval) -> Interval:
    return Interval(saturating_sum(a.low, b.low), saturating_sum(a.high, b.high))


def _negate(a: Interval) -> Interval:
    return Interval(-a.high, -a.low)


def product_interval(a: Interval, b: Interval) -> Interval:
    """Bounds of a product before its shift."""
    corners = [saturating_product(x, y) for x in a for y in b]
    return Interval(np.minimum.reduce(corners), np.maximum.reduce(corners))


def _absolute(a: Interval) -> Interval:
    low = np.where((a.low <= 0) & (a.high >= 0), 0, np.minimum(np.abs(a.low), np.abs(a.high)))
    return Interval(low, np.maximum(np.abs(a.low), np.abs(a.high)))


def _at_least(a: Interval, b: Interval) -> Interval:
    return Interval((a.low >= b.high).astype(np.int64), (a.high >= b.low).astype(np.int64))


def _select(condition: Interval, a: Interval, b: Interval) -> Interval:
    either = hull(a, b)
    always = (condition.low > 0) | (condition.high < 0)
    never = (condition.low == 0) & (condition.high == 0)
    return Interval(
        np.where(always, a.low, np.where(never, b.low, either.low)),
        np.where(always, a.high, np.where(never, b.high, either.high)),
    )


def _complement(a: Interval) -> Interval:
    return Interval(-1 - a.high, -1 - a.low)


def _ones(*largest: Ints) -> Ints:
    """Smallest ``2**n - 1`` that none of these exceeds; at least 0."""
    reach = np.maximum(reduce(np.maximum, largest), 0)
    length = np.frexp(np.minimum(reach, LARGEST).astype(np.float64))[1]
    return (np.int64(1) << np.minimum(length, 60)) - 1


def _and(a: Interval, b: Interval) -> Interval:
    # A word that is not negative, or the other's sign, can only clear bits.
    high = np.maximum(a.high, b.high)
    high = np.where((a.low >= 0) | (b.high < 0), np.minimum(high, a.high), high)
    high = np.where((b.low >= 0) | (a.high < 0), np.minimum(high, b.high), high)
    negative = -_ones(-1 - a.low, -1 - b.low) - 1
    return Interval(np.where((a.low >= 0) | (b.low >= 0), 0, negative), high)


def _or(a: Interval, b: Interval) -> Interval:
    return _complement(_and(_complement(a), _complement(b)))


def _xor(a: Interval, b: Interval) -> Interval:
    ones = _ones(a.high, b.high, -1 - a.low, -1 - b.low)
    same = ((a.low >= 0) & (b.low >= 0)) | ((a.high < 0) & (b.high < 0))
    different = ((a.low >= 0) & (b.high < 0)) | ((a.high < 0) & (b.low >= 0))
    return Interval(np.where(same, 0, -ones - 1), np.where(different, -1, ones))


def _count_leading_zeros(a: Interval) -> Interval:
    # The most are those of the smallest number that is not negative; a negative one has none.
    fewest = np.where(a.low < 0, 0, leading_zeros(a.high))
    return Interval(fewest, np.where(a.high < 0, 0, leading_zeros(np.maximum(a.low, 0))))


# ----------------------------------------------------------------------------- float meanings


def _real_shift(value: Any, amount: Any) -> Any:
    # Shifts by constants are scales; in real numbers scales are exact.
    return value * np.exp2(-np.asarray(amount, np.float64)).astype(np.asarray(value).dtype)


def _real_at_least(a: Any, b: Any) -> Any:
    return np.greater_equal(a, b).astype(np.result_type(a))


_ALL = (
    Operation("add", 2, "{0} + {1}", np.add, _add, np.add),
    Operation("sub", 2, "{0} - {1}", np.subtract, lambda a, b: _add(a, _negate(b)), np.subtract),
    Operation(
        "mul",
        3,
        "({0} * {1}) >> {2}",
        lambda a, b, shift: shift_right(a * b, shift),
        lambda a, b, shift: shift_bounds(product_interval(a, b), shift),
        lambda a, b, shift: _real_shift(a * b, shift),
    ),
    Operation(
        "shl",
        2,
        "{0} << {1}",
        lambda a, amount: shift_right(a, -amount),
        lambda a, amount: shift_bounds(a, _negate(amount)),
        lambda a, amount: _real_shift(a, -np.asarray(amount)),
    ),
    Operation("shr", 2, "{0} >> {1}", shift_right, shift_bounds, _real_shift),
    Operation("and", 2, "{0} & {1}", np.bitwise_and, _and, None),
    Operation("or", 2, "{0} | {1}", np.bitwise_or, _or, None),
    Operation("xor", 2, "{0} ^ {1}", np.bitwise_xor, _xor, None),
    Operation(
        "min",
        2,
        "min({0}, {1})",
        np.minimum,
        lambda a, b: Interval(np.minimum(a.low, b.low), np.minimum(a.high, b.high)),
        np.minimum,
    ),
    Operation(
        "max",
        2,
        "max({0}, {1})",
        np.maximum,
        lambda a, b: Interval(np.maximum(a.low, b.low), np.maximum(a.high, b.high)),
        np.maximum,
    ),
    Operation(
        "ge",
        2,
        "{0} >= {1}",
        lambda a, b: np.greater_equal(a, b).astype(np.int64),
        _at_least,
        _real_at_least,
    ),
    Operation(
        "select",
        3,
        "{1} if {0} else {2}",
        lambda condition, a, b: np.where(condition != 0, a, b),
        _select,
        lambda condition, a, b: np.where(np.asarray(condition) != 0, a, b),
    ),
    Operation("abs", 1, "abs({0})", np.abs, _absolute, np.abs),
    Operation("neg", 1, "-{0}", np.negative, _negate, np.negative),
    Operation("clz", 1, "clz({0})", leading_zeros, _count_leading_zeros, None),
    # The interpreter hands these two the population's word and its sampler.
    Operation("word", 0, "word", lambda word: word, lambda: between(0, (1 << 16) - 1), None),
    Operation(
        "draw",
        1,
        "draw({0})",
        lambda counts: counts,
        lambda max_count: between(0, max_count),
        lambda counts: counts,
    ),
)

OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in _ALL}
LITERALS = ("0", "1")
FUNCTIONS: dict[str, np.ufunc] = {"exp": np.exp}
"""Functions of real numbers that composites of a program stand for."""
