"""The engine, on Lava itself: the reference's integers, whatever is recorded and however many."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import toy
from test_lava_network import leaky

from pvae_neuro.errors import EngineError, InputError
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import Activation, Population, Sampler, Variable, shared
from pvae_neuro.network.random import random_inputs, random_network
from pvae_neuro.neurons.poisson import FIRE
from pvae_neuro.sim import recording
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.lava import engine as lava_engine
from pvae_neuro.sim.lava.engine import LavaEngine, even_width
from pvae_neuro.sim.lava.exchange import Job
from pvae_neuro.sim.noise import LARGEST_INDEX
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.zoo import load_pretrained, sample_digits

needs_lava = pytest.mark.skipif(find_spec("lava") is None, reason="lava-nc is not installed")


def assert_equals_reference(network, inputs, steps, seed, batch=1, **options):
    options = {"record": "full", **options}
    got = LavaEngine(batch=batch).run(network, inputs, steps, seed, **options)
    options.pop("progress", None)
    expected = ReferenceEngine().run(network, inputs, steps, seed, **options)
    for name in (f.name for f in fields(recording.Recording)):
        found, right = getattr(got, name), getattr(expected, name)
        if isinstance(right, dict):
            assert list(found) == list(right)
            for variable, values in right.items():
                np.testing.assert_array_equal(found[variable], values, err_msg=variable)
        else:
            np.testing.assert_array_equal(found, right, err_msg=name)


@needs_lava
@pytest.mark.parametrize(("circuit", "batch"), [("lateral", 1), ("predictive", 3)])
def test_the_shipped_model(circuit, batch):
    digits = sample_digits()[0]
    network = quantize(load_pretrained(), digits, QuantizeConfig(topology=circuit))
    # Several samples in sequence, the last pass not full: nothing of one may reach the next.
    far = LARGEST_INDEX - 3
    assert_equals_reference(network, digits[:4], 5, (1 << 64) - 1, batch, first_sample=far)


@needs_lava
def test_a_random_network_and_its_progress():
    # All kinds of connections; its frames change in time, and its files come in several pieces.
    rng = np.random.default_rng(70)
    network = random_network(rng, large_counts=False)
    told: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lava_engine, "Job", partial(Job, piece_bytes=1))
        inputs = random_inputs(network, rng, 3, 2)
        assert_equals_reference(network, inputs, 4, 7, progress=told.append)
    assert sum(told) == 3 * 2 * 4


@needs_lava
def test_a_users_neuron_and_a_part_that_nothing_joins():
    network = leaky()
    alone = Population(
        "alone", 3, (Variable("u", shared(9)), Variable("z", shared(0))), (), (FIRE,),
        Sampler(15, 12, stream=4),
    )  # fmt: skip
    network = replace(
        network,
        populations=(*network.populations, alone),
        iteration=(Activation("alone", "fire"), *network.iteration),
    )
    inputs = np.random.default_rng(0).random((2, 5))
    assert_equals_reference(network, inputs, 6, 1, batch=2, record=["alone.z", "cells.v"])


def test_no_samples_are_refused():
    if find_spec("lava") is None:
        pytest.skip("lava-nc is not installed")
    with pytest.raises(InputError, match="N >= 1"):
        LavaEngine().run(toy.lateral(), np.empty((0, 20)), 3, 0, record="full")


@needs_lava
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"inputs": np.zeros((2, 19))},
            r"expected shape \[N, 20\] or \[N, 4, 5\] with N >= 1, got \[2, 19\]",
        ),
        ({"inputs": np.full((1, 20), 1.5)}, r"expected values in \[0, 1\]"),
        ({"steps": 0}, "steps"),
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


@needs_lava
def test_a_network_that_lava_cannot_carry_is_refused(monkeypatch):
    monkeypatch.setattr(lava_engine, "Supervisor", None)
    monkeypatch.setattr(lava_engine, "lacking", lambda _: ["lava: something is too large"])
    with pytest.raises(EngineError, match="something is too large"):
        LavaEngine().run(toy.lateral(), np.zeros((1, 20)), 1, 0)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_timeout_is_positive(timeout):
    with pytest.raises(InputError, match="timeout: expected a positive number"):
        LavaEngine(timeout=timeout)


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "8"])
def test_batch_is_a_number_of_samples(batch):
    with pytest.raises(InputError, match="batch: expected"):
        LavaEngine(batch=batch)


@pytest.mark.parametrize(
    ("samples", "most", "width"), [(7, 3, 3), (9, 8, 5), (64, 64, 64), (65, 64, 33), (1, 8, 1)]
)
def test_passes_are_filled_evenly(samples, most, width):
    assert even_width(samples, most) == width


def test_pieces_hold_whole_passes():
    network = toy.predictive()
    dtypes = {"latents.u": "int32", "latents.z": "uint8", "errors.m": "int16"}
    job = Job(
        "", network, 0, 0, 0, samples=19, frames=1, iterations=5, record=("latents.z",),
        dtypes=dtypes, width=3, piece_bytes=1150,
    )  # fmt: skip
    assert [(list(job.rows(p)), job.passes(p)) for p in range(job.pieces)] == [
        ([*range(6)], 2),
        ([*range(6, 12)], 2),
        ([*range(12, 18)], 2),
        ([18], 1),
    ]


def test_summaries_of_parts_are_those_of_the_whole(monkeypatch):
    network = toy.predictive()
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 16, (7, 5, 12)).astype(np.uint8)
    x = rng.integers(-4096, 4096, (7, 20)).astype(np.int32)
    expected = ReferenceEngine().summarize(network, x, counts, counts)
    monkeypatch.setattr(lava_engine, "SUMMARY_VALUES", 320)
    for got, right in zip(
        LavaEngine().summarize(network, x, counts, counts), expected, strict=True
    ):
        np.testing.assert_array_equal(got, right)


def test_found_by_name():
    assert get_engine("lava").name == "lava"
    assert get_engine("loihi2").name == "loihi2"
