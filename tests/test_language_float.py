"""The float circuit: the same rules in real numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from language_tools import small_network, small_parts

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import (
    Activation,
    Constant,
    Dense,
    Encoding,
    FloatCircuit,
    Input,
    Population,
    Readout,
    Sampler,
    Variable,
    trace,
)
from pvae_neuro.network.float_circuit import poisson_counts, soft_minimum


def real(*values):
    return np.array(values, np.float64)


def circuit(rule, *, variables=("x", "y"), soft=False, dtype="float64", sampler=None, **constants):
    """One population of one rule; it receives twice the input as ``sent``."""
    program = trace(rule, "act")
    population = Population(
        "p",
        2,
        tuple(Variable(name, real(0.0)) for name in variables),
        tuple(Constant(name, np.atleast_1d(real(value))) for name, value in constants.items()),
        (program,),
        sampler,
    )
    return FloatCircuit(
        name="real",
        input=Input(2, -10.0, 10.0, 0),
        encodings=(Encoding("in", "v"),),
        populations=(Population("in", 2, (Variable("v", real(0.0)),)), population),
        connections=(Dense("c", "in", "v", "p", 2 * np.eye(2), 0, "sent"),),
        iteration=(Activation("p", "act", ("c",)),),
        readout=Readout("p", "x"),
        soft=soft,
        dtype=dtype,
    )


def last(net, images, iterations=1, words=None):
    *_, state = net.run(images, words or {}, iterations)
    return state


def test_a_rule_in_floats_and_in_python():
    def rule(n):
        grown = n.mul(n.sent, n.gain, 0) + n.y
        n.x = n.clip(grown - abs(n.sent), n.low, n.high)
        n.y = n.select(n.x >= n.limit, 0, n.shr(n.y, 0) - n.leak)

    constants = {"gain": 0.3, "low": -5.0, "high": 2.5, "limit": 1.25, "leak": 0.125}
    net = circuit(rule, **constants)
    images = np.array([[0.5, -2.25], [4.0, 0.1]])
    *_, state = net.run(images, {}, 3)
    for row in range(2):
        for neuron in range(2):
            sent, x, y = 2 * images[row, neuron], 0.0, 0.0
            for _ in range(3):
                x = min(max(sent * 0.3 + y - abs(sent), -5.0), 2.5)
                y = 0.0 if x >= 1.25 else y - 0.125
            assert state["p.x"][row, neuron] == x
            assert state["p.y"][row, neuron] == y
    assert net.reconstruct(state).tolist() == state["p.x"].tolist()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (lambda n: n.sent > 0, [1.0, 0.0]),
        (lambda n: n.sent >= 1, [1.0, 0.0]),  # The same trace: above 0, not at least 1.
        (lambda n: n.sent > n.tenth, [0.0, 0.0]),
        (lambda n: n.sent >= n.tenth, [1.0, 0.0]),
        (lambda n: n.sent < n.tenth, [0.0, 1.0]),
        (lambda n: n.sent < 0, [0.0, 1.0]),
    ],
)
def test_comparisons(rule, expected):
    """Inputs are doubled: 0.05 is received as 0.1, which is no whole number."""

    def whole(n):
        n.x = rule(n)
        n.y = n.sent

    net = circuit(whole, tenth=0.1)
    assert last(net, [[0.05, -0.05]])["p.x"].tolist() == [expected]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_types_stay(dtype):
    def rule(n):
        n.x = n.clip(n.sent + 1, 0, n.high) * (n.sent > 0)
        n.y = n.select(n.sent >= 0, 1, n.y)

    net = circuit(rule, dtype=dtype, high=3.5)
    state = last(net, np.ones((3, 2)), 2)
    assert {values.dtype for values in state.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (lambda n: n.x & n.y, "and"),
        (lambda n: n.x | n.y, "or"),
        (lambda n: n.x ^ n.y, "xor"),
        (lambda n: n.clz(n.x), "clz"),
    ],
)
def test_without_a_meaning_in_floats(rule, name):
    def whole(n):
        n.x = rule(n) + n.sent

    expected = f"p.act: the operation '{name}' has no meaning in real numbers"
    with pytest.raises(NetworkError, match=expected):
        circuit(whole)


def test_a_composite_is_its_function():
    """Its instructions, which have no meaning in floats, are not run."""

    def rule(n):
        grown = n.composite("exp", n.sent, build=lambda: n.clz(n.sent ^ n.y) & n.mask)
        n.x = grown + n.y
        n.y = grown

    net = circuit(rule, mask=7.0)
    *_, state = net.run([[0.5, -0.25]], {}, 2)
    assert state["p.y"].tolist() == [[math.exp(1.0), math.exp(-0.5)]]
    assert state["p.x"].tolist() == [[2 * math.exp(1.0), 2 * math.exp(-0.5)]]


def test_outside_a_composite_bits_have_no_meaning():
    def rule(n):
        n.x = n.composite("exp", n.sent, build=lambda: n.sent & n.mask) & n.mask

    with pytest.raises(NetworkError, match="the operation 'and' has no meaning in real numbers"):
        circuit(rule, mask=7.0, variables=("x",))


def test_parts_that_do_not_fit_are_refused():
    parts = small_parts(iteration=(Activation("nobody", "fire"),))
    with pytest.raises(
        NetworkError, match=r"small.iteration\[0\]: no population is named 'nobody'"
    ):
        FloatCircuit(**parts)


def draw(n):
    n.x = n.draw(n.y)
    n.y = n.sent


def test_draws_are_poisson():
    net = circuit(draw, sampler=Sampler(63, 8))
    images = np.full((1, 2), 0.5)
    words = np.linspace(0, 65535, 4001).astype(np.uint16)
    both = np.stack([words, words], axis=1)[None]
    counts = [state["p.x"][0, 0] for state in net.run(images, {"p": both})]
    assert len(counts) == 4001
    mean = math.exp(1.0)
    assert np.mean(counts) == pytest.approx(mean, rel=2e-3)
    assert np.var(counts) == pytest.approx(mean, rel=1e-2)


def test_words_that_are_missing():
    net = circuit(draw, sampler=Sampler(63, 8))
    with pytest.raises(NetworkError, match="real: no words are given for 'p'"):
        next(net.run([[0.0, 0.0]], {}, 3))
    with pytest.raises(NetworkError, match=r"expected one number of iterations.*got \[3, 4\]"):
        next(net.run([[0.0, 0.0]], {"p": np.zeros((1, 5, 2), np.uint16)}, 3))


def test_a_circuit_without_draws_needs_the_number_of_iterations():
    def count(n):
        n.x = n.x + 1
        n.y = n.sent

    net = circuit(count)
    assert [s["p.x"][0, 0] for s in net.run([[0.0, 0.0]], {}, 3)] == [1.0, 2.0, 3.0, 3.0]
    with pytest.raises(NetworkError, match="expected one number of iterations"):
        next(net.run([[0.0, 0.0]], {}))


def test_soft_minimum_is_below_both():
    value = np.linspace(-30, 30, 61)
    soft = soft_minimum(value, np.array([2.0]))
    assert np.all(soft < np.minimum(value, 2.0) + 1e-12)
    assert np.allclose(soft, 2.0 - np.log1p(np.exp(2.0 - value)))
    assert np.array_equal(soft_minimum(value, np.array([np.inf])), value)


def test_soft_circuit():
    def clamp(n):
        n.x = n.min(n.sent, n.high)

    hard, soft = (circuit(clamp, high=1.0, soft=s, variables=("x",)) for s in (False, True))
    assert last(hard, [[1.0, -1.0]])["p.x"].tolist() == [[1.0, -2.0]]
    assert last(soft, [[1.0, -1.0]])["p.x"][0, 0] == pytest.approx(1 - math.log1p(math.exp(-1)))


@pytest.mark.parametrize("log_rate", [-3.0, 0.0, 2.0, 5.2, 5.6, 9.0])
def test_counts_invert_the_distribution(log_rate):
    """A median and a spread that a Poisson law has, below and above the large rates."""
    words = np.arange(0, 65536, 16, dtype=np.uint16)
    counts = poisson_counts(np.full(len(words), log_rate), words)
    rate = math.exp(log_rate)
    assert np.all(np.diff(counts) >= 0)
    assert counts.mean() == pytest.approx(rate, rel=0.01)
    assert counts.var() == pytest.approx(rate, rel=0.03)


def test_without_a_readout():
    net = circuit(draw, sampler=Sampler(63, 8))
    with pytest.raises(NetworkError, match="has no readout"):
        replace(net, readout=None).reconstruct({})


def test_integers_are_not_needed():
    """The small integer network has a float circuit of the same parts."""
    parts = small_parts()
    net = FloatCircuit(**parts, dtype="float64")
    words = {"cells": np.full((2, 4, 4), 30000, np.uint16)}
    states = list(net.run(np.zeros((2, 6)), words))
    assert len(states) == 4
    assert set(states[0]) == {*small_network().variables, "drive.x"}
