"""Whole experiments with random images and trainings of one batch; what they share."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pvae_neuro.data import Images
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.experiments import (
    amortization_gap,
    codes,
    convergence,
    elbo,
    hierarchy,
    mnist_frontier,
    mnist_objective,
    mnist_order,
    mnist_table,
    non_stationary,
    posterior,
    rate_distortion,
    sample_efficiency,
    shipped,
)
from pvae_neuro.experiments.levels import completion, counts, samples
from pvae_neuro.experiments.shared import (
    along,
    families,
    integers,
    measures,
    published,
    recipes,
)
from pvae_neuro.experiments.shared.budget import BUDGETS
from pvae_neuro.experiments.shared.claims import Claim, Verdict
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.result import ExperimentResult
from pvae_neuro.experiments.shared.summary import ExperimentSummary as Summary
from pvae_neuro.experiments.tracking.motions import UNITS, Motion
from pvae_neuro.models.registry import model_entry, names_of_task
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.training.config import TrainConfig
from pvae_neuro.zoo import load_pretrained

pytest.importorskip("sklearn", reason="needs scikit-learn")
pytest.importorskip("matplotlib", reason="draws figures")


@dataclass
class _Small(Context):
    """Random images and trainings of one batch, whatever an experiment asks for."""

    budget: str = "quick"
    tested: int = 40

    def images(self, dataset: str, split: str, count: int | None = None) -> Images:
        side = 28 if dataset == "mnist" else 16
        random = np.random.default_rng([side, split == "train"])
        low = 0.0 if dataset == "mnist" else -1.0
        count = 100 if split == "train" else self.tested
        pixels = random.uniform(low, 1.0, (count, side * side)).astype(np.float32)
        labels = np.arange(count) % 10 if dataset == "mnist" else None
        return Images(pixels, labels, (side, side), low, 1.0, dataset)

    def trained(
        self, key: str, images: Images, config: TrainConfig, start: SavedModel | None = None
    ) -> SavedModel:
        small = {"latents": 8, "steps": 2, "epochs": 1, "batch_size": 40, "windows": 1}
        return super().trained(key, images, config.model_copy(update=small), start)


@pytest.fixture
def context(tmp_path: Path) -> _Small:
    quiet = Console(quiet=True)
    return _Small(tmp_path / "out", tmp_path / "models", tmp_path, console=quiet)


def _written(context: Context, result: ExperimentResult, claims: tuple[Claim, ...]) -> Summary:
    """Files of two seeds that found the same."""
    summary = Summary(context.budget, [0, 1], [(0.1, 0.1)] * 2, [result, result], claims)
    summary.write(context.out)
    names = {"result.json", "result.csv", "result.md", "figure.svg", "figure.png"}
    assert names <= {path.name for path in context.out.iterdir()}
    found = json.loads((context.out / "result.json").read_text())
    assert [claim["verdict"] for claim in found["claims"]] == [
        finding.verdict.value for finding in summary.findings.values()
    ]
    return summary


def _unmeasured(summary: Summary) -> set[str]:
    """Claims whose figures are missing."""
    return {key for key, found in summary.findings.items() if "not measured" in found.ours}


def test_convergence_reads_the_published_moments(context, monkeypatch):
    monkeypatch.setattr(convergence, "TIMES", (7, 15))
    monkeypatch.setattr(convergence, "NONLINEAR", ("ipvae-mlp",))
    result = convergence.run(context)
    summary = _written(context, result, convergence.CLAIMS)
    rows = {row.name: row for row in result.rows}
    assert rows["ipvae-linear, t = 15"].published == {"r2": 0.708, "zeros": 0.369, "change": 1.085}
    assert set(rows) == {
        *(f"{name}, t = {time}" for name in convergence.ON_PATCHES for time in (7, 15)),
        "ipvae-mlp, t = 1", "ipvae-mlp, t = 15",
    }  # fmt: skip
    curves = result.curves["ipvae-linear"]
    assert rows["ipvae-linear, t = 7"].figures["mse"] == curves["mse"][7]
    assert len(curves["zeros"]) == 16
    figures = result.figures
    assert figures["ipvae-linear: MSE at the horizon"] == curves["mse"][1]
    assert figures["ipvae-linear: MSE at the end"] == curves["mse"][15]
    # The moments and the decoder that were left out above.
    assert _unmeasured(summary) == {"sparser-iP", "beyond-the-horizon-ipvae-conv"}


def test_a_stopped_experiment_continues_with_its_parts(context, monkeypatch):
    monkeypatch.setattr(convergence, "TIMES", (3,))
    monkeypatch.setattr(convergence, "NONLINEAR", ())
    first = convergence.run(context)
    monkeypatch.setattr(Context, "infer", _refuse)
    assert convergence.run(context).curves == first.curves


def _refuse(*_args: object, **_settings: object) -> None:
    pytest.fail("inferred again")


def test_mnist_table_has_a_row_for_every_model(context, monkeypatch):
    names = ("ipvae-linear", "igvae", "pc")
    monkeypatch.setattr(mnist_table, "names_of_task", lambda task: names)
    monkeypatch.setattr(mnist_table, "SHIPPED_STEPS", 2)
    result = mnist_table.run(context)
    summary = _written(context, result, mnist_table.CLAIMS)
    rows = {row.name: row for row in result.rows}
    assert list(rows) == [*names, "shipped model"]
    for row in result.rows:
        assert row.figures["mse_pixel"] * 784 == pytest.approx(row.figures["mse"])
        assert 0.0 <= row.figures["zeros"] <= 1.0
    assert 0.0 <= rows["ipvae-linear"].figures["accuracy"] <= 1.0
    assert rows["shipped model"].published["mse"] == 3.439
    # Sizes are those of the published architecture, not those of the small model trained here.
    assert rows["ipvae-linear"].figures["parameters"] == 403_217
    assert summary.findings["parameters-igvae"].verdict is Verdict.REPRODUCED
    left_out = {
        f"{kind}-{name}"
        for kind in ("parameters", "figures")
        for name in {*published.MNIST_TABLE} - {*names}
    }
    assert _unmeasured(summary) == left_out


def test_the_shipped_model_and_its_integers_are_measured_alike(context, monkeypatch):
    monkeypatch.setattr(shipped, "TIMES", (2, 8))
    monkeypatch.setattr(shipped, "LAST", 8)
    monkeypatch.setattr(shipped, "CIRCUITS", ("predictive",))
    result = shipped.run(context)
    _written(context, result, shipped.CLAIMS)
    rows = {row.name: row.figures for row in result.rows}
    assert list(rows) == ["float, t = 2", "float, t = 8", "integers, predictive, t = 8"]
    real, integers = rows["float, t = 8"], rows["integers, predictive, t = 8"]
    # Other words, few digits: alike, not equal.
    for key in ("mse", "r2", "zeros", "lifetime"):
        assert integers[key] == pytest.approx(real[key], rel=0.3), key
    assert rows["float, t = 2"]["mse"] > real["mse"]
    # What was inferred is gone once its figures are there.
    assert not list((context.out / "codes").rglob("*.npz"))
    monkeypatch.setattr(along, "codes_along", _refuse)
    assert [row.figures for row in shipped.run(context).rows] == list(rows.values())


def test_two_objectives_are_read_alike(context, monkeypatch):
    monkeypatch.setattr(mnist_objective, "TIMES", (2, 8))
    monkeypatch.setattr(mnist_objective, "LAST", 8)
    # The shipped model has other sizes than those trained here.
    monkeypatch.setattr(mnist_objective, "load_pretrained", lambda: None)
    result = mnist_objective.run(context)
    summary = _written(context, result, mnist_objective.CLAIMS)
    rows = {row.name: row for row in result.rows}
    assert list(rows) == [
        f"{name}, t = {time}" for name in mnist_objective.OBJECTIVES for time in (2, 8)
    ]
    assert rows["published objective, t = 8"].published["mse"] == 3.439
    assert not rows["published objective, t = 2"].published
    # The claims name the row after 1,000 iterations, which is not here.
    assert _unmeasured(summary) == {claim.key for claim in mnist_objective.CLAIMS}


def test_the_order_of_errors_has_a_row_for_each_family(context, monkeypatch):
    monkeypatch.setattr(mnist_order, "LAST", 4)
    context.budget = "hour"
    result = mnist_order.run(context)
    summary = _written(context, result, mnist_order.CLAIMS)
    assert [row.name for row in result.rows] == list(mnist_order.ORDER)
    assert [len(curve) for curve in result.curves.values()] == [4, 4, 4, 1]
    first = result.rows[0].figures
    assert first["mse"] == result.curves["ipvae-linear"][-1]
    assert first["mse_trained"] == result.curves["ipvae-linear"][1]
    assert not _unmeasured(summary)


def test_bands_widen_with_the_variance_of_pixels(context, monkeypatch):
    monkeypatch.setattr(posterior, "iterations_of", lambda *_given: 4)
    result = posterior.run(context)
    summary = _written(context, result, posterior.CLAIMS)
    assert not _unmeasured(summary)
    names = [name for pair in posterior.PAIRS.values() for name in pair]
    assert [row.name for row in result.rows] == [*names, posterior.SHIPPED, posterior.INTEGERS]
    for row in result.rows:
        curves = result.curves[row.name]
        assert row.figures["width"] < row.figures["width_observed"]
        assert all(np.diff(curves[key]).min() >= 0 for key in curves)
        gap = np.abs(np.array(curves["alone"]) - posterior.LEVELS).mean()
        assert row.figures["gap"] == pytest.approx(gap)


def test_a_stopped_measurement_goes_on_with_its_parts(context, monkeypatch):
    model = load_pretrained()
    images = context.images("mnist", "test", 30)
    monkeypatch.setattr(along, "_IMAGES_PER_PART", 250)
    inferred = along.codes_along
    calls = []

    def stopping(*args, **settings):
        calls.append(settings["first_sample"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return inferred(*args, **settings)

    monkeypatch.setattr(along, "codes_along", stopping)
    with pytest.raises(KeyboardInterrupt):
        along.along_inference(context, "stopped", model, (2,), images, images)
    found = along.along_inference(context, "stopped", model, (2,), images, images)
    # The first part of the training images was not inferred again.
    assert calls == [0, 0, 0]
    whole = along.along_inference(context, "whole", model, (2,), images, images)
    assert found == whole


def test_rate_distortion_compares_at_equal_zeros(context, monkeypatch):
    Setting = rate_distortion.Setting
    sweep = [
        Setting("ipvae-linear", 1.0, steps=16, windows=8),
        Setting("igvae-relu", 1.0, steps=16),
        Setting("pvae-linear", 1.0),
        *(Setting("lca", penalty) for penalty in (0.01, 0.5)),
        Setting("lca", 0.5, signed=True),
    ]
    monkeypatch.setitem(rate_distortion.SWEEPS, "quick", sweep)
    monkeypatch.setattr(rate_distortion, "_QUICK_STEPS", 40)
    result = rate_distortion.run(context)
    summary = _written(context, result, rate_distortion.CLAIMS)
    figures = {row.name: row.figures for row in result.rows}
    strong = figures["lca, λ = 0.5"]
    assert figures["lca, λ = 0.01"]["zeros"] < strong["zeros"]
    assert strong["distance"] == pytest.approx(math.hypot(1 - strong["r2"], 1 - strong["zeros"]))
    assert strong["r2_peak"] >= strong["r2"]
    published_row = next(row for row in result.rows if row.name == "lca, λ = 0.5")
    assert published_row.published["r2"] == 0.826
    assert not next(row for row in result.rows if "either sign" in row.name).published
    assert len(result.curves["lca, λ = 0.5"]["zeros"]) == len([1, 2, 4, 8, 16, 32])
    # One setting spans no zeros but its own, so curves share none; one window was left out.
    claims = {claim.key for claim in rate_distortion.CLAIMS}
    assert _unmeasured(summary) == claims - {"best-distance-windows"}


def test_leads_are_those_where_curves_overlap():
    def lead(*curves):
        return min(rate_distortion.leads(*curves))

    ours, theirs = [(0.7, 0.9), (0.82, 0.84)], [(0.78, 0.8), (0.9, 0.68)]
    # They share zeros from .78 to .82, along which ours falls by .5 and theirs by 1 per zero.
    assert lead(ours, theirs) == pytest.approx(0.86 - 0.8)
    assert lead(theirs, ours) == pytest.approx(0.76 - 0.84)
    assert rate_distortion.leads([(0.5, 0.9), (0.7, 0.8)], theirs) == []


@pytest.mark.parametrize("name", BUDGETS)
def test_sweeps_hold_what_claims_compare(name):
    sweep = rate_distortion.SWEEPS[name]
    assert len({setting.title for setting in sweep}) == len(sweep)
    curves = {setting.curve for setting in sweep}
    assert {rate_distortion.PAPER, rate_distortion.EXTENSION, "lca", "igvae-relu"} <= {
        *curves, *(setting.family for setting in sweep)
    }  # fmt: skip
    assert name == BUDGETS[0] or rate_distortion.Setting("ipvae-linear", 24.0, 16) in sweep


def test_the_frontier_gives_recipes_the_same_time(context, monkeypatch):
    monkeypatch.setattr(mnist_frontier, "HELD_OUT", 20)
    monkeypatch.setattr(
        mnist_frontier, "_SHARED", {"steps": 2, "windows": 2, "batch_size": 40, "beta": 4.0}
    )
    recipes = [*mnist_frontier._by_beta("free", 4.0), *mnist_frontier._by_target(0.5, 0.8)]
    monkeypatch.setattr(mnist_frontier, "_QUICK", recipes)
    result = mnist_frontier.run(context)
    summary = _written(context, result, mnist_frontier.CLAIMS)
    assert [row.name for row in result.rows] == [one.name for one in recipes]
    assert all(row.figures["milliseconds"] > 0 for row in result.rows)
    assert set(summary.findings) == {claim.key for claim in mnist_frontier.CLAIMS}
    # A second run reads the measured times again.
    monkeypatch.setattr(Context, "infer", _refuse)
    assert mnist_frontier.run(context).rows == result.rows


@pytest.mark.parametrize(("count", "batches"), [(100, 3), (100, 7), (40, 0)])
def test_batches_become_passes_over_images(context, monkeypatch, count, batches):
    seen = []
    monkeypatch.setattr(
        Context, "trained", lambda _, key, images, config, start: seen.append((images, config))
    )
    images = Images(np.zeros((count, 4), np.float32), None, (2, 2), 0.0, 1.0, "blank")
    plain = Context(context.out, context.models, context.data_root)
    config = TrainConfig(batch_size=20)
    recipes.trained_for(plain, "blank", images, config, batches)
    ((part, found),) = seen
    done = found.epochs * (len(part.pixels) // 20)
    assert max(1, batches - found.epochs) <= done <= max(1, batches)


def test_elbo_reads_every_way(context):
    result = elbo.run(context)
    summary = _written(context, result, elbo.CLAIMS)
    assert _unmeasured(summary) == set()
    rows = {row.name: row for row in result.rows}
    assert set(rows) == set(elbo.WAYS)
    assert rows["Gaussian"].published == {"nelbo": 40.7, "active": 0.027}
    for row in result.rows:
        assert row.figures["nelbo"] == pytest.approx(row.figures["error"] + row.figures["kl"])


def test_sample_efficiency_reads_pixels_codes_and_samples(context, monkeypatch):
    def told(codes, labels, *, counts, draws, seed, advance):
        return {
            count: [codes.shape[1] / 1000] * (1 if count == 5000 else draws) for count in counts
        }

    monkeypatch.setattr(sample_efficiency, "neighbour_accuracies", told)
    monkeypatch.setattr(sample_efficiency, "shattering_dimension", lambda *codes, advance: 0.75)
    context.budget = "hour"
    chosen = [setting for setting in sample_efficiency.settings(context) if setting.longest]
    monkeypatch.setattr(sample_efficiency, "settings", lambda context: chosen[:2])
    result = sample_efficiency.run(context)
    summary = _written(context, result, sample_efficiency.CLAIMS)
    rows = {row.name: row for row in result.rows}
    poisson, gaussian = "Poisson VAE, K = 10", "Gaussian VAE, K = 10"
    assert set(rows) == {"pixels", poisson, gaussian}
    assert rows["pixels"].figures["labels_200"] == pytest.approx(0.784)
    assert rows[poisson].figures["sampled_1000"] == pytest.approx(0.008)
    assert rows[poisson].published["labels_200"] == 0.815
    assert _unmeasured(summary) == {
        *(f"{key}-{latents}" for key in ("five-times", "level", "baseline", "shattering")
          for latents in (50, 100)),
    }  # fmt: skip


def test_moving_digits_are_tracked_by_floats_and_integers(context, monkeypatch):
    tried = [Motion(kind, 1.0, 1) for kind in UNITS]
    monkeypatch.setattr(non_stationary, "motions", lambda quick: tried)
    context.tested = 4
    result = non_stationary.run(context)
    summary = _written(context, result, non_stationary.CLAIMS)
    assert not _unmeasured(summary)
    ours = ["ipvae-linear", *map(non_stationary.integers, integers.CIRCUITS)]
    names = [*ours, "igvae", "pvae-linear"]
    rows = {row.name: row.figures for row in result.rows}
    assert list(rows) == [f"{name}, {motion.title}" for name in names for motion in tried]
    # Lags are of the first model and its integers, behind rotations.
    assert [name for name in rows if "lag" in rows[name]] == [
        f"{name}, {tried[0].title}" for name in ours
    ]
    assert {rows[f"pvae-linear, {motion.title}"]["ratio"] for motion in tried} == {1.0}


def test_amortization_gap_keeps_one_dictionary(context):
    result = amortization_gap.run(context)
    _written(context, result, amortization_gap.CLAIMS)
    ways = {row.name.split(",")[0] for row in result.rows}
    assert ways == {"encoder", "iterative Poisson", "LCA", "rectified Gaussian encoder"}
    dictionary = amortization_gap.dictionary_of(amortization_gap.encoder_model(context, 1.0))
    images = amortization_gap.patches_of(context, "train", None)
    around = amortization_gap.poisson_on(context, images, dictionary, 8.0)
    np.testing.assert_array_equal(around.dictionary, dictionary)
    sparse = amortization_gap.lca_on(dictionary, 0.1, 1.0)
    norms = np.linalg.norm(sparse.arrays["dictionary"], axis=0)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-5)


def test_codes_are_cut_to_what_counts_cost(context, monkeypatch):
    monkeypatch.setattr(codes, "LABELS", 20)
    monkeypatch.setattr(codes, "DRAWS", 2)
    result = codes.run(context)
    summary = _written(context, result, codes.CLAIMS)
    assert not _unmeasured(summary)
    rows = {row.name: row.figures for row in result.rows}
    for poisson, gaussian in codes.PAIRS.values():
        counts = rows[f"{poisson}, {codes.COUNTS}"]
        for code in (codes.SAMPLE, codes.MEANS):
            cut = {way: rows[f"{gaussian}, {code}, {way}"] for way in codes._CUTS}
            assert cut[codes.ZEROS]["zeros"] == pytest.approx(counts["zeros"], abs=0.01)
            assert cut[codes.BITS]["bits"] <= counts["bits"]
            sent = pytest.approx(min(counts["spikes"], 8), abs=0.1)
            assert cut[codes.SPIKES]["events"] == sent
            assert "bits" not in rows[f"{gaussian}, {code}"]
        assert rows[f"{poisson}, {codes.RATES}, {codes.BITS}"]["bits"] <= counts["bits"]
    assert rows["shipped model in integers"]["spikes"] > 0
    assert (counts["circuits"], rows["igvae, means"]["circuits"]) == (2, 0)


def test_dictionary_is_what_the_decoder_adds(context):
    model = amortization_gap.encoder_model(context, 1.0)
    stored = model.arrays["decoder.dictionary"]
    np.testing.assert_array_equal(amortization_gap.dictionary_of(model), stored)


def test_lca_on_a_correlated_dictionary_settles():
    random = np.random.default_rng(0)
    base = random.normal(size=(16, 1))
    dictionary = (base + 0.1 * random.normal(size=(16, 64))).astype(np.float32)
    inputs = random.normal(size=(8, 16)).astype(np.float32)
    trace = infer(amortization_gap.lca_on(dictionary, 0.1, 4.0), inputs, 400)
    # With the usual step of 0.1 potentials of such similar atoms would oscillate ever more.
    assert trace.change.max() == trace.change[0]
    assert trace.change[-1] < 0.1 * trace.change[0]
    assert trace.mse[-1] < trace.mse[0]


def test_recipes_name_families_and_settings_that_exist(context, monkeypatch):
    asked: list[TrainConfig] = []
    monkeypatch.setattr(
        _Small, "trained", lambda self, key, images, config, start=None: asked.append(config)
    )
    names = names_of_task("reconstruct")
    for context.budget in ("quick", "published"):
        for name in names:
            recipes.mnist_model(context, name)
    assert [config.model for config in asked] == 2 * list(names)
    own = {*recipes._SHORT_MNIST_OF, *recipes._PUBLISHED_MNIST_OF, *recipes._IMAGES_OF}
    assert own <= set(names)
    full = next(c for c in asked[len(names) :] if c.model == "ipvae-linear")
    assert (full.steps, full.beta, full.latents, full.epochs) == (128, 128.0, 512, 400)


def test_budgets_pay_for_a_fifth_ten_and_fifty_units_of_training(context, monkeypatch):
    many = Images(np.zeros((60_000, 1), np.float32), None, (1, 1), 0.0, 1.0, "blank")
    monkeypatch.setattr(_Small, "images", lambda self, dataset, split, count=None: many.take(count))
    monkeypatch.setattr(
        _Small,
        "trained",
        lambda self, key, images, config, start=None: len(images.pixels) * config.epochs,
    )
    seen = []
    for context.budget in ("quick", "hour", "night", "published"):
        seen.append(recipes.mnist_model(context, "ipvae-linear"))
    assert seen == [2_400, 120_000, 600_000, 400 * 60_000]


def test_published_parameters_agree_with_the_registry():
    for name, row in published.MNIST_TABLE.items():
        assert model_entry(name).published_parameters == row["parameters"]
        assert row["mse"] == pytest.approx(784 * row["mse_pixel"], rel=1e-3)


def test_published_best_distances_follow_from_their_points():
    best = {
        name: min(measures.distance(point["r2"], point["zeros"]) for point in points)
        for name, points in published.RATE_DISTORTION.items()
    }
    assert best["ipvae-linear"] == pytest.approx(0.284, abs=2e-3)
    assert best["lca"] == pytest.approx(0.282, abs=2e-3)
    assert best["igvae-relu"] == pytest.approx(0.364, abs=2e-3)


def test_interpolation_is_linear_and_never_leaves_the_sweep():
    points = [(0.8, 0.6), (0.4, 1.0)]
    assert measures.interpolate(points, 0.6) == pytest.approx(0.8)
    assert measures.interpolate(points, 0.4) == 1.0
    assert measures.interpolate(points, 0.39) is None
    assert measures.interpolate([], 0.5) is None


def test_every_family_has_its_entry():
    assert set(families.COLORS) == set(names_of_task("reconstruct"))


def test_amortized_families_infer_once():
    assert families.iterations_of("pvae-conv", 1000) == 1
    assert families.iterations_of("ipvae-linear", 1000) == 1000
    assert families.iterations_of("iavae", 20) == 20


def test_both_levels_are_read_sampled_and_complete(context, monkeypatch):
    for module in (hierarchy, completion):
        monkeypatch.setattr(module, "steps_of", lambda _context: 4)
    monkeypatch.setattr(counts, "DRAWS", 2)
    # The circuits have a test of their own.
    for module in (hierarchy, completion):
        monkeypatch.setattr(module, "in_integers", lambda _context, subject: subject)
    result = hierarchy.run(context)
    summary = _written(context, result, hierarchy.CLAIMS)
    # Two draws of the upper level send fewer spikes than one of the others.
    rest = {"per-spike", "per-spike-integers", "per-spike-one-level"}
    assert _unmeasured(summary) == rest
    rows = {row.name: row.figures for row in result.rows}
    assert rows[hierarchy.UPPER]["accuracy"] == rows[hierarchy.UPPER]["upper_equal"]
    assert "upper_equal" not in rows[hierarchy.LOWER]
    assert rows[samples.DIGITS].keys() == {"nearest", "confidence", "classes"}
    assert rows[hierarchy.MEAN_IMAGE].keys() == {"half", "random", "most"}


def test_integers_of_one_level_draw_as_its_floats_do(context, monkeypatch):
    monkeypatch.setattr(counts, "DRAWS", 2)
    subject = counts.Subject(load_pretrained(), {hierarchy.ONE: (1, "latents.z")})
    pixels = context.images("mnist", "train").pixels[:3]
    real, whole = (
        counts.drawing(context, each)("", pixels, 8)[hierarchy.ONE]
        for each in (subject, counts.in_integers(context, subject))
    )
    assert whole.shape == real.shape == (2, 3, 512)
    assert whole.mean() == pytest.approx(real.mean(), rel=0.2)


def test_hidden_pixels_do_not_change_what_is_inferred(context):
    model = load_pretrained()
    subject = counts.Subject(model, {hierarchy.ONE: (1, "latents.z")})
    hidden = completion._hidden(0)["half"]
    pixels = context.images("mnist", "test").pixels[:3]
    other = np.where(hidden, 1.0 - pixels, pixels)
    blind = completion._blind(context, subject, hidden)
    found = [infer(blind.model, images, 4).z for images in (pixels, other)]
    assert np.array_equal(*found)
    assert not np.array_equal(*(infer(model, images, 4).z for images in (pixels, other)))
