"""The three tiers: each passes on a sound network and fails on a faulty one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import toy
from faulty_engines import NoiseWordChanged, OneStepLate, WeightOffByOne
from models import random_images, random_model

from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.evaluate import evaluate
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import Measurements
from pvae_neuro.sim.compare import compare, computing_order
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification.against_float import Tolerances
from pvae_neuro.verification.verify import verify

MODEL = random_model()
IMAGES = random_images(MODEL, 40)


class Second(ReferenceEngine):
    """The reference under another name."""

    name = "second"


class WrongSeed(ReferenceEngine):
    """The reference under another seed."""

    name = "wrong seed"

    def run_block(self, block):
        return super().run_block(replace(block, seed=block.seed + 1))


class WrongMessage(ReferenceEngine):
    """Records one message of the error neurons off by one; nothing follows from it."""

    name = "wrong message"

    def run_block(self, block):
        result = super().run_block(block)
        result.variables["errors.m"][3, 5, 7] += 1
        return result


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
    neurons = 2 * 24 + (30 if topology == "predictive" else 0)
    assert pair.compared_integers == 40 * neurons * 21 and pair.differing_integers == 0
    assert {stage for stage, _, _ in told} == {"reference", "second", "float"}
    assert [t for t in told if t[0] == "second"][-1][1:] == (800, 800)
    result = report.to_dict()
    assert result["passed"] is True and result["pairs"][0]["first_divergence"] is None
    assert report.traces.counts_integer.shape == (8, 20, 24)


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
@pytest.mark.parametrize(
    "engine", [WeightOffByOne(), NoiseWordChanged(), OneStepLate(), WrongSeed()]
)
def test_faulty_engine_is_found_and_placed(engine, topology):
    network = network_of(topology)
    report = verify(network, MODEL, IMAGES, steps=20, engines=["reference", engine])
    assert not report.passed
    (pair,) = report.pairs
    found = pair.first_divergence
    runs = [e.run(network, IMAGES, 20, 0, record="full") for e in (ReferenceEngine(), engine)]
    left, right = (run[f"{found.population}.{found.variable}"] for run in runs)
    place = found.sample, found.step, found.neuron
    assert (left[place], right[place]) == (found.a, found.b) and found.a != found.b
    for name in network.variables:
        assert np.array_equal(*(run[name][:, : found.step] for run in runs))
    assert f"{found.population}.{found.variable}" in report.failures()[0]
    assert f"iteration {found.step + 1}" in report.failures()[0]


def test_messages_are_compared_too():
    network = network_of("predictive")
    report = verify(network, None, IMAGES[:8], steps=9, engines=["reference", WrongMessage()])
    (pair,) = report.pairs
    found = pair.first_divergence
    assert pair.differing_integers == 1
    assert (found.population, found.variable) == ("errors", "m")
    assert (found.step, found.sample, found.neuron, found.b - found.a) == (5, 3, 7, 1)


def test_samples_of_later_blocks_keep_their_numbers(monkeypatch):
    monkeypatch.setattr("pvae_neuro.verification.verify.BLOCK_BYTES", 1)
    network = network_of("predictive")
    report = verify(network, MODEL, IMAGES[:3], steps=4, engines=["reference", WrongSeed()])
    whole = network_of("predictive")
    monkeypatch.undo()
    together = verify(whole, MODEL, IMAGES[:3], steps=4, engines=["reference", WrongSeed()])
    assert report.pairs[0].differing_integers == together.pairs[0].differing_integers
    one, other = report.float_result, together.float_result
    # Sums of float32 products may round differently in blocks of another size.
    assert np.allclose(one.mse_float, other.mse_float, rtol=1e-4)
    assert np.array_equal(one.mse_integer, other.mse_integer)


def test_of_two_differences_in_a_step_the_first_computed_is_named():
    network = toy.predictive()
    run = ReferenceEngine().run(network, toy.images(network, 2), 4, 0, record="full")
    changed = {name: values.copy() for name, values in run.variables.items()}
    for name in ("latents.u", "errors.m"):
        changed[name][1, 2, 3] += 1
    changed["latents.z"][1, 3, 3] += 1
    found = compare(network, run.variables, changed, first_sample=10)
    assert (found.differing, found.first.variable, found.first.sample) == (3, "m", 11)
    assert compare(network, run.variables, run.variables).first is None
    with pytest.raises(InputError, match="the same variables"):
        compare(network, run.variables, {})
    with pytest.raises(InputError, match="one shape"):
        short = {name: values[:, :2] for name, values in run.variables.items()}
        compare(network, run.variables, short)


def test_variables_in_the_order_in_which_they_are_computed():
    assert computing_order(toy.predictive()) == ["latents.z", "errors.m", "latents.u"]
    assert computing_order(toy.lateral()) == ["latents.z", "latents.u"]


def test_coarse_weights_fail_the_float_tier_unless_measured_so():
    coarse = network_of("predictive", 2)
    report = verify(coarse, MODEL, IMAGES, steps=20, engines=["reference"])
    assert not report.passed and "integer against float" in report.failures()[0]
    wide = replace(coarse, measurements=Measurements(mse_percent=1e4, agreement=0.0))
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


def test_a_network_that_no_model_was_lowered_to_has_no_float_tier():
    network = toy.lateral()
    images = toy.images(network, 3)
    report = verify(network, None, images, steps=3, engines=["reference", Second()])
    assert report.passed and report.float_result is None and report.traces is None
    with pytest.raises(InputError, match="no float circuit to compare it with"):
        verify(network, MODEL, images, steps=3, engines=["reference"])


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
    by_integer = evaluate(network, IMAGES, steps=12, engine="reference")
    by_float = evaluate(MODEL, IMAGES, steps=12)
    assert np.allclose(by_integer.mse, report.float_result.mse_integer)
    assert np.allclose(by_float.mse, report.float_result.mse_float, rtol=1e-5)
    assert np.allclose(by_integer.zeros, report.float_result.zeros_integer)
    assert np.allclose(by_float.zeros, report.float_result.zeros_float)
    variance = ((IMAGES - IMAGES.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert np.allclose(by_float.r2_mean_image, 1 - by_float.mse / variance, atol=1e-6)
    assert by_integer.to_dict()["final"]["mse"] == by_integer.mse[-1]


def test_evaluate_refuses_what_it_would_have_to_ignore():
    with pytest.raises(InputError, match=r"runs on no engine, .* got the engine 'reference'"):
        evaluate(MODEL, IMAGES, steps=2, engine="reference")
    with pytest.raises(InputError, match=r"expected values in \[0, 1\]"):
        evaluate(MODEL, IMAGES * 255, steps=2)
    with pytest.raises(InputError, match="finite"):
        evaluate(MODEL, np.full_like(IMAGES, np.nan), steps=2)
    with pytest.raises(InputError, match="steps: expected 1 to"):
        evaluate(MODEL, IMAGES, steps=0)
    with pytest.raises(InputError, match=r"seed: expected a whole number, got 1\.5"):
        evaluate(MODEL, IMAGES, steps=2, seed=1.5)


def test_evaluate_needs_a_readout():
    network = replace(toy.lateral(), readout=None)
    with pytest.raises(InputError, match="has no readout to evaluate"):
        evaluate(network, toy.images(network, 2), steps=2, engine="reference")


def test_a_sum_of_squared_errors_beyond_64_bits_is_still_right(monkeypatch):
    network = toy.lateral()
    images = toy.images(network, 3)
    recording = ReferenceEngine().run(network, images, 2, 0)
    large = replace(recording, squared_error=np.full((3, 2), (1 << 62) + 1))

    class Large(ReferenceEngine):
        def run(self, *arguments, **options):
            return large

    mse = evaluate(network, images, steps=2, engine=Large()).mse
    assert np.allclose(mse, 2.0**62 * recording.error_unit)


def test_evaluate_imports_no_scheduler():
    code = (
        "import sys, pvae_neuro.evaluation.evaluate\n"
        "assert not [m for m in sys.modules if m.startswith(('dask', 'distributed', 'torch',"
        " 'pvae_neuro.cluster'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
