"""The proof of ranges: sound, and settled where it should be."""

from __future__ import annotations

import re

import numpy as np
import pytest
from language_tools import Scalar, scalar_frames, small_network, small_parts

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import (
    Activation,
    Constant,
    Encoding,
    Input,
    IntegerNetwork,
    OneToOne,
    Population,
    Sampler,
    Variable,
    shared,
    trace,
)
from pvae_neuro.network.random import random_inputs, random_network
from pvae_neuro.network.sampler import LOWEST_POTENTIAL, largest_potential
from pvae_neuro.sim.engine import encode_frames, get_engine


def one(rule, *, bits=24, initial=0, size=1, sampler=None, **constants):
    """Network of one population whose program is the rule; it may set x and y."""
    variables = (Variable("x", shared(initial), bits), Variable("y", shared(0)))
    values = tuple(
        Constant(name, np.atleast_1d(np.array(value, np.int32)))
        for name, value in constants.items()
    )
    program = trace(rule, "act")
    population = Population("p", size, variables, values, (program,), sampler)
    return IntegerNetwork(
        name="one",
        input=Input(1, 0.0, 1.0, 4),
        encodings=(),
        populations=(population,),
        connections=(),
        iteration=(Activation("p", "act"),),
    )


def bounds(network, name="p.x"):
    interval = network.ranges.variables[name]
    return interval.low.tolist(), interval.high.tolist()


# --------------------------------------------------------------------------------- soundness


@pytest.mark.parametrize("seed", range(12))
def test_no_word_leaves_its_range(seed):
    """Every variable and every row, of scalar runs of random networks."""
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    x = encode_frames(network, random_inputs(network, rng, 2, 2))
    rows = {}
    for row in network.ranges.rows:
        if row.quantity.endswith((", product", ", amount of the shift")):
            continue
        place = row.where, re.match(r"(t\d+(?= = )|accumulator$|)", row.quantity).group()
        low, high = rows.get(place, (row.low, row.high))
        rows[place] = min(low, row.low), max(high, row.high)
    for sample in range(len(x)):
        scalar = Scalar(network, seed, sample, 7)
        states = scalar.run(scalar_frames(network, x[sample]), 3)
        for name in network.variables:
            values = np.array([state[name] for state in states])
            interval = network.ranges.variables[name]
            assert np.all(interval.low <= values) and np.all(values <= interval.high), name
        for (where, result), values in scalar.seen.items():
            low, high = rows[where, result]
            assert low <= min(values) and max(values) <= high, (where, result)


def test_rows_are_reached():
    """The bounds of an accumulator are attained by some input, neuron by neuron."""
    network = small_network()
    row = next(r for r in network.ranges.rows if r.where == "back" and r.quantity == "accumulator")
    weight = network.connection_of["back"].weight.astype(np.int64)
    sent = network.ranges.variables["hidden.a"]
    corners = weight * np.minimum(sent.low, 0), weight * np.maximum(sent.high, 0)
    assert row.low == np.minimum(*corners).sum(axis=1).min()
    assert row.high == np.maximum(*corners).sum(axis=1).max()


# ------------------------------------------------------------------------------- invariants


def test_counter_with_a_limit_settles():
    def count(n):
        n.x = n.min(n.x + 1, n.limit)

    network = one(count, size=2, limit=[1000, 3], bits=12)
    assert bounds(network) == ([0, 0], [1000, 3])
    network.require_proof()


def test_counter_that_starts_again():
    def count(n):
        n.x = n.select(n.x >= n.limit, 0, n.min(n.x + 1, n.limit))

    assert bounds(one(count, limit=500)) == ([0], [500])


def test_two_counters_in_a_row():
    def count(n):
        n.y = n.min(n.y + n.x, n.far)
        n.x = n.min(n.x + 1, n.near)

    network = one(count, near=300, far=70000)
    assert bounds(network) == ([0], [300])
    assert bounds(network, "p.y") == ([0], [70000])


def test_leak_settles_by_its_width():
    def leak(n):
        n.x = n.mul(n.x, n.decay, n.shift) + n.give

    network = one(leak, decay=3800, shift=12, give=9, bits=16)
    network.require_proof()
    _, high = bounds(network)
    assert high[0] < 1 << 15


def test_integrator_without_a_limit_is_reported():
    def integrate(n):
        n.x = n.x + n.give

    network = one(integrate, give=1)
    assert network.ranges.unbounded == ("p.x",)
    with pytest.raises(NetworkError, match=r"p\.x: its programs do not keep it within a range; "):
        network.require_proof()
    with pytest.raises(NetworkError, match="do not keep it within a range"):
        get_engine("reference").run(network, [[0.5]], 1, 0)


def test_side_that_does_not_grow_stays():
    """Only what grows is widened: a count that never falls below 0 may be a shift's amount."""

    def count(n):
        n.x = n.min(n.x + 1, n.limit)
        n.y = n.shr(n.give, n.x)

    one(count, limit=30, give=77).require_proof()


@pytest.mark.parametrize("initial", [200, -129])
def test_initial_value_beyond_the_width(initial):
    def keep(n):
        n.x = n.x + 0
        n.y = n.min(n.y + 1, n.limit)

    # The counter takes more passes than the upward search has.
    network = one(keep, bits=8, initial=initial, limit=1000)
    with pytest.raises(NetworkError, match=r"p\.x: variable can reach"):
        network.require_proof()


