"""Parts of experiments, on models and curves whose answers are known."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("torch", reason="experiments need torch")
pytest.importorskip("scipy", reason="fits need SciPy")

from models import random_images, random_model

from pvae_neuro.data import Images
from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.evaluate import evaluate
from pvae_neuro.evaluation.measures.responses import (
    ContrastResponse,
    circular_variance,
    fit_contrast_response,
    half_width,
    time_to_half,
)
from pvae_neuro.experiments import (
    features,
    ood,
    sample_efficiency,
    tuning,
)
from pvae_neuro.experiments.shared import gratings
from pvae_neuro.experiments.shared.claims import Verdict
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.gabor import Gabor, fit_gabor, fit_gabors
from pvae_neuro.experiments.tracking import errors
from pvae_neuro.experiments.tracking.lag import lag
from pvae_neuro.experiments.tracking.motions import Motion, motions
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path / "out", tmp_path / "models", tmp_path, budget="quick")


def digits_like(count: int, seed: int = 0, side: int = 6, width: int = 5) -> Images:
    """Images of the random model, with labels."""
    pixels = random_images(random_model(height=side, width=width), count, seed)
    labels = np.arange(count, dtype=np.int64) % 3
    return Images(pixels, labels, (side, width), 0.0, 1.0, "toy")


def settling_model():
    """The random model with steps so small that inference settles."""
    model = random_model()
    arrays = {
        **model.arrays,
        "log_step_size": np.array(-3.0, np.float32),
        "log_sigma": np.full(30, -0.5, np.float32),
        "log_bias": np.full(24, -6.0, np.float32),
    }
    return dataclasses.replace(model, arrays=arrays)


def signed_model(side: int = 8, latents: int = 24):
    """Latents of clear orientations: a dictionary of Gabor functions, inference that settles."""
    rng = np.random.default_rng(0)
    model = random_model(latents=latents, height=side, width=side, signed=True)
    atoms = [
        Gabor(0, 0, 2.0, 2.0, angle, 0.2, math.cos(phase), math.sin(phase), 1.0).image((side, side))
        for angle, phase in zip(
            np.tile(np.arange(0, 180, 30), latents // 6),
            rng.uniform(0, 2 * math.pi, latents),
            strict=True,
        )
    ]
    dictionary = 0.5 * np.stack(atoms).reshape(latents, -1).T
    arrays = {
        **model.arrays,
        "dictionary": dictionary.astype(np.float32),
        "log_sigma": np.zeros(side * side, np.float32),
    }
    config = model.config.model_copy(update={"input_low": -9.0, "input_high": 9.0})
    return dataclasses.replace(model, config=config, arrays=arrays)


# Gabor fits


@pytest.mark.parametrize("seed", range(6))
def test_a_gabor_function_is_found_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = Gabor(
        *rng.uniform(-3, 3, 2), *rng.uniform(1.6, 3.0, 2), rng.uniform(0, 180),
        rng.uniform(0.12, 0.3), *rng.normal(size=2), 1.0,
    )  # fmt: skip
    image = true.image((16, 16))
    found = fit_gabor(7.0 * image + rng.normal(0, 0.02 * image.std(), image.shape))
    assert found.explained > 0.99
    assert abs((found.orientation - true.orientation + 90) % 180 - 90) < 3
    assert found.frequency == pytest.approx(true.frequency, abs=0.01)
    assert (found.row, found.column) == pytest.approx((true.row, true.column), abs=0.3)
    assert np.allclose(found.image((16, 16)), 7.0 * image, atol=0.15 * np.abs(7.0 * image).max())


def test_explained_variance_is_what_the_image_of_the_fit_explains() -> None:
    element = np.random.default_rng(1).normal(size=(12, 10))
    found = fit_gabor(element)
    left = ((element - found.image((12, 10))) ** 2).sum()
    assert found.explained == pytest.approx(1 - left / ((element - element.mean()) ** 2).sum())
    assert found.explained < 0.3


def test_orientation_is_that_of_the_gratings() -> None:
    grating = gratings.gratings_for(
        signed_model(16), orientation=30.0, spatial_frequency=0.15, frames=1
    )
    found = fit_gabor(grating.frame(0)[0].reshape(16, 16))
    assert found.orientation == pytest.approx(30.0, abs=2)
    assert found.frequency == pytest.approx(0.15, abs=0.01)


def test_flat_and_unfit_elements() -> None:
    assert fit_gabor(np.full((8, 8), 2.0)).explained == 0
    assert len(fit_gabors(np.zeros((3, 64)), (8, 8))) == 3
    with pytest.raises(InputError, match=r"at least 4x4 finite values, got \[3, 8\]"):
        fit_gabor(np.zeros((3, 8)))


def test_bandwidth_in_octaves() -> None:
    half = math.sqrt(2 * math.log(2)) / (2 * math.pi * 3.0)
    gabor = Gabor(0, 0, 3.0, 3.0, 0, 3 * half, 1, 0, 1)
    assert gabor.bandwidth == pytest.approx(1.0)
    assert math.isinf(dataclasses.replace(gabor, frequency=half / 2).bandwidth)


# Measures of responses


def test_circular_variance_of_known_curves() -> None:
    degrees = np.arange(0, 180, 30.0)
    single, flat, none = np.eye(6)[2], np.ones(6), np.zeros(6)
    found = circular_variance(np.stack([single, flat, none]), degrees)
    assert found[:2] == pytest.approx([0, 1])
    assert math.isnan(found[2])


def test_half_width_of_a_triangle_lies_where_it_was_built() -> None:
    degrees = np.arange(0, 180, 10.0)
    distance = np.abs((degrees - 170 + 90) % 180 - 90)
    assert half_width(np.maximum(1 - distance / 40, 0), degrees) == pytest.approx(20)
    lopsided = np.where((degrees - 170) % 180 < 90, np.maximum(1 - distance / 20, 0), 0)
    # Straight lines: 10 degrees to the right, half of a step of 10 to the left.
    assert half_width(lopsided, degrees) == pytest.approx((10 + 5) / 2)
    assert half_width(np.ones(18), degrees) == 90
    assert math.isnan(half_width(np.zeros(18), degrees))


def test_contrast_response_is_found_again() -> None:
    contrasts = np.array([0, 0.06, 0.125, 0.25, 0.5, 1.0])
    true = ContrastResponse(0.1, 2.0, 1.7, 0.2, 1.0)
    found = fit_contrast_response(contrasts, true.at(contrasts))
    assert found.half_contrast == pytest.approx(0.2, rel=0.05)
    assert found.exponent == pytest.approx(1.7, rel=0.05)
    assert found.explained > 0.999
    assert fit_contrast_response(contrasts, np.ones(6)).explained == 0
    with pytest.raises(InputError, match="at least 4 contrasts"):
        fit_contrast_response(contrasts[:3], np.ones(3))


def test_time_to_half_is_read_between_iterations() -> None:
    assert time_to_half(np.array([1.0, 2.0, 3.0, 4.0, 4.0]), 0.0) == pytest.approx(2.0)
    assert time_to_half(np.array([0.0, 0.0, 4.0, 1.0]), 0.0) == pytest.approx(2.5)
    assert time_to_half(np.array([3.0, 3.0]), 1.0) == pytest.approx(0.5)
    assert math.isnan(time_to_half(np.array([1.0, 0.5]), 1.0))


def test_the_claim_of_five_times_compares_few_poisson_labels_with_many_gaussian_ones() -> None:
    poisson, gaussian = (sample_efficiency.Setting(law, 10, 8) for law in ("poisson", "gaussian"))
    claim = next(claim for claim in sample_efficiency.CLAIMS if claim.key == "five-times-10")
    figures = {f"{poisson.title}: labels_200": 0.81, f"{gaussian.title}: labels_1000": 0.80}
    assert claim.judge([figures], "hour").verdict is Verdict.REPRODUCED
    figures[f"{gaussian.title}: labels_1000"] = 0.82
    assert claim.judge([figures], "hour").verdict is Verdict.NOT_REPRODUCED
    assert claim.judge([figures], "quick").verdict is Verdict.UNDECIDED


# Moving digits


def test_carrying_over_tracks_slow_rotation_better_than_restarting(context: Context) -> None:
    model, digits = settling_model(), digits_like(12)
    motion = Motion("rotating", 1.0, 2)
    found = errors.track(context, "toy", model, digits, [motion], 40)
    figures = errors.errors(found[motion.title], motion.steps)
    assert figures["ratio"] == figures["carried"] / figures["restarted"]
    assert figures["ratio"] < 1
    # The same part is not computed again.
    kept = errors.track(context, "toy", model, digits, [motion], 40)
    assert kept == found
    assert len(list((context.out / "parts").iterdir())) == 1


def test_integers_track_as_their_float_circuit_does(context: Context) -> None:
    model, digits = settling_model(), digits_like(12)
    motion = Motion("rotating", 1.0, 3)
    network = quantize(model, digits.pixels, QuantizeConfig(topology="predictive"))
    # In two blocks, whose samples keep their places in the noise; frames reach beyond the end.
    with mock.patch.object(errors, "DIGITS_PER_BLOCK", 7):
        found = errors.track_integers(context, "toy", network, model, digits, [motion], 40)
    curves = found[motion.title]
    frames = np.stack(list(motion.feeder(digits, 40, context.seed)), axis=1)
    for key, reset in (("carried", False), ("restarted", True)):
        whole = evaluate(network, frames, steps=3, seed=context.seed, reset=reset)
        np.testing.assert_allclose(curves[key], 1 - whole.r2_mean_image[:40], rtol=1e-5)
    by_float = evaluate(model, frames, steps=3, seed=context.seed).r2_mean_image[:40]
    # In blocks of another size products round differently, and a count may be another.
    assert np.mean(curves["float"]) == pytest.approx((1 - by_float).mean(), rel=0.02)
    carried, real = (np.array(curves[key])[2::3][3:].mean() for key in ("carried", "float"))
    assert errors.distance(curves, 3) == pytest.approx(carried / real - 1)
    assert abs(errors.distance(curves, 3)) < 0.05


def test_the_lag_is_that_of_the_nearest_frame() -> None:
    frames = np.arange(40, dtype=np.float32).reshape(40, 1, 1)
    assert lag(frames, frames - np.float32(2.25)) == pytest.approx(2.25)
    assert lag(frames, frames) == 0.0


def test_errors_are_read_at_the_ends_of_frames_without_the_first_quarter() -> None:
    curve = [9, 8, 9, 4, 9, 3, 9, 2.0]
    found = errors.errors({"carried": curve, "restarted": [2 * v for v in curve]}, 2)
    assert found == {"carried": 3.0, "restarted": 6.0, "ratio": 0.5}


@pytest.mark.parametrize("motion", motions(quick=True), ids=lambda m: m.title)
def test_motions_make_frames_for_all_iterations(motion: Motion) -> None:
    feeder = motion.feeder(digits_like(3), 20, 0)
    assert len(feeder) * motion.steps >= 20
    assert feeder.steps_per_frame == motion.steps
    assert feeder.frame(len(feeder) - 1).shape == (3, 30)


# Tuning


PROTOCOL = gratings.Protocol(6, (0.1, 0.2), (0.0, 0.25, 0.5, 0.75, 1.0), 4, 1, 2, 12, 5)


@pytest.fixture
def measured(context: Context) -> dict:
    model = signed_model()
    found = tuning._orientation(context, model, PROTOCOL)
    found |= tuning._contrast(context, model, PROTOCOL, found)
    return found | tuning._latency(context, model, PROTOCOL, found)


def test_neurons_prefer_the_orientation_of_their_element(measured: dict) -> None:
    own = np.tile(np.arange(0, 180, 30), 4)[measured["neurons"]]
    difference = np.abs((np.array(measured["best_degrees"]) - own + 90) % 180 - 90)
    assert len(own) > 6
    assert np.median(difference) == 0
    assert set(measured["best_frequency"]) == {0.2}


def test_figures_and_drawing_of_the_population(measured: dict) -> None:
    figures = tuning._figures(measured)
    keys = {column.key for column in tuning._COLUMNS}
    assert figures.keys() == keys
    assert 0 < figures["circular_variance"] < 1
    assert figures["latency_1"] > 0
    assert np.shape(measured["contrast_responses"]) == (5, 5)
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    from matplotlib.figure import Figure

    figure = Figure()
    tuning._draw(figure, [measured, measured])
    assert len(figure.axes) == 6
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in figure.axes)


# Out of distribution


def test_sets_that_are_absent_are_left_out_with_the_reason(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = digits_like(9, side=28, width=28)

    def images(self, dataset, split, count=None):
        if dataset != "mnist":
            raise InputError("absent")
        return digits

    monkeypatch.setattr(Context, "images", images)
    shown = ood.read_sets(context, 5, (90.0,))
    assert list(shown.sets) == ["upright digits", "turned by 90°"]
    assert [note.split(" ")[0] for note in shown.notes] == ["Omniglot", "EMNIST", "natural"]
    turned = shown.sets["turned by 90°"].pixels.reshape(-1, 28, 28)
    upright = digits.pixels.reshape(-1, 28, 28)
    assert np.allclose(turned, np.rot90(upright, 1, (1, 2)), atol=1e-3)


def test_errors_are_shares_of_the_variance_and_classes_are_read(context: Context) -> None:
    pytest.importorskip("sklearn", reason="classification needs scikit-learn")
    model, digits = settling_model(), digits_like(30)
    shown = ood.ImageSets(
        {ood.UPRIGHT: digits, "turned by 90°": digits_like(30, 5)},
        {0.0: ood.UPRIGHT, 90.0: "turned by 90°"},
    )
    found = ood._measure(context, "toy", model, shown, digits_like(60, 3))
    figures = ood._figures(found, shown)
    assert figures["steps"] == 16 == len(found["errors"][ood.UPRIGHT])
    assert figures["upright"] == found["errors"][ood.UPRIGHT][-1] > 0
    assert found["accuracy"].keys() == {ood.UPRIGHT, "turned by 90°"}
    assert ood._panels(shown) == ["turned by 90°"]


def test_published_order_is_checked_with_the_best_encoder() -> None:
    errors = {"pvae-mlp": 0.9, "gvae-linear": 0.6, "iavae": 0.5, "savae": 0.4, "ipvae-linear": 0.3}
    figures = {name: {"turned": value} for name, value in errors.items()}
    assert ood.contenders(figures, "turned") == {
        "amortized": 0.6, "iavae": 0.5, "savae": 0.4, "ipvae-linear": 0.3,
    }  # fmt: skip

    def verdicts() -> list[bool]:
        claims = [c for c in ood.CLAIMS if c.key in ("best-turned", "order-turned")]
        found = ood._of_claims(figures)
        return [c.judge([found], "hour").verdict is Verdict.REPRODUCED for c in claims]

    assert verdicts() == [True, True]
    figures["gvae-linear"]["turned"] = 0.45
    assert verdicts() == [True, False]
    figures["ipvae-linear"]["turned"] = 0.7
    assert verdicts() == [False, False]


# Features


def test_elements_are_fitted_and_drawn(context: Context) -> None:
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    from matplotlib.figure import Figure

    model = signed_model()
    fits = features._fit(context, "toy", model)
    assert fits == features._fit(context, "toy", model)
    figures = features._gabor_figures(fits)
    assert figures["gabor"] == 1.0
    assert figures["frequency"] == pytest.approx(0.2, abs=0.02)
    judged = features._of_claims(model, fits)
    assert (judged["share of Gabor functions"], judged["all quarters"]) == (1.0, 1.0)
    figure = Figure(figsize=(9, 6), layout="constrained")
    features._draw(figure, [(random_model(), model, {"ipvae-linear": fits})] * 2)
    assert len(figure.axes) == 5
