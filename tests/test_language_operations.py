"""Each word operation against an independent formula in Python integers; interval rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_tools import SCALAR

from pvae_neuro.network import OPERATIONS, Interval, shift_right
from pvae_neuro.network.interval import LARGEST, between, hull, point, shift_bounds, signed_bits

LOW, HIGH = -(1 << 23), (1 << 23) - 1
EDGES = (LOW, LOW + 1, -65536, -3, -2, -1, 0, 1, 2, 3, 4, 255, 256, 65535, 1 << 22, HIGH)
words = st.one_of(st.sampled_from(EDGES), st.integers(LOW, HIGH))
amounts = st.integers(-31, 31)
SHIFTS = ("shl", "shr", "mul")


def argument_strategies(name):
    kinds = [words] * OPERATIONS[name].arity
    if name in SHIFTS:
        kinds[-1] = amounts
    return kinds


@pytest.mark.parametrize("name", sorted(SCALAR))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_formula(name, data):
    rows = [
        tuple(data.draw(s) for s in argument_strategies(name))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    # A product of 48 bits that is shifted left by 31 leaves 64 bits; no proved network does that.
    if name == "mul":
        rows = [(a, b, s) if abs(a * b) < 1 << 31 else (a, b, abs(s)) for a, b, s in rows]
    columns = [np.array(column, np.int64) for column in zip(*rows, strict=True)]
    got = OPERATIONS[name].integer(*columns)
    assert got.dtype == np.int64
    assert got.tolist() == [SCALAR[name](*row) for row in rows]


def test_every_operation_has_an_independent_formula():
    assert set(SCALAR) | {"word", "draw"} == set(OPERATIONS)


@pytest.mark.parametrize("name", sorted(SCALAR))
def test_formula_at_the_edges(name):
    few = (LOW, -1, 0, 1, HIGH)
    kinds = [few] * OPERATIONS[name].arity
    if name in SHIFTS:
        kinds[-1] = (0, 1, 8, 24, 31)
    rows = list(itertools.product(*kinds))
    columns = [np.array(column, np.int64) for column in zip(*rows, strict=True)]
    got = OPERATIONS[name].integer(*columns)
    assert got.tolist() == [SCALAR[name](*row) for row in rows]


def test_shift_to_the_right_rounds_half_up():
    values = np.array([-3, -2, -1, 0, 1, 2, 3])
    assert shift_right(values, 1).tolist() == [-1, -1, 0, 0, 1, 1, 2]
    assert shift_right(values, 0).tolist() == values.tolist()
    assert shift_right(values, 31).tolist() == [0] * 7
    assert shift_right(np.array([HIGH, LOW]), 24).tolist() == [0, 0]
    assert shift_right(np.array([HIGH, LOW]), 23).tolist() == [1, -1]


def test_negative_amount_shifts_to_the_left():
    assert shift_right(np.array([3, -3]), -4).tolist() == [48, -48]
    assert OPERATIONS["shl"].integer(np.array([3, -3]), np.array([-1, 2])).tolist() == [2, -12]


def test_amount_per_neuron():
    batch = np.array([[5, 5, 5], [-5, -5, -5]])
    assert shift_right(batch, np.array([-1, 0, 1])).tolist() == [[10, 5, 3], [-10, -5, -2]]


def test_leading_zeros():
    clz = OPERATIONS["clz"].integer
    assert clz(np.array([0, 1, 2, 3, HIGH, -1, LOW])).tolist() == [24, 23, 22, 22, 1, 0, 0]


# ------------------------------------------------------------------------------- intervals


@st.composite
def intervals(draw, values=words):
    """An interval of one to three neurons, or shared, with a point inside."""
    size = draw(st.sampled_from((1, 3)))
    rows = [sorted((draw(values), draw(values))) for _ in range(size)]
    inside = [draw(st.integers(low, high)) for low, high in rows]
    low, high = zip(*rows, strict=True)
    return Interval(np.array(low, np.int64), np.array(high, np.int64)), np.array(inside, np.int64)


@pytest.mark.parametrize("name", sorted(SCALAR))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_interval_holds_every_result(name, data):
    drawn = [data.draw(intervals(values)) for values in argument_strategies(name)]
    bounds = OPERATIONS[name].interval(*(interval for interval, _ in drawn))
    point_arguments = [inside for _, inside in drawn]
    size = max(len(a) for a in point_arguments)
    rows = zip(*(np.broadcast_to(a, size).tolist() for a in point_arguments), strict=True)
    results = np.array([min(SCALAR[name](*row), LARGEST) for row in rows])
    results = np.maximum(results, -LARGEST)
    assert bounds.low.shape == bounds.high.shape
    assert np.all(bounds.low <= results), (drawn, bounds)
    assert np.all(results <= bounds.high), (drawn, bounds)


SMALL = [(low, high) for low in range(-5, 6) for high in range(low, 6)]
# These rules are exact; the others of `and`, `or` and `xor` go to the next power of two.
EXACT = ("abs", "add", "clz", "ge", "max", "min", "neg", "select", "sub")


@pytest.mark.parametrize("name", EXACT)
def test_interval_is_exact(name):
    arity = OPERATIONS[name].arity
    some = SMALL if arity == 1 else SMALL[::3] if arity == 2 else SMALL[::7]
    for sides in itertools.product(some, repeat=arity):
        bounds = OPERATIONS[name].interval(*(between(*side) for side in sides))
        ranges = [range(low, high + 1) for low, high in sides]
        results = [SCALAR[name](*row) for row in itertools.product(*ranges)]
        assert (bounds.smallest, bounds.largest) == (min(results), max(results)), sides


@pytest.mark.parametrize("name", ["and", "or", "xor"])
def test_interval_of_bits_stays_within_the_arguments_width(name):
    for a, b in itertools.product(SMALL, repeat=2):
        bounds = OPERATIONS[name].interval(between(*a), between(*b))
        results = [SCALAR[name](x, y) for x in range(a[0], a[1] + 1) for y in range(b[0], b[1] + 1)]
        assert bounds.smallest <= min(results) <= max(results) <= bounds.largest
        assert bounds.bits <= max(signed_bits(*a), signed_bits(*b))


def test_masks_are_exact():
    mask = OPERATIONS["and"].interval(between(LOW, HIGH), between(65535, 65535))
    assert (mask.smallest, mask.largest) == (0, 65535)
    either = OPERATIONS["or"].interval(between(3, 5), between(8, 9))
    assert (either.smallest, either.largest) == (8, 15)


@pytest.mark.parametrize("value", [(-5, 9), (3, 7), (-9, -2)])
@pytest.mark.parametrize("amount", [(0, 3), (-2, 2), (31, 31), (-31, -30)])
def test_shift_is_exact_at_its_corners(value, amount):
    bounds = shift_bounds(between(*value), between(*amount))
    results = [
        SCALAR["shr"](v, s)
        for v in range(value[0], value[1] + 1)
        for s in range(amount[0], amount[1] + 1)
    ]
    assert (bounds.smallest, bounds.largest) == (min(results), max(results))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_bounds_beyond_64_bits_saturate_where_they_are_reported(data):
    """Whatever comes in, no rule wraps round: what is too large stays too large for a word."""
    huge = st.sampled_from((-LARGEST, -(1 << 40), -1, 0, 1, 1 << 40, LARGEST))
    name = data.draw(st.sampled_from(("add", "sub", "mul", "shl", "neg", "abs")))
    strategies = [huge] * OPERATIONS[name].arity
    if name in SHIFTS:
        strategies[-1] = amounts
    arguments = [data.draw(values) for values in strategies]
    exact = SCALAR[name](*arguments)
    bounds = OPERATIONS[name].interval(*(point(a) for a in arguments))
    if name == "mul" and arguments[2] > 0:
        return  # The product is reported by itself.
    fits = -LARGEST < exact < LARGEST
    if fits:
        assert bounds.smallest <= exact <= bounds.largest
    else:
        assert bounds.bits > 48


def test_bounds_per_neuron_meet_shared_ones():
    per_neuron = Interval(np.array([-4, 0, 3]), np.array([-1, 5, 3]))
    for name, operation in OPERATIONS.items():
        if operation.arity != 2 or name in SHIFTS:
            continue
        for a, b in ((per_neuron, between(1, 2)), (between(1, 2), per_neuron)):
            bounds = operation.interval(a, b)
            assert bounds.low.shape == bounds.high.shape == (3,)


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 0, 1), (-1, 0, 1), (0, 1, 2), (-2, 1, 2), (-3, 1, 3), (LOW, HIGH, 24), (LOW - 1, 0, 25)],
)
def test_signed_bits(low, high, bits):
    assert signed_bits(low, high) == bits
    assert between(low, high).bits == bits


def test_hull():
    both = hull(between(-1, 2), Interval(np.array([0, 5]), np.array([3, 6])))
    assert both.low.tolist() == [-1, -1]
    assert both.high.tolist() == [3, 6]
    assert both.contains(between(0, 2))
    assert not both.contains(between(0, 4))
