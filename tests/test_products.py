"""Every way of a dense product, by every instruction set, gives the integers of NumPy."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy
from fast_networks import everything, signed
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite", reason="the fast engine needs llvmlite")

from pvae_neuro.errors import InputError
from pvae_neuro.network import Interval
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.fast import FastEngine, choice, engine, processor, ways
from pvae_neuro.sim.fast.engine import Work
from pvae_neuro.sim.fast.layouts import Weights
from pvae_neuro.sim.fast.memory import address
from pvae_neuro.sim.fast.plan import READOUT, product_plan, tasks_of
from pvae_neuro.sim.fast.ways import Task, ways_for
from pvae_neuro.sim.reference import ReferenceEngine

LEVELS = list(processor.LEVELS)


def available(level: str) -> bool:
    """Whether this processor has the instructions of a level."""
    reached = processor.level()
    return reached == level or (
        LEVELS.index(level) > LEVELS.index(reached) and processor.has(*processor.LEVELS[level])
    )


def task(weights, values, targets, sources, seed):
    """A product whose weights and values reach both of their bounds.

    Readouts hold weights of 16 bits that may all fit 8.
    """
    rng = np.random.default_rng(seed)
    small = weights[0] >= -128 and weights[1] <= 127
    kind = np.int8 if small and seed % 2 else np.int16
    weight = rng.integers(*weights, (targets, sources), endpoint=True).astype(kind)
    weight.flat[0], weight.flat[-1] = weights
    sent = Interval(np.array([values[0]]), np.array([values[1]]))
    return Task("product", "p.z", weight, sent)


def sums(task, values, way):
    """What the engine makes of some values."""
    plan = product_plan(task, way, Weights())
    state = np.zeros((len(values), len(plan.initial)), np.int32)
    state[:, : task.sources] = values
    image = np.empty((len(values), 1, task.targets), np.int32)
    work = Work(plan, plan.code, state, {"image": image}, steps=1)
    for first in range(0, len(values), plan.rows):
        work.kernel(first, min(first + plan.rows, len(values)), 0, 1)
    return image[:, 0]


def expected(task, values):
    """The sums modulo 2**32, as registers hold them."""
    return (values.astype(np.int64) @ task.weight.T.astype(np.int64)).astype(np.int32)


SHAPES = [(1, 1), (3, 5), (16, 64), (17, 65), (40, 130), (100, 31)]


WITH_FORMS = [
    (way, level)
    for way in (ways.DOTS, ways.TILES)
    for level in LEVELS
    if any(form.level == level for form in way.forms)
]


@pytest.mark.parametrize(("way", "level"), WITH_FORMS, ids=lambda of: getattr(of, "name", of))
@pytest.mark.parametrize("rows", [1, 3, 4, 16, 17, 32, 35])
def test_forms(way, level, rows, monkeypatch):
    """Extreme values: bytes of 255, words of -32768, in groups of any size."""
    if not available(level):
        pytest.skip(f"this processor has no instructions of level {level}")
    forms = [form for form in way.forms if form.level == level]
    monkeypatch.setattr(ways, "level", lambda: level)
    for number, form in enumerate(forms):
        monkeypatch.setattr(way, "forms", (form,))
        for targets, sources in SHAPES:
            asked = task(form.weights, form.values, targets, sources, number)
            rng = np.random.default_rng(rows)
            values = rng.integers(*form.values, (rows, sources), endpoint=True)
            values[0] = form.values[1]
            values[-1, ::2] = form.values[0]
            assert np.array_equal(sums(asked, values, way.name), expected(asked, values)), form


@settings(max_examples=40, deadline=None)
@given(
    targets=st.integers(1, 140),
    sources=st.integers(1, 140),
    rows=st.integers(1, 33),
    weights=st.sampled_from([(-127, 127), (-128, 5), (-32768, 32000), (-300, 32767)]),
    values=st.sampled_from([(0, 3), (0, 255), (-5, 5), (-32768, 32767), (-(1 << 23), 1 << 22)]),
    activity=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_ways(targets, sources, rows, weights, values, activity, seed):
    asked = task(weights, values, targets, sources, seed)
    rng = np.random.default_rng(seed)
    sent = rng.integers(*values, (rows, sources), endpoint=True)
    sent[rng.random(sent.shape) >= activity] = 0
    for way in ways_for(asked):
        assert np.array_equal(sums(asked, sent, way), expected(asked, sent)), way


@pytest.mark.parametrize("products", ["auto", "dense", "tiles", "events", "pairs"])
@pytest.mark.parametrize("build", [toy.lateral, toy.predictive, everything, signed])
def test_networks(products, build):
    network = build()
    images = toy.images(network, 37)
    for record in ("full", "summary"):
        ours = FastEngine(products=products).run(network, images, 4, 5, record=record)
        exact = ReferenceEngine().run(network, images, 4, 5, record=record)
        assert np.array_equal(ours.squared_error, exact.squared_error)
        assert np.array_equal(ours.reconstruction, exact.reconstruction)
        assert np.array_equal(ours.spikes, exact.spikes)
        for name, values in exact.variables.items():
            assert np.array_equal(ours.variables[name], values), name


def test_a_connection_may_be_called_readout():
    network = toy.lateral()
    renamed = {"lateral": "readout"}

    def name(found):
        return renamed.get(found, found)

    network = replace(
        network,
        connections=tuple(replace(c, name=name(c.name)) for c in network.connections),
        iteration=tuple(
            replace(a, connections=tuple(map(name, a.connections))) for a in network.iteration
        ),
    )
    images = toy.images(network, 5)
    ours, exact = (each.run(network, images, 4, 5) for each in (FastEngine(), ReferenceEngine()))
    assert np.array_equal(ours.squared_error, exact.squared_error)
    assert np.array_equal(ours.spikes, exact.spikes)
    assert len(FastEngine().explain(network)) == 3


@pytest.mark.parametrize("value", [-1, 300, 1 << 20])
def test_values_beyond_the_proof_are_read_out_as_well(value):
    network = toy.lateral()
    values = np.full((3, 12), value, np.int32)
    ours, exact = (each.reconstruct(network, values) for each in (FastEngine(), ReferenceEngine()))
    assert np.array_equal(ours, exact)
    assert FastEngine().reconstruct(network, values[:0]).shape == exact[:0].shape


def test_threads_share_laid_out_weights():
    """What one thread has an address of stays in memory when another one lays out the same."""
    weights, weight = Weights(), np.ones((3, 5), np.int8)
    both = threading.Barrier(2)

    def layout(weight):
        both.wait(10)
        return weight

    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(weights.address_of, weight, layout) for _ in range(2)]
    assert found[0].result() == found[1].result()


def test_a_thread_finds_all_ways_or_none(monkeypatch):
    """Another one may be about to find out which there are."""
    asked = task((-127, 127), (0, 3), 5, 7, 1)
    first, resumed, last = ways.WAYS[0], threading.Event(), ways.WAYS[-1]
    reached = threading.Event()

    class Slow:
        name = "slow"

        def fits(self, task):
            reached.set()
            return resumed.wait(10)

    monkeypatch.setattr(ways, "WAYS", (first, Slow(), last))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ways_for, asked)
        assert reached.wait(10)
        seen = dict(asked.ways)
        resumed.set()
        found = slow.result()
    assert seen == {}
    assert list(found)[:2] == [first.name, "slow"]


def test_weights_are_known_as_long_as_they_are_kept():
    """An array that is gone leaves its address to the next one."""
    weights = Weights()
    found = {weights.address_of(np.full((64, 64), i, np.int8), np.copy) for i in range(20)}
    assert len(found) == 20


def test_a_thread_keeps_no_large_room():
    """Networks of any size come and go in a process."""
    small = engine.room_for(1000)
    assert np.shares_memory(small, engine.room_for(1000))
    large = engine.room_for(engine.KEPT_BYTES)
    assert len(large) >= engine.KEPT_BYTES
    assert address(large) % 64 == 0
    assert not np.shares_memory(large, engine.room_for(1000))


def test_choices_do_not_pile_up():
    network = toy.lateral()
    for share in range(100):
        choice.note_activity(network, lambda name, n=share: np.arange(100) < n)
        choice.chosen_ways(network, 32, "auto")
    assert len(network.compiled["fast choices"]) == 1


def test_the_choice_follows_activity(monkeypatch):
    monkeypatch.setattr(ways, "level", lambda: "avx2")
    network = toy.lateral(latents=200)
    for activity, expected in ((0.0, "events"), (1.0, "dense")):
        choice.note_activity(network, lambda name, a=activity: np.full((4, 200), a))
        assert choice.chosen_ways(network, 32, "auto")["lateral"] == expected
    assert choice.chosen_ways(network, 32, "events")["lateral"] == "events"
    # One that does not give the same integers is not taken.
    assert "pairs" not in ways_for(tasks_of(network)[READOUT])
    assert choice.chosen_ways(network, 32, "pairs")[READOUT] in ("events", "dense")


def test_explained():
    network = toy.lateral()
    fast = FastEngine()
    assert "not measured yet" in fast.explain(network)[0]
    fast.run(network, toy.images(network, 3), 4, 0)
    about, lateral, readout = fast.explain(network)
    assert "as of late" in about
    assert processor.level() in about
    assert lateral.startswith("lateral: ")
    assert "% of latents.z active" in readout
    assert "not measured" not in about


def test_unknown_products_are_named():
    with pytest.raises(
        InputError, match="products: expected one of auto, events, pairs, dense, tiles"
    ):
        get_engine("fast", products="sparse")


CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
import toy
from fast_networks import convolutional, everything
from pvae_neuro.sim.fast import processor
from test_fast import assert_equal_to_reference
assert processor.level() == sys.argv[2], processor.level()
for network in (toy.lateral(latents=70), toy.predictive(), everything(), convolutional()):
    assert_equal_to_reference(network, 5, 6, 1)
    assert_equal_to_reference(network, 5, 6, 1, record="summary")
"""
LIMITS = {
    "avx2": ("haswell", "+avx2,+avx,+fma,+sse4.2,+sse4.1,+ssse3,+bmi,+bmi2,+popcnt"),
    "sse4": ("nehalem", "+sse4.2,+sse4.1,+ssse3,+popcnt"),
    "plain": ("generic", ""),
}


@pytest.mark.parametrize("level", LIMITS)
def test_limited_instructions_give_the_same_integers(level, tmp_path):
    """The code generator is told of another processor."""
    if not available(level):
        pytest.skip(f"this processor has no instructions of level {level}")
    name, features = LIMITS[level]
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(Path(__file__).parent), level],
        env={
            **os.environ,
            "NUMBA_CPU_NAME": name,
            "NUMBA_CPU_FEATURES": features,
            "NUMBA_CACHE_DIR": str(tmp_path),
        },
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
