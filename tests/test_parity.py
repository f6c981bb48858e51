"""The three tiers: each passes on a sound network and fails on a faulty one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import toy
from faulty_engines import NoiseWordChanged, OneStepLate, WeightOffByOne
from models import random_images, random_model, sound_images, sound_model

from pvae_neuro.cli.shared.tables import evaluation_table
from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.evaluate import evaluate
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import Measurements
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.compare import compare, computing_order
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.utils.json_text import json_text
from pvae_neuro.verification.against_float import MOST_SEEDS, Distance, Tolerances, _errors
from pvae_neuro.verification.verify import verify

MODEL = sound_model()
IMAGES = sound_images(128)
# Enough for comparisons of integers.
FEW = IMAGES[:8]


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
        result.variables["errors.m"][3:4, 5:6, 7] += 1  # Nothing in a run of one image.
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
        progress=lambda *args: told.append(args),
    )
    assert report.passed and report.outcome == "passed", report.failures
    assert report.failures == () == report.warnings
    (pair,) = report.pairs
    neurons = 2 * 24 + (30 if topology == "predictive" else 0)
    assert pair.compared_integers == 128 * neurons * 21 and pair.differing_integers == 0
    assert {"reference", "second", "float"} <= {stage for stage, _, _ in told}
    assert [t for t in told if t[0] == "second"][-1][1:] == (128 * 20, 128 * 20)
    assert report.network.name == topology == report.topology
    assert report.certificate.total_variation == report.total_variation > 0
    result = report.to_dict()
    assert result["passed"] is True and result["pairs"][0]["first_divergence"] is None
    assert report.traces.counts_integer.shape == (8, 20, 24)


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
@pytest.mark.parametrize(
    "engine", [WeightOffByOne(), NoiseWordChanged(), OneStepLate(), WrongSeed()]
)
def test_faulty_engine_is_found_and_placed(engine, topology):
    network = network_of(topology)
    report = verify(network, None, FEW, steps=20, engines=["reference", engine])
    assert report.outcome == "failed"
    (pair,) = report.pairs
    found = pair.first_divergence
    runs = [e.run(network, FEW, 20, 0, record="full") for e in (ReferenceEngine(), engine)]
    left, right = (run[f"{found.population}.{found.variable}"] for run in runs)
    place = found.sample, found.step, found.neuron
    assert (left[place], right[place]) == (found.a, found.b) and found.a != found.b
    for name in network.variables:
        assert np.array_equal(*(run[name][:, : found.step] for run in runs))
    assert f"{found.population}.{found.variable}" in report.failures[0]
    assert f"iteration {found.step + 1}" in report.failures[0]


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
    assert one.seeds == other.seeds
    # Sums of float32 products may round differently in blocks of another size.
    assert np.allclose(one.by_float.mse, other.by_float.mse, rtol=1e-4)
    assert np.allclose(one.by_integer.mse, other.by_integer.mse, rtol=1e-12)


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


@pytest.mark.parametrize("declared", [None, 1.0, 1e30])
def test_coarse_weights_fail_whatever_the_file_declares(declared):
    coarse = replace(
        network_of("predictive", 2),
        measurements=Measurements(mse_percent=declared, zeros_points=declared, agreement=0.0),
    )
    report = verify(coarse, MODEL, IMAGES, steps=20, engines=["reference"])
    assert report.outcome == ("within-declared" if declared == 1e30 else "failed")
    assert not report.passed and report.float_result.mse.tolerance == 1.0
    assert report.failures[0].startswith("integer against float: MSE +")
    assert ("the file declares of itself" in report.failures[0]) == (declared == 1e30)
    assert report.to_dict()["outcome"] == report.outcome


def test_tolerances_are_those_that_are_given():
    coarse = network_of("predictive", 2)
    wide = verify(
        coarse, MODEL, IMAGES, steps=20, engines=["reference"], tolerances=Tolerances(100.0, 10.0)
    )
    assert wide.outcome == "passed" and wide.float_result.seeds == 1
    for wrong in (-1.0, float("nan"), float("inf"), "1", True, None):
        with pytest.raises(InputError, match="Tolerances: mse_percent: expected a"):
            Tolerances(wrong)


def test_a_network_that_its_file_makes_worse_than_declared_fails():
    """What is declared counts for the distance that it is of, and for no other failure."""
    coarse = replace(
        network_of("predictive", 2),
        measurements=Measurements(mse_percent=1e30, zeros_points=1e30),
    )
    engines = ["reference", WrongMessage()]
    report = verify(coarse, MODEL, IMAGES, steps=20, engines=engines)
    assert report.outcome == "failed"
    assert "reference against wrong message" in report.failures[0]


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_a_model_that_explains_nothing_fails(topology):
    arrays = {**MODEL.arrays, "dictionary": MODEL.arrays["dictionary"] * 1e-3}
    dead = SavedModel(MODEL.config, arrays)
    network = quantize(dead, IMAGES, QuantizeConfig(topology))
    report = verify(network, dead, IMAGES, steps=20, engines=["reference"])
    assert report.float_result.passed and report.outcome == "failed"
    assert "the network explains nothing of these images" in report.failures[0]
    assert any("R² about the mean image is -" in line for line in report.warnings)
    # Without its float model too.
    alone = verify(network, None, FEW, steps=20, engines=["reference", Second()])
    assert alone.outcome == "failed" and alone.float_result is None
    assert alone.figures.r2_mean_image[-1] < 0.05


def test_silence_and_counts_at_the_cap_are_warned_of():
    quiet = {**MODEL.arrays, "initial_potential": np.full(24, -5.0, np.float32)}
    quiet["log_step_size"] = np.array(-9.0, np.float32)
    network = quantize(SavedModel(MODEL.config, quiet), IMAGES, QuantizeConfig("predictive"))
    report = verify(network, None, FEW, steps=4, engines=["reference"])
    assert report.figures.zeros[-1] > 0.98
    assert any("% of all neurons are silent" in line for line in report.warnings)
    assert report.held == 0.0


def test_a_cap_that_is_too_low_is_warned_of():
    capped = quantize(MODEL, IMAGES, QuantizeConfig("predictive", max_count=1))
    report = verify(capped, MODEL, IMAGES, steps=20, engines=["reference"])
    run = ReferenceEngine().run(capped, IMAGES, 20, 0)
    top = capped.ranges.log_rates["latents"].largest
    assert (
        report.held == pytest.approx((run.last["latents.u"] >= top).mean()) and report.held > 0.01
    )
    assert report.figures.capped[-1] == pytest.approx((run.readout == 1).mean())
    beyond, at, held = (line for line in report.warnings if "1, the largest count;" in line)
    assert "of the float model's counts reach" in beyond
    assert "of all counts are at" in at
    assert "of all neurons are at the largest log-rate" in held
    fine = verify(network_of("predictive"), MODEL, FEW, steps=20, engines=["reference"])
    assert fine.warnings == ()


def test_a_single_image_and_images_that_do_not_differ_decide_nothing():
    network = network_of("predictive")
    one = verify(network, MODEL, IMAGES[:1], steps=20, engines=["reference"])
    assert one.outcome == "undecided" and one.float_result.seeds == 1
    assert "a single image says nothing of others" in one.failures[0]
    assert np.isnan(one.figures.r2_mean_image).all() and not np.isnan(one.figures.r2).any()
    alike = np.repeat(IMAGES[:1], 64, axis=0)
    same = verify(network, MODEL, alike, steps=20, engines=["reference"])
    assert same.outcome == "undecided"
    assert any("images do not differ from each other" in line for line in same.failures)


def test_few_images_are_undecided_and_told_how_many_would_do():
    coarse = network_of("predictive", 4)
    report = verify(coarse, MODEL, IMAGES[:6], steps=20, engines=["reference"])
    result = report.float_result
    assert report.outcome == "undecided" and not report.passed and result.seeds >= 8
    (line,) = (line for line in report.failures if "MSE" in line)
    assert "over 6 images" in line and "is not known to within 0.5 %" in line
    assert "give about" in line


@pytest.mark.parametrize("passes", [True, False])
def test_every_seed_goes_into_the_figures(passes, monkeypatch):
    """Against the sums written out, with as many seeds as it takes."""
    monkeypatch.setattr("pvae_neuro.verification.verify.SAMPLES_PER_BLOCK", 17)
    network = network_of("predictive")
    # A resolution that takes some seeds, and one that none reach.
    tolerances = Tolerances(0.7 if passes else 1e-3, 10.0)
    images = IMAGES[:64]
    report = verify(
        network, MODEL, images, steps=20, seed=5, engines=["reference"], tolerances=tolerances
    )
    result = report.float_result
    assert result.seeds > 1
    runs = [
        (evaluate(network, images, steps=20, seed=5 + s, engine="reference"),
         evaluate(MODEL, images, steps=20, seed=5 + s))
        for s in range(result.seeds)
    ]  # fmt: skip
    for name in ("mse", "r2", "r2_mean_image", "zeros"):
        ours, theirs = np.mean([[getattr(e, name) for e in pair] for pair in runs], axis=0)
        assert np.allclose(getattr(result.by_integer, name), ours, rtol=1e-10), name
        # Lateral and predictive circuits of one model differ by rounding of float32 alone.
        assert np.allclose(getattr(result.by_float, name), theirs, rtol=1e-3), name
    assert result.mse_errors.shape == (20,)
    assert result.mse_errors[-1] == pytest.approx(result.mse.error)
    ratio = result.by_integer.mse[-1] / result.by_float.mse[-1]
    assert result.mse.value == pytest.approx(100 * (ratio - 1))
    if passes:
        assert result.mse.margin <= 0.35 and 1 < result.seeds < MOST_SEEDS
    else:
        assert report.outcome in ("failed", "undecided")


def test_seeds_wanted_are_those_after_which_the_error_suffices():
    """For values with so much spread of the images and so much of the seeds, after s seeds."""
    for fixed, varying, seeds in ((0.0, 1.0, 1), (0.0, 1.0, 5), (0.01, 1.0, 5), (0.0, 1.0, 63)):
        error = np.sqrt(fixed + varying / seeds)
        least = np.sqrt(fixed + varying / MOST_SEEDS) if seeds > 1 else 0.0
        # Known when three standard errors are half of the tolerance: after 40 seeds.
        tolerance = 6 * np.sqrt(fixed + varying / 40)
        distance = Distance("MSE", " %", 0.0, error, least, tolerance, two_sided=False)
        # One more is always to come where it is not yet known; rounding may ask for one more.
        assert distance.seeds_wanted(seeds) in {max(40, seeds + 1), max(41, seeds + 1)}
    for tolerance in (0.0, 1e-300, 0.1):
        distance = Distance("MSE", " %", 0.0, 1.0, 0.9, tolerance, two_sided=False)
        assert distance.seeds_wanted(5) == MOST_SEEDS


@pytest.mark.parametrize("tolerance", [0.0, 5e-324, 1e-300, 1e-3])
def test_a_tolerance_that_no_number_of_images_reaches_is_said_to_be_one(tolerance):
    report = verify(
        quantize(MODEL, IMAGES), MODEL, IMAGES[:8], steps=4, engines=["reference"],
        tolerances=Tolerances(tolerance, 100.0),
    )  # fmt: skip
    assert report.outcome in ("failed", "undecided")
    for line in report.failures:
        assert "give about" not in line


def test_standard_errors_are_over_images_of_means_over_seeds():
    rng = np.random.default_rng(0)
    images, seeds, own, noise = 400, 16, 3.0, 8.0
    values = rng.normal(0, own, images) + rng.normal(0, noise, (seeds, images))
    now, best = _errors(values)
    assert now == pytest.approx(values.mean(axis=0).std(ddof=1) / 20)
    # Relative error of a variance of n values: sqrt(2 / n) = .07 over 400 images; five of these.
    assert now**2 == pytest.approx((own**2 + noise**2 / seeds) / images, rel=0.36)
    assert best**2 == pytest.approx((own**2 + noise**2 / MOST_SEEDS) / images, rel=0.5)
    assert _errors(values[:, :1]) == (np.inf, np.inf)
    # Seeds taken for independent observations would say a fifth of this.
    assert values.std() / np.sqrt(values.size) < now / 1.5


@pytest.mark.parametrize(
    ("value", "error", "two_sided", "failed", "undecided"),
    [
        (0.9, 0.1, False, False, False),
        (1.1, 0.1, False, True, False),
        (1.1, 0.2, False, False, True),
        (600.0, 50.0, False, True, False),
        (0.0, 0.2, False, False, True),
        (-50.0, 0.1, False, False, False),
        (-50.0, 0.1, True, True, False),
        (-50.0, 5.0, False, False, True),
        (np.inf, 0.0, False, True, False),
        (np.nan, 0.0, False, True, False),
        (np.nan, np.nan, False, True, False),
        (2.0, np.inf, False, False, True),
    ],
)
def test_a_distance_is_judged_where_it_is_known(value, error, two_sided, failed, undecided):
    distance = Distance("MSE", " %", value, error, error, 1.0, two_sided)
    assert (distance.failed, distance.undecided) == (failed, undecided)
    assert not distance.within(None)


def test_float_tier_fails_on_another_model():
    arrays = {**MODEL.arrays, "dictionary": MODEL.arrays["dictionary"][:, ::-1].copy()}
    other = SavedModel(MODEL.config, arrays)
    report = verify(network_of("lateral"), other, IMAGES, steps=20, engines=["reference"])
    assert not report.float_result.passed


def test_without_a_model_there_is_no_float_tier():
    engines = ["reference", Second()]
    report = verify(network_of("lateral"), None, IMAGES, steps=20, engines=engines)
    assert report.passed and report.to_dict()["float_against_integer"] is None


def test_a_network_that_no_model_was_lowered_to_has_no_float_tier():
    network = toy.lateral()
    images = toy.images(network, 3)
    report = verify(network, None, images, steps=3, engines=["reference", Second()])
    assert report.passed and report.float_result is None and report.traces is None
    with pytest.raises(InputError, match="no float circuit to compare it with"):
        verify(network, MODEL, images, steps=3, engines=["reference"])


def test_refuses_nothing_to_compare():
    with pytest.raises(InputError, match="N >= 1, got"):
        verify(network_of("lateral"), MODEL, IMAGES[:0])
    with pytest.raises(InputError, match="at least one engine"):
        verify(network_of("lateral"), MODEL, IMAGES, engines=[])


def test_refuses_a_model_of_another_size():
    model, other = random_model(), random_model(latents=20)
    images = random_images(model, 4)
    network = quantize(model, images, QuantizeConfig())
    with pytest.raises(InputError, match="24 latents, got one with 30 and 20"):
        verify(network, other, images, engines=["reference"])


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_evaluate_agrees_with_verify(topology):
    network, wide = network_of(topology), Tolerances(100.0, 100.0)
    report = verify(network, MODEL, IMAGES, steps=12, engines=["reference"], tolerances=wide)
    result = report.float_result
    assert result.seeds == 1
    by_integer = evaluate(network, IMAGES, steps=12, engine="reference")
    by_float = evaluate(MODEL, IMAGES, steps=12)
    assert np.allclose(by_integer.mse, result.by_integer.mse)
    assert np.allclose(by_float.mse, result.by_float.mse, rtol=1e-3)
    assert np.allclose(by_integer.zeros, result.by_integer.zeros)
    assert np.allclose(by_float.zeros, result.by_float.zeros, atol=1e-3)
    variance = ((IMAGES - IMAGES.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert np.allclose(by_float.r2_mean_image, 1 - by_float.mse / variance, atol=1e-6)
    assert by_integer.to_dict()["final"]["mse"] == by_integer.mse[-1]


def test_both_kinds_of_r2_are_what_they_say():
    network = network_of("predictive")
    images = np.concatenate([IMAGES[:9], np.full((1, 30), np.float32(0.1))])
    run = ReferenceEngine().run(network, images, 12, 0)
    squared = ((images - run.reconstruction) ** 2).sum(axis=1, dtype=np.float64)
    found = evaluate(network, images, steps=12, engine="reference")
    # Encoded pixels have 12 fractional bits: each error moves by at most 2 * 2**-13 * |error|.
    own = images[:9].var(axis=1, dtype=np.float64) * 30
    assert found.r2[-1] == pytest.approx((1 - squared[:9] / own).mean(), abs=5e-3)
    about_mean = images.var(axis=0, dtype=np.float64).sum()
    assert found.r2_mean_image[-1] == pytest.approx(1 - squared.mean() / about_mean, abs=5e-3)


def test_r2_that_is_not_defined_is_null_and_a_dash():
    network = network_of("predictive")
    flat = np.full((3, 30), np.float32(0.1))
    for subject in (network, MODEL):
        none = evaluate(subject, flat, steps=2)
        assert np.isnan([*none.r2, *none.r2_mean_image]).all()
        one = evaluate(subject, IMAGES[:1], steps=2)
        assert np.isnan(one.r2_mean_image).all() and np.isfinite(one.r2).all()
    final = json.loads(json_text(one.to_dict()))["final"]
    assert final["r2_mean_image"] is None and final["r2"] == one.r2[-1]
    cells = evaluation_table(one).columns[3].cells
    assert [str(cell) for cell in cells] == ["–", "–"]


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