def test_declared_width():
    def store(n):
        n.x = n.clip(n.y, n.low, n.high)
        n.y = n.clip(n.y + 1, n.low, n.high)

    one(store, bits=8, low=-128, high=127).require_proof()
    with pytest.raises(NetworkError) as caught:
        one(store, bits=8, low=-128, high=128).require_proof()
    assert "p.act: x <- t1 can reach [0, 128], 9 bits; expected at most 8" in str(caught.value)


def test_values_in_the_middle_of_an_iteration_count():
    def grow(n):
        n.x = n.shl(n.one, n.far)

    def shrink(n):
        n.x = n.shr(n.x, n.far)

    for bits, fits in ((24, True), (16, False)):
        variables = (Variable("x", shared(0), bits),)
        constants = (Constant("one", shared(1)), Constant("far", shared(20)))
        population = Population("p", 1, variables, constants, (trace(grow), trace(shrink)))
        network = IntegerNetwork(
            name="middle",
            input=Input(1, 0.0, 1.0, 4),
            encodings=(),
            populations=(population,),
            connections=(),
            iteration=(Activation("p", "grow"), Activation("p", "shrink")),
        )
        assert (list(network.ranges.faults()) == []) == fits
        assert bounds(network) == ([0], [1])


# ------------------------------------------------------------------------- words and widths

WIDE = (1 << 23) - 1


def wide_sum(n):
    n.x = n.min(n.a + n.a, n.a)


def wide_product(n):
    n.x = n.mul(n.a, n.a, n.shift)


def wide_shift(n):
    n.x = n.min(n.shl(n.a, n.shift), n.a)


def amount(n):
    n.x = n.shr(n.one, n.shift)


@pytest.mark.parametrize(
    ("rule", "constants", "expected"),
    [
        (wide_sum, {"a": WIDE}, "t0 = a + a can reach [16777214, 16777214], 25 bits"),
        (wide_product, {"a": WIDE, "shift": 22}, "t0 = (a * a) >> shift can reach"),
        (wide_shift, {"a": 5, "shift": 22}, "t0 = a << shift can reach [20971520, 20971520]"),
        (amount, {"one": 1, "shift": 32}, "amount of the shift can reach [32, 32]"),
        (amount, {"one": 0, "shift": -32}, "amount of the shift can reach [-33, -32]"),
    ],
)
def test_words_that_do_not_fit(rule, constants, expected):
    with pytest.raises(NetworkError) as caught:
        one(rule, **constants).require_proof()
    assert f"p.act: {expected}" in str(caught.value) or expected in str(caught.value)


@pytest.mark.parametrize("shift", [-31, 0, 31])
def test_amounts_at_the_edges(shift):
    network = one(amount, one=0, shift=shift)
    network.require_proof()


def test_product_of_two_words_fits_48_bits():
    one(wide_product, a=-WIDE - 1, shift=24).require_proof()


def test_pixels_wider_than_a_word():
    def take(n):
        n.x = n.clip(n.sent, 0, n.high)

    population = Population(
        "p", 2, (Variable("x", shared(0)),), (Constant("high", shared(3)),), (trace(take),)
    )
    network = IntegerNetwork(
        name="wide",
        input=Input(2, 0.0, 1.0, 25),
        encodings=(Encoding("in", "v"),),
        populations=(Population("in", 2, (Variable("v", shared(0)),)), population),
        connections=(OneToOne("c", "in", "v", "p", np.ones(2, np.int8), -4, "sent"),),
        iteration=(Activation("p", "take", ("c",)),),
    )
    faults = list(network.ranges.faults())
    assert any(f.startswith("in.v: variable can reach [0, 33554432]") for f in faults)
    assert any(f.startswith("c: accumulator") or f.startswith("c[") for f in faults)


def test_exponent_beyond_the_word():
    parts = small_parts()
    forward, back, given = parts["connections"]
    for c in (forward, given):
        object.__setattr__(c, "exponent", 16)
    faults = list(small_network(connections=(forward, back, given)).ranges.faults())
    assert any("after its exponent can reach" in f for f in faults)


# ---------------------------------------------------------------------------------- sampler


def draw_clipped(n):
    n.x = n.draw(n.clip(n.y, n.low, n.high))
    n.y = n.word()


@pytest.mark.parametrize(("max_count", "frac_bits"), [(1, 4), (15, 8), (63, 14), (255, 16)])
def test_log_rates_within_the_sampler(max_count, frac_bits):
    low = LOWEST_POTENTIAL << frac_bits
    high = max(largest_potential(max_count, frac_bits), 0)
    sampler = Sampler(max_count, frac_bits)
    network = one(draw_clipped, low=low, high=high, sampler=sampler)
    network.require_proof()
    assert bounds(network) == ([0], [max_count])
    # Words reach 65535, so the upper limit counts; the lower one does where potentials do.
    if high < 65535:
        with pytest.raises(NetworkError, match=r"log-rate beyond \[-?\d+, -?\d+\] of its sampler"):
            one(draw_clipped, low=low, high=high + 1, sampler=sampler).require_proof()
    with pytest.raises(NetworkError, match="log-rate beyond"):
        one(draw_clipped, low=low - 1, high=low - 1, sampler=sampler).require_proof()


def test_readout_and_encoding_are_proved():
    quantities = {r.quantity for r in small_network().ranges.rows}
    assert {"sum of the encoding", "reconstruction", "squared error", "pixel"} <= quantities
