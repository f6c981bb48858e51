"""The compiled engine equals the reference: every integer, any size, batch and thread count."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("numba", reason="the fast engine needs numba")

from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError
from pvae_neuro.sim.exact_products import FloatProduct
from pvae_neuro.sim.fast import FastEngine
from pvae_neuro.sim.fast.plan import plan_for
from pvae_neuro.sim.fast.team import set_threads, threads
from pvae_neuro.sim.reference import ReferenceEngine

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
    latents=st.sampled_from([1, 2, 15, 16, 17, 63, 64, 65, 70, 127, 128, 129, 200]),
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
    try:
        set_threads(1)
        monkeypatch.setattr("pvae_neuro.sim.fast.engine.SAMPLES_PER_BLOCK", 4)
        monkeypatch.setattr("pvae_neuro.sim.fast.engine.SECONDS_PER_CALL", 1e-9)
        pieces = FastEngine().run(network, images, 9, 4, record="full")
    finally:
        set_threads(None)
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


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), limit=st.integers(1, 1 << 20))
def test_float_products_are_exact(seed, limit):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-127, 128, (24, 16)).astype(np.int8)
    messages = rng.choice([-limit, limit, 0, limit // 3], (20, 24)).astype(np.int64)
    exact = messages @ weight.astype(np.int64)
    floats = FloatProduct(weight, limit)
    assert np.array_equal(floats(messages.astype(floats.dtype)).astype(np.int64), exact)


@pytest.mark.parametrize("limit", [127, 32_767, 32_768, 1 << 20])
def test_wide_messages_are_split_into_digits(limit):
    network = toy.predictive(latents=37, pixels=20)
    latents, errors = network.populations
    wide = replace(errors, message_limit=limit, gain=errors.gain * 64)
    network = replace(network, populations=(latents, wide))
    digits = {127: 1, 32_767: 1, 32_768: 2, 1 << 20: 2}[limit]
    assert plan_for(network).feedback.digits == digits
    assert_equal_to_reference(network, 3, 6, 5)


@pytest.mark.parametrize("weight", [-127, 127])
def test_sums_at_the_edge_of_16_bits(weight):
    """Every neuron fires at its largest count through the largest weight of one sign."""
    network = toy.lateral(latents=150, max_count=31)
    latents = network.latents
    frozen = replace(latents, initial=np.full(150, latents.u_max, np.int32), du_min=-1, du_max=1)
    (connection,) = network.connections
    full = replace(connection, weight=np.full_like(connection.weight, weight))
    network = replace(network, populations=(frozen,), connections=(full,))
    recording = assert_equal_to_reference(network, 2, 4, 3)
    assert recording.spikes.mean() > 150 * 15


def test_plain_arithmetic_gives_the_same_integers(tmp_path):
    """On a processor without AVX2, here one that numba is told of."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np, toy\n"
        "from pvae_neuro.sim.fast import FastEngine, vectors\n"
        "from pvae_neuro.sim.reference import ReferenceEngine\n"
        "assert not vectors._AVX2\n"
        "for network in (toy.lateral(latents=70), toy.predictive(latents=70)):\n"
        "    images = toy.images(network, 3)\n"
        "    ours, exact = (e().run(network, images, 20, 1, record='full')\n"
        "                   for e in (FastEngine, ReferenceEngine))\n"
        "    assert np.array_equal(ours.potentials, exact.potentials)\n"
        "    assert np.array_equal(ours.squared_error, exact.squared_error)\n"
    )
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)], env=environment, check=True,
        timeout=250,
    )  # fmt: skip


def test_thread_counts():
    with pytest.raises(InputError, match="at least 1, got 0"):
        set_threads(0)
    assert threads() >= 1


def test_missing_numba_is_named(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("pvae_neuro.sim.fast.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    import pvae_neuro.sim.fast as package

    with pytest.raises(EngineUnavailableError, match=r"pvae-neuro\[fast\]"):
        package.__getattr__("FastEngine")
