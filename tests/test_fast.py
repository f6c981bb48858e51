"""The compiled engine equals the reference: every integer, any size, batch and thread count."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

nb = pytest.importorskip("numba", reason="the fast engine needs numba")

from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError  # noqa: E402
from pvae_neuro.sim.fast import FastEngine  # noqa: E402
from pvae_neuro.sim.fast.plan import plan_for  # noqa: E402
from pvae_neuro.sim.fast.products import (  # noqa: E402
    FloatProduct,
    SplitProduct,
    balanced_digits,
    digits_needed,
)
from pvae_neuro.sim.reference import ReferenceEngine  # noqa: E402

FIELDS = (
    "readout", "final", "reconstruction", "spikes", "active", "saturated", "squared_error",
    "counts", "potentials",
)  # fmt: skip


def assert_equal_to_reference(network, samples, steps, seed, first_sample=0, record="full"):
    images = toy.images(network, samples, seed % 1000)
    options = {"record": record, "first_sample": first_sample}
    ours = FastEngine().run(network, images, steps, seed, **options)
    exact = ReferenceEngine().run(network, images, steps, seed, **options)
    for name in FIELDS:
        left, right = getattr(ours, name), getattr(exact, name)
        assert (left is None) == (right is None), name
        assert left is None or (left.dtype == right.dtype and np.array_equal(left, right)), name
    return ours


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from([toy.lateral, toy.predictive]),
    latents=st.integers(1, 70),
    pixels=st.sampled_from([4, 8, 20, 36, 100]),
    bits=st.integers(2, 8),
    max_count=st.sampled_from([1, 3, 15, 31]),
    samples=st.integers(1, 9),
    steps=st.integers(1, 12),
    seed=st.integers(0, 2**64 - 1),
    first_sample=st.integers(0, 2**31),
)
def test_equal_to_reference(
    kind, latents, pixels, bits, max_count, samples, steps, seed, first_sample
):
    network = kind(seed % 97, latents, pixels, max_count, bits)
    assert_equal_to_reference(network, samples, steps, seed, first_sample)


@pytest.mark.parametrize("kind", [toy.lateral, toy.predictive])
@pytest.mark.parametrize("activity", ["none", "one", "all"])
def test_extremes_of_activity(kind, activity):
    network = kind(latents=40)
    latents = network.latents
    initial = np.full(40, latents.u_min if activity != "all" else latents.u_max, np.int32)
    if activity == "one":
        initial[17] = latents.u_max
    frozen = replace(latents, initial=initial, du_min=-1, du_max=1)
    network = replace(network, populations=(frozen, *network.populations[1:]))
    recording = assert_equal_to_reference(network, 5, 6, 1)
    mean_active = recording.active.mean()
    assert {"none": mean_active < 1, "one": mean_active < 3, "all": mean_active > 39}[activity]


@pytest.mark.parametrize("kind", [toy.lateral, toy.predictive])
def test_any_number_of_threads_and_blocks(kind, monkeypatch):
    network = kind(latents=33)
    images = toy.images(network, 21)
    whole = FastEngine().run(network, images, 9, 4, record="full")
    before = nb.get_num_threads()
    try:
        nb.set_num_threads(1)
        monkeypatch.setattr("pvae_neuro.sim.fast.engine.SAMPLES_PER_BLOCK", 4)
        monkeypatch.setattr("pvae_neuro.sim.fast.engine.SECONDS_PER_CALL", 1e-9)
        pieces = FastEngine().run(network, images, 9, 4, record="full")
    finally:
        nb.set_num_threads(before)
    assert all(np.array_equal(getattr(whole, f), getattr(pieces, f)) for f in FIELDS)


@pytest.mark.parametrize("kind", [toy.lateral, toy.predictive])
@pytest.mark.parametrize("record", ["last", "summary"])
def test_records(kind, record):
    assert_equal_to_reference(kind(), 3, 5, 2, record=record)


def test_several_recurrent_connections_with_their_exponents():
    network = toy.lateral()
    (coarse,) = network.connections
    fine = replace(coarse, name="fine", weight=coarse.weight[::-1].copy(), exponent=-2)
    network = replace(
        network,
        connections=(coarse, fine),
        schedule=(replace(network.schedule[0], connections=("lateral", "fine")),),
    )
    assert_equal_to_reference(network, 4, 8, 3)


def test_progress_and_plan_reuse():
    network = toy.lateral()
    told: list[int] = []
    FastEngine().run(network, toy.images(network, 5), 7, 0, progress=told.append)
    assert sum(told) == 35
    assert plan_for(network) is plan_for(network)


def test_refuses_what_it_cannot_do_exactly():
    network = toy.predictive()
    wide = replace(network.connections[0], exponent=24)
    with pytest.raises(EngineError, match="beyond 32 bits"):
        plan_for(replace(network, connections=(wide, network.connections[1])))
    with pytest.raises(InputError, match="record"):
        FastEngine().run(network, toy.images(network, 1), 1, 0, record="everything")
    with pytest.raises(InputError, match="expected values in"):
        FastEngine().run(network, toy.images(network, 1) + 5, 1, 0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), limit=st.integers(1, 1 << 20))
def test_products_are_exact(seed, limit):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-127, 128, (24, 16)).astype(np.int8)
    messages = rng.choice([-limit, limit, 0, limit // 3], (20, 24)).astype(np.int64)
    exact = messages @ weight.astype(np.int64)
    floats = FloatProduct(weight, limit)
    assert np.array_equal(floats(messages.astype(floats.dtype)).astype(np.int64), exact)
    digits = balanced_digits(messages, digits_needed(limit))
    assert np.array_equal(
        sum(d.astype(np.int64) << (8 * k) for k, d in enumerate(digits)), messages
    )


def test_byte_products_are_exact():
    pytest.importorskip("torch", reason="byte products run on torch")
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (64, 40)).astype(np.int8)
    messages = rng.integers(-15_000, 15_001, (32, 64)).astype(np.int32)
    product = SplitProduct(weight, 15_000)
    assert np.array_equal(product(messages), messages.astype(np.int64) @ weight.astype(np.int64))


def test_missing_numba_is_named(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("pvae_neuro.sim.fast.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    import pvae_neuro.sim.fast as package

    with pytest.raises(EngineUnavailableError, match=r"pvae-neuro\[fast\]"):
        package.__getattr__("FastEngine")
