"""Lava gives the reference's integers, every count and potential of every iteration."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import toy

from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.network import Connection, Hop
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.lava import engine as lava_engine
from pvae_neuro.sim.lava.batch import Batch
from pvae_neuro.sim.lava.engine import LavaEngine
from pvae_neuro.sim.reference import ReferenceEngine

needs_lava = pytest.mark.skipif(find_spec("lava") is None, reason="lava-nc is not installed")


def assert_equal(got, expected) -> None:
    for field in fields(expected):
        np.testing.assert_array_equal(
            getattr(got, field.name), getattr(expected, field.name), err_msg=field.name
        )


def run_both(network, samples: int, steps: int, seed: int, first_sample: int = 0):
    inputs = toy.images(network, samples, seed)
    options = {"record": "full", "first_sample": first_sample}
    expected = ReferenceEngine().run(network, inputs, steps, seed, **options)
    return LavaEngine().run(network, inputs, steps, seed, **options), expected


def lateral_in_two_parts():
    """Coarse and fine connection into the same population, each with its own exponent."""
    network = toy.lateral(3)
    coarse = network.connection("lateral")
    fine = Connection("fine", "latents", "latents", coarse.weight[::-1].copy(), -2, 8)
    return replace(
        network, connections=(coarse, fine), schedule=(Hop("latents", ("lateral", "fine")),)
    )


def predictive_of_one_sign():
    """Odd mantissas of one sign: all inhibitory there, all excitatory back."""
    network = toy.predictive(4)
    weight = np.abs(network.connection("feedback").weight) | 1
    prediction = Connection("prediction", "latents", "errors", np.negative(weight.T).copy(), 4, 8)
    feedback = Connection("feedback", "errors", "latents", weight, -4, 8)
    return replace(network, connections=(prediction, feedback))


@needs_lava
@pytest.mark.parametrize("seed", [5, (1 << 64) - 1])
@pytest.mark.parametrize("make", [toy.lateral, toy.predictive])
def test_every_integer_equals_the_reference(make, seed):
    # Several samples in sequence: nothing of one may reach the next.
    assert_equal(*run_both(make(seed % 100), samples=4, steps=9, seed=seed))


@needs_lava
@pytest.mark.parametrize("make", [lateral_in_two_parts, predictive_of_one_sign])
def test_other_wirings_equal_the_reference(make):
    assert_equal(*run_both(make(), samples=2, steps=6, seed=1))


@needs_lava
def test_samples_recorded_in_blocks_and_from_a_later_first_sample(monkeypatch):
    monkeypatch.setattr(lava_engine, "Batch", partial(Batch, block_bytes=1500))
    got, expected = run_both(toy.predictive(), samples=5, steps=11, seed=2, first_sample=40)
    assert_equal(got, expected)


@needs_lava
def test_one_iteration_and_progress():
    network = toy.lateral()
    told: list[int] = []
    inputs = toy.images(network, 3)
    got = LavaEngine().run(network, inputs, 1, 0, record="last", progress=told.append)
    assert_equal(got, ReferenceEngine().run(network, inputs, 1, 0, record="last"))
    assert sum(told) == 3


@needs_lava
def test_no_samples_are_refused():
    with pytest.raises(InputError, match="N >= 1"):
        LavaEngine().run(toy.lateral(), np.empty((0, 20)), 3, 0, record="full")


@needs_lava
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"inputs": np.zeros((2, 19))}, r"expected shape \[N, 20\] with N >= 1, got \[2, 19\]"),
        ({"inputs": np.full((1, 20), np.nan)}, "finite"),
        ({"inputs": np.full((1, 20), 1.5)}, r"expected values in \[0, 1\]"),
        ({"steps": 0}, "at least 1 iteration"),
        ({"seed": -1}, "seed"),
        ({"first_sample": -1}, "first_sample"),
        ({"record": "all"}, "record"),
    ],
)
def test_wrong_arguments_are_refused_before_lava_starts(change, match, monkeypatch):
    monkeypatch.setattr(lava_engine, "Supervisor", None)
    arguments = {"inputs": np.zeros((1, 20)), "steps": 1, "seed": 0, **change}
    inputs, steps, seed = (arguments.pop(name) for name in ("inputs", "steps", "seed"))
    with pytest.raises(InputError, match=match):
        LavaEngine().run(toy.lateral(), inputs, steps, seed, **arguments)
    with pytest.raises(InputError, match="timeout"):
        LavaEngine(timeout=0)


def skipping_a_hop():
    network = toy.predictive()
    skip = Connection("skip", "latents", "latents", np.ones((12, 12), np.int8), 0, 8)
    hops = (network.schedule[0], Hop("latents", ("feedback", "skip")))
    return replace(network, connections=(*network.connections, skip), schedule=hops)


def three_at_once():
    network = toy.lateral()
    weight = network.connections[0].weight
    names = ("a", "b", "c")
    connections = tuple(Connection(n, "latents", "latents", weight, 0, 8) for n in names)
    return replace(network, connections=connections, schedule=(Hop("latents", names),))


def ending_elsewhere():
    network = toy.predictive()
    return replace(network, schedule=network.schedule[::-1])


def too_large_a_message(limit: int):
    network = toy.predictive()
    latents, errors = network.populations
    return replace(network, populations=(latents, replace(errors, message_limit=limit)))


@needs_lava
@pytest.mark.parametrize(
    ("network", "match"),
    [
        (skipping_a_hop(), "'skip' must start at 'errors'"),
        (three_at_once(), "1 or 2 connections per hop"),
        (ending_elsewhere(), "'latents' of the last"),
        (too_large_a_message(1 << 23), r"below 2\*\*23"),
        (too_large_a_message((1 << 23) - 1), "'feedback' can reach .* overflows"),
    ],
)
def test_networks_that_lava_cannot_carry_are_refused(network, match):
    with pytest.raises(NetworkError, match=match):
        LavaEngine().run(network, toy.images(network, 1), 1, 0)


def test_found_by_name():
    assert get_engine("lava").name == "lava"
    assert get_engine("loihi2").name == "loihi2"
