"""Phases and period of any schedule, against the sequence that it means."""

from __future__ import annotations

from typing import Any

import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from pvae_neuro.sim.lava.timing import Act, Timing, network_timing, timing_of

POPULATIONS = ("p", "q", "r")
VARIABLES = tuple(f"{p}.{v}" for p in POPULATIONS for v in "ab")


@st.composite
def acts(draw, most: int, least: int = 0):
    found = []
    for _ in range(draw(st.integers(least, most))):
        population = draw(st.sampled_from(POPULATIONS))
        own = [f"{population}.{v}" for v in "ab"]
        reads = draw(st.frozensets(st.sampled_from(VARIABLES), max_size=2))
        writes = draw(st.frozensets(st.sampled_from(own), min_size=1))
        found.append(Act(population, reads, writes))
    return found


def act(state: dict[str, Any], sent: dict[str, Any], place: Any, a: Act) -> Any:
    """What an activation sees; what it sets is that, under the variable's name."""
    own = {v: x for v, x in state.items() if v.startswith(f"{a.population}.")}
    seen = (place, *((v, sent.get(v)) for v in sorted(a.reads)), *sorted(own.items()))
    state.update({v: hash((seen, v)) for v in a.writes})
    return seen


def in_sequence(iteration, final, iterations):
    """What each activation sees, and each population's variables at the end of each iteration."""
    state: dict[str, Any] = {}
    seen = []
    for t in range(iterations + 1):
        for i, a in enumerate(iteration if t < iterations else final):
            seen.append(act(state, state, (t, i), a))
    return sorted(seen, key=repr), state


def in_steps(iteration, final, iterations, timing: Timing):
    """The same by Lava's rules: all that acts in a step reads what was sent in the step before."""
    state: dict[str, Any] = {}
    sent: dict[str, Any] = {}
    due: dict[int, list[Any]] = {}
    for t in range(iterations + 1):
        now = (iteration, timing.iteration) if t < iterations else (final, timing.final)
        for i, (a, phase) in enumerate(zip(*now, strict=True)):
            due.setdefault(timing.lead + t * timing.period + phase, []).append(((t, i), a))
    seen = []
    for step in range(timing.steps(iterations)):
        for place, a in sorted(due.pop(step, []), key=lambda d: d[0]):
            if step == 0:
                assert not a.reads, "nothing has been sent yet"
            seen.append(act(state, sent, place, a))
        sent = dict(state)
    assert not due, "something is never reached"
    return sorted(seen, key=repr), state


@settings(max_examples=150, deadline=None)
@given(acts(6, 1), acts(3), st.integers(1, 4))
def test_steps_mean_the_sequence(iteration, final, iterations):
    timing = timing_of(iteration, final)
    assert 1 <= timing.period <= len(iteration)
    expected = in_sequence(iteration, final, iterations)
    assert in_steps(iteration, final, iterations, timing) == expected


def test_a_period_shorter_by_one_fails():
    # The period is the smallest: in one less, a chain of reads through a loop would not fit.
    chain = [
        Act("p", frozenset({"r.a"}), frozenset({"p.a"})),
        Act("q", frozenset({"p.a"}), frozenset({"q.a"})),
        Act("r", frozenset({"q.a"}), frozenset({"r.a"})),
    ]
    timing = timing_of(chain, [])
    assert (timing.period, timing.iteration, timing.lead) == (3, (0, 1, 2), 1)
    shorter = Timing(2, timing.lead, timing.iteration, ())
    assert in_steps(chain, [], 3, shorter) != in_sequence(chain, [], 3)


def test_iterations_of_a_feed_forward_chain_overlap():
    # Layers that nothing feeds back to work on different iterations at once.
    chain = [Act("p", frozenset(), frozenset({"p.a"}))]
    chain += [
        Act(b, frozenset({f"{a}.a"}), frozenset({f"{b}.a"}))
        for a, b in zip("pqrs", "qrst", strict=True)
    ]
    timing = timing_of(chain, [])
    assert (timing.period, timing.iteration) == (1, (0, 1, 2, 3, 4))
    assert timing.steps(10) == 14


@pytest.mark.parametrize(
    ("make", "period", "phases", "steps"),
    [(toy.lateral, 1, (0, 1), 11), (toy.predictive, 2, (0, 1, 2), 21)],
)
def test_the_shipped_circuits_take_one_and_two_steps(make, period, phases, steps):
    timed = network_timing(make())
    assert timed.timing.period == period
    assert timed.timing.iteration == phases
    assert timed.timing.final == (0,)
    assert timed.timing.lead == 0
    assert timed.timing.steps(10) == steps
    assert timed.loads == {}
