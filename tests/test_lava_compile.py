"""Programs as straight lines of NumPy, and counts by thresholds: the definition's integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvae_neuro.network import (
    OPERATIONS,
    Constant,
    Instruction,
    Interval,
    Output,
    Population,
    Program,
    Sampler,
    Variable,
    shared,
    shift_right,
)
from pvae_neuro.network.interpreter import run_program
from pvae_neuro.network.sampler import largest_potential, sample_counts
from pvae_neuro.sim.lava import draw
from pvae_neuro.sim.lava.compile import COMPILED, Received, compile_program
from pvae_neuro.sim.lava.draw import RuleDraw, ThresholdDraw, draw_of
from pvae_neuro.sim.reference import FORMULAS

SIZE = 7
SHAPES = ((SIZE,), (3, SIZE))
RANDOM = {
    "word": lambda out: np.copyto(out, np.arange(out.size).reshape(out.shape)),
    "draw": lambda u, out: np.copyto(out, u % 5),
}
EXACT = {
    "word": lambda shape: lambda: np.arange(np.prod(shape)).reshape(shape),
    "draw": lambda shape: lambda u: np.broadcast_to(u, shape) % 5,
}


def test_every_operation_can_be_compiled():
    assert frozenset(OPERATIONS) == COMPILED


@st.composite
def programs(draw_from):
    """Any straight line of operations; amounts of shifts are within what the language allows."""
    values = ["a", "b", "c", "wide", "one", "received", "0", "1"]
    amounts = ["none", "left", "right", "mixed", "every"]
    instructions = []
    for number in range(draw_from(st.integers(1, 12))):
        operation = draw_from(st.sampled_from(sorted(OPERATIONS)))
        # Long programs grow beyond 64 bits; words of the language never do.
        names = [draw_from(st.sampled_from(values)) for _ in range(OPERATIONS[operation].arity)]
        if operation in ("shl", "shr", "mul"):
            names[-1] = draw_from(st.sampled_from(amounts))
        elif number and names:
            names[0] = f"t{draw_from(st.integers(0, number - 1))}"
        instructions.append(Instruction(operation, tuple(names), f"t{number}"))
    known = [*values, *(i.result for i in instructions)]
    changed = draw_from(st.lists(st.sampled_from(["a", "b", "c"]), unique=True, min_size=1))
    outputs = tuple(Output(v, draw_from(st.sampled_from(known))) for v in changed)
    return Program("any", tuple(instructions), outputs)


def population_of(program: Program) -> Population:
    rng = np.random.default_rng(1)

    def each(low, high):
        return rng.integers(low, high + 1, SIZE).astype(np.int32)

    return Population(
        "p",
        SIZE,
        tuple(Variable(name, shared(0)) for name in "abc"),
        (
            Constant("wide", each(-500, 500)),
            Constant("one", shared(-37)),
            Constant("none", shared(0)),
            Constant("left", each(-9, 0)),
            Constant("right", each(0, 9)),
            Constant("mixed", each(-9, 9)),
        ),
        (program,),
        Sampler(4, 12),
    )


@settings(max_examples=150, deadline=None)
@given(programs(), st.sampled_from(SHAPES), st.integers(-9, 9), st.integers(0, 99))
def test_compiled_programs_equal_the_interpreter(program, shape, exponent, seed):
    rng = np.random.default_rng(seed)
    population = population_of(program)
    state = {name: rng.integers(-(1 << 12), 1 << 12, shape) for name in "abc"}
    # A value as an amount of a shift, which no constant bounds.
    held, arriving = rng.integers(-9, 10, shape), rng.integers(-(1 << 12), 1 << 12, shape)
    received = {
        "received": Received(("port",), (held,), exponent),
        "every": Received((), (held,), 0),
    }
    expected = {name: values.copy() for name, values in state.items()}
    inputs = {"received": shift_right(arriving + held, -exponent), "every": held}
    wide = {**expected, **inputs}
    with np.errstate(over="ignore"):
        new = run_program(
            population, program, wide, FORMULAS, {n: make(shape) for n, make in EXACT.items()}
        )
        compiled = compile_program(population, program, state, received, RANDOM)
        compiled({"port": arriving.copy()})
    expected.update(new)
    for name, values in expected.items():
        np.testing.assert_array_equal(state[name], values, err_msg=name)


def test_outputs_are_stored_at_once():
    swap = Program("swap", (), (Output("a", "b"), Output("b", "c"), Output("c", "a")))
    state = {name: np.full(SIZE, value) for value, name in enumerate("abc")}
    compile_program(population_of(swap), swap, state, {}, {})({})
    assert [int(state[name][0]) for name in "abc"] == [1, 2, 0]


@settings(max_examples=60, deadline=None)
@given(
    max_count=st.sampled_from([1, 3, 15, 63, 127]),
    frac_bits=st.integers(4, 12),
    words=st.lists(st.one_of(st.integers(0, 65535), st.sampled_from([0, 65534, 65535]))),
    seed=st.integers(0, 99),
)
def test_thresholds_draw_the_rules_counts(max_count, frac_bits, words, seed):
    rng = np.random.default_rng(seed)
    high = max(largest_potential(max_count, frac_bits), 0)
    low = -9 << frac_bits
    u = rng.integers(low, high + 1, (2, 400))
    u[0, :2] = low, high
    w = rng.integers(0, 65536, u.shape).astype(np.int32)
    w[1, : len(words[:400])] = words[:400]
    bounds = Interval(np.array([low]), np.array([high]))
    drawn = draw_of(Sampler(max_count, frac_bits), bounds)
    assert isinstance(drawn, ThresholdDraw)
    out = np.full(u.shape, -1)
    drawn(u, w, out)
    np.testing.assert_array_equal(out, sample_counts(u, w, max_count, frac_bits))


@pytest.mark.parametrize("few", [0, 10, 10_000])
@pytest.mark.parametrize(("max_count", "frac_bits"), [(1, 10), (63, 10), (63, 4)])
def test_levels_and_bisection_draw_alike(few, max_count, frac_bits, monkeypatch):
    monkeypatch.setattr(draw, "FEW", few)
    high = largest_potential(max_count, frac_bits)
    low = min(-(1 << frac_bits), high - 1)
    u = np.repeat(np.arange(low, high + 1, max(1, (high - low) // 40)), 200)
    w = np.tile(np.linspace(0, 65535, 200), len(u) // 200).astype(np.int32)
    out = np.empty(len(u), np.int64)
    ThresholdDraw(low, high, max_count, frac_bits)(u, w, out)
    np.testing.assert_array_equal(out, sample_counts(u, w, max_count, frac_bits))


def test_too_many_thresholds_are_not_made():
    bounds = Interval(np.array([-16 << 16]), np.array([largest_potential(1023, 16)]))
    drawn = draw_of(Sampler(1023, 16), bounds)
    assert isinstance(drawn, RuleDraw)
    u, w = np.array([0, 300_000]), np.array([65535, 40000], np.int32)
    out = np.empty(2, np.int64)
    drawn(u, w, out)
    np.testing.assert_array_equal(out, sample_counts(u, w, 1023, 16))


@pytest.mark.parametrize("low", [-(16 << 12), 0])
def test_a_range_of_one_potential(low):
    bounds = Interval(np.array([low]), np.array([low]))
    out = np.empty(3, np.int64)
    w = np.array([0, 30000, 65535], np.int32)
    draw_of(Sampler(15, 12), bounds)(np.full(3, low), w, out)
    np.testing.assert_array_equal(out, sample_counts(np.full(3, low), w, 15, 12))
