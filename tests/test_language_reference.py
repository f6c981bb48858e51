"""The reference engine against a scalar interpreter in Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from language_tools import Scalar, scalar_frames, small_network

from pvae_neuro.network.random import random_inputs, random_network
from pvae_neuro.sim.engine import encode_frames, get_engine

ITERATIONS, SAMPLES = 3, 2


def assert_equal_to_scalar(network, images, seed):
    recording = get_engine("reference").run(network, images, ITERATIONS, seed, record="full")
    x = encode_frames(network, images)
    steps = x.shape[1] * ITERATIONS + 1
    for sample in range(len(x)):
        scalar = Scalar(network, seed, sample, steps)
        states = scalar.run(scalar_frames(network, x[sample]), ITERATIONS)
        for name in network.variables:
            expected = np.array([state[name] for state in states])
            assert np.array_equal(recording[name][sample], expected), name
            assert np.array_equal(recording.last[name][sample], expected[-1]), name


def test_small_network():
    network = small_network()
    images = random_inputs(network, np.random.default_rng(1), SAMPLES)
    assert_equal_to_scalar(network, images, 5)


@pytest.mark.parametrize("seed", range(15))
def test_random_networks(seed):
    frames = (None, 1, 2)[seed % 3]
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    assert_equal_to_scalar(network, random_inputs(network, rng, SAMPLES, frames), seed)


@pytest.mark.parametrize("frames", [2, 3])
def test_frames_run_on_without_reset(frames):
    network = small_network()
    rng = np.random.default_rng(frames)
    still = random_inputs(network, rng, 1)
    repeated = np.repeat(still[:, None], frames, axis=1)
    engine = get_engine("reference")
    a = engine.run(network, still, 2 * frames, 1, record="full")
    b = engine.run(network, repeated, 2, 1, record="full")
    assert all(np.array_equal(a[name], b[name]) for name in network.variables)
