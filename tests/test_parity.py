"""The three tiers: each passes on a sound network and fails on a faulty one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from models import random_images, random_model

from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.evaluate import evaluate
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import Choice
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification.against_float import DECLARED_AGREEMENT, DECLARED_MSE, Tolerances
from pvae_neuro.verification.verify import verify

MODEL = random_model()
IMAGES = random_images(MODEL, 40)


class Second(ReferenceEngine):
    """The reference under another name."""

    name = "second"


class Faulty(ReferenceEngine):
    """The reference on a network with one weight off by one."""

    name = "faulty"

    def run(self, network, inputs, steps, seed, **options):
        connection = network.connections[0]
        weight = connection.weight.copy()
        weight[np.unravel_index(np.argmax(weight == weight.min()), weight.shape)] += 1
        broken = (replace(connection, weight=weight), *network.connections[1:])
        return super().run(replace(network, connections=broken), inputs, steps, seed, **options)


class WrongNoise(ReferenceEngine):
    """The reference under another seed."""

    name = "wrong noise"

    def run(self, network, inputs, steps, seed, **options):
        return super().run(network, inputs, steps, seed + 1, **options)


def network_of(topology, bits=8):
    return quantize(MODEL, IMAGES, QuantizeConfig(topology, bits))


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_sound_network_passes_all_tiers(topology):
    told = []
    report = verify(
        network_of(topology),
        MODEL,
        IMAGES,
        steps=20,
        engines=["reference", Second()],
        tolerances=Tolerances(5.0, 2.0, 0.95),
        progress=lambda *args: told.append(args),
    )
    assert report.passed, report.failures()
    (pair,) = report.pairs
    assert pair.compared_integers == 40 * 24 * (20 + 21) and pair.differing_integers == 0
    assert {stage for stage, _, _ in told} == {"reference", "second", "float"}
    assert [t for t in told if t[0] == "second"][-1][1:] == (800, 800)
    result = report.to_dict()
    assert result["passed"] is True and result["pairs"][0]["first_divergence"] is None
    assert report.traces.counts_integer.shape == (8, 20, 24)


@pytest.mark.parametrize("engine", [Faulty(), WrongNoise()])
def test_faulty_engine_is_found_and_placed(engine):
    report = verify(network_of("lateral"), MODEL, IMAGES, steps=20, engines=["reference", engine])
    assert not report.passed
    (pair,) = report.pairs
    found = pair.first_divergence
    network = network_of("lateral")
    runs = [e.run(network, IMAGES, 20, 0, record="full") for e in (ReferenceEngine(), engine)]
    left, right = (getattr(run, found.quantity) for run in runs)
    assert left[found.sample, found.step, found.neuron] == found.a
    assert right[found.sample, found.step, found.neuron] == found.b
    assert np.array_equal(left[:, : found.step], right[:, : found.step])
    assert "latents" in report.failures()[0] and f"step {found.step}" in report.failures()[0]


def test_coarse_weights_fail_the_float_tier_unless_declared():
    coarse = network_of("predictive", 2)
    report = verify(coarse, MODEL, IMAGES, steps=20, engines=["reference"])
    assert not report.passed and "integer against float" in report.failures()[0]
    declared = (Choice(DECLARED_MSE, 1e4, "test"), Choice(DECLARED_AGREEMENT, 0.0, "test"))
    wide = replace(coarse, choices=declared)
    bounds = verify(wide, MODEL, IMAGES, steps=20, engines=["reference"]).float_result.bounds
    assert bounds.mse_percent >= 1e4 and bounds.agreement <= 0.0


def test_float_tier_fails_on_another_model():
    report = verify(
        network_of("lateral"), random_model(seed=5), IMAGES, steps=10, engines=["reference"]
    )
    assert not report.float_result.passed


def test_without_a_model_there_is_no_float_tier():
    report = verify(network_of("lateral"), None, IMAGES, steps=3, engines=["reference", Second()])
    assert report.passed and report.to_dict()["float_against_integer"] is None


def test_refuses_nothing_to_compare():
    with pytest.raises(InputError, match="at least one image"):
        verify(network_of("lateral"), MODEL, IMAGES[:0])


def test_refuses_a_model_of_another_size():
    model, other = random_model(), random_model(latents=20)
    images = random_images(model, 4)
    network = quantize(model, images, QuantizeConfig())
    with pytest.raises(InputError, match="24 latents, got one with 30 and 20"):
        verify(network, other, images, engines=["reference"])


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_evaluate_agrees_with_verify(topology):
    network = network_of(topology)
    report = verify(network, MODEL, IMAGES, steps=12, engines=["reference"])
    by_integer = evaluate(network, IMAGES, steps=12)
    by_float = evaluate(MODEL, IMAGES, steps=12)
    assert np.allclose(by_integer.mse, report.float_result.mse_integer)
    assert np.allclose(by_float.mse, report.float_result.mse_float, rtol=1e-5)
    assert np.allclose(by_integer.zeros, report.float_result.zeros_integer)
    assert np.allclose(by_float.zeros, report.float_result.zeros_float)
    variance = ((IMAGES - IMAGES.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert np.allclose(by_float.r2, 1 - by_float.mse / variance, atol=1e-6)
    assert by_integer.to_dict()["final"]["mse"] == by_integer.mse[-1]
