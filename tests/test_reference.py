"""The definition, checked by hand-made circuits and against a scalar rewrite."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from pvae_neuro.errors import InputError
from pvae_neuro.network import shift
from pvae_neuro.sim.engine import engine_names, get_engine
from pvae_neuro.sim.noise import words
from pvae_neuro.sim.reference import ReferenceEngine, drive

NETWORKS = [toy.lateral(), toy.predictive(), toy.predictive(latents=7, pixels=8, max_count=31)]


def scalar_count(table, u: int, word: int) -> int:
    dither = (word & ((1 << table.dither_bits) - 1)) << (table.row_bits - table.dither_bits)
    row = (u - table.u_min + dither) >> table.row_bits
    return sum(word > int(t) for t in table.threshold[row])


def scalar_shift(value: int, exponent: int) -> int:
    return value << exponent if exponent >= 0 else (value + (1 << (-exponent - 1))) >> -exponent


def scalar_run(network, image, steps, seed, sample):
    """One sample with Python integers and loops only, written from the docstrings."""
    p = network.latents
    x = [int(v) for v in network.input.encode(image)]
    driven = [0] * p.size
    if network.drive is not None:
        d = network.drive
        for k in range(p.size):
            total = sum(int(d.weight[k, m]) * x[m] for m in range(len(x)))
            driven[k] = max(-d.limit, min(d.limit, scalar_shift(total, -d.shift)))
    u = [int(v) for v in p.initial]
    counts, potentials = [], []
    for step in range(steps + 1):
        noise = words(seed, step, sample, p.size)
        z = [scalar_count(p.table, u[k], int(noise[k])) for k in range(p.size)]
        emitted = {p.name: z}
        for hop in network.schedule:
            target = network.population(hop.target)
            received = [0] * target.size
            for name in hop.connections:
                c = network.connection(name)
                source = emitted[c.source]
                for i in range(target.size):
                    total = sum(int(c.weight[i, j]) * source[j] for j in range(len(source)))
                    received[i] += scalar_shift(total, c.exponent)
            if hop.target != p.name:
                limit = target.message_limit
                emitted[hop.target] = [
                    max(-limit, min(limit, scalar_shift(
                        (x[i] + received[i]) * int(target.gain[i]), -target.gain_shift)))
                    for i in range(target.size)
                ]  # fmt: skip
            else:
                for k in range(p.size):
                    du = driven[k] - int(p.leak[k]) - int(p.diagonal[k]) * z[k] + received[k]
                    u[k] = max(p.u_min, min(p.u_max, u[k] + max(p.du_min, min(p.du_max, du))))
        counts.append(list(z))
        potentials.append(list(u))
    return np.array(counts), np.array(potentials[:-1])


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.topology)
def test_equals_a_scalar_rewrite(network):
    images = toy.images(network, 3)
    recording = ReferenceEngine().run(network, images, 6, seed=5, record="full", first_sample=9)
    for sample, image in enumerate(images):
        counts, potentials = scalar_run(network, image, 6, 5, 9 + sample)
        assert np.array_equal(recording.counts[sample], counts[:-1])
        assert np.array_equal(recording.readout[sample], counts[-1])
        assert np.array_equal(recording.potentials[sample], potentials)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.topology)
def test_samples_do_not_depend_on_their_batch(network):
    images = toy.images(network, 70)
    together = ReferenceEngine().run(network, images, 4, 1, record="full")
    alone = ReferenceEngine().run(network, images[66:68], 4, 1, record="full", first_sample=66)
    assert np.array_equal(together.counts[66:68], alone.counts)
    assert np.array_equal(together.potentials[66:68], alone.potentials)


def test_longer_runs_extend_shorter_ones():
    network = toy.lateral()
    images = toy.images(network, 2)
    short = ReferenceEngine().run(network, images, 3, 1, record="full")
    long = ReferenceEngine().run(network, images, 6, 1, record="full")
    assert np.array_equal(long.counts[:, :3], short.counts)
    assert np.array_equal(long.counts[:, 3], short.readout)


def test_summaries_follow_from_the_trajectory():
    network = toy.predictive()
    images = toy.images(network, 4)
    full = ReferenceEngine().run(network, images, 5, 2, record="full")
    summary = ReferenceEngine().run(network, images, 5, 2, record="summary")
    assert summary.counts is None and summary.potentials is None
    assert np.array_equal(summary.spikes, full.counts.sum(axis=2))
    assert np.array_equal(summary.active, (full.counts > 0).sum(axis=2))
    assert np.array_equal(summary.saturated, (full.counts == 15).sum(axis=2))
    encoded = network.input.encode(images) / 4096.0
    error = ((encoded - full.reconstruction) ** 2).sum(axis=1)
    assert np.allclose(summary.squared_error[:, -1] * summary.error_unit, error)
    last = ReferenceEngine().run(network, images, 5, 2, record="last")
    assert last.spikes is None and np.array_equal(last.final, full.potentials[:, -1])


def test_progress_counts_every_image_iteration():
    network = toy.lateral()
    told: list[int] = []
    ReferenceEngine().run(network, toy.images(network, 70), 3, 0, progress=told.append)
    assert sum(told) == 70 * 3


def test_states_stay_within_their_clamps():
    network = toy.lateral(latents=30)
    recording = ReferenceEngine().run(network, toy.images(network, 8), 40, 0, record="full")
    latents = network.latents
    assert recording.potentials.min() >= latents.u_min
    assert recording.potentials.max() <= latents.u_max


def test_drive_saturates():
    network = toy.lateral()
    small = replace(network, drive=replace(network.drive, limit=5))
    values = drive(small, small.input.encode(toy.images(small, 9)))
    assert values.min() == -5 or values.max() == 5


@settings(max_examples=100, deadline=None)
@given(value=st.integers(-(1 << 40), 1 << 40), exponent=st.integers(-20, 20))
def test_shift_rounds_half_up(value, exponent):
    exact = value * 2.0**exponent
    assert shift(np.array([value]), exponent)[0] == np.floor(exact + 0.5 * (exponent < 0))


def test_bad_calls_are_named():
    network = toy.lateral()
    with pytest.raises(InputError, match="at least 1 iteration"):
        ReferenceEngine().run(network, toy.images(network, 1), 0, 0)
    with pytest.raises(InputError, match="record"):
        ReferenceEngine().run(network, toy.images(network, 1), 1, 0, record="all")
    with pytest.raises(InputError, match="engine"):
        get_engine("nonesuch")
    assert {"reference", "onnx", "lava", "loihi2"} <= set(engine_names())


def test_long_trajectories_go_to_disk_and_leave_no_file(monkeypatch, tmp_path):
    monkeypatch.setattr("pvae_neuro.sim.trajectory.IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    network = toy.lateral()
    images = toy.images(network, 6)
    streamed = ReferenceEngine().run(network, images, 30, 0, record="full")
    assert isinstance(streamed.counts, np.memmap) and not list(tmp_path.iterdir())
    monkeypatch.setattr("pvae_neuro.sim.trajectory.IN_MEMORY_BYTES", 1 << 30)
    in_memory = ReferenceEngine().run(network, images, 30, 0, record="full")
    assert np.array_equal(streamed.counts, in_memory.counts)
    assert np.array_equal(streamed.potentials, in_memory.potentials)


def test_a_trajectory_that_does_not_fit_is_refused(monkeypatch, tmp_path):
    from pvae_neuro.sim.trajectory import trajectory_array

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(InputError, match="--record summary"):
        trajectory_array((1 << 20, 1 << 20, 1 << 10), np.int32)
    assert not list(tmp_path.iterdir())
