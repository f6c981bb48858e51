"""Measures of the papers: each against a value computed by hand, or by other means."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch")

from cli_tools import run_cli  # noqa: E402
from models import sound_images, sound_model  # noqa: E402

from pvae_neuro.data import Images  # noqa: E402
from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.evaluation.infer import block_seed, infer  # noqa: E402
from pvae_neuro.evaluation.measures.calibration import (  # noqa: E402
    coverage,
    places_in_normal,
    places_in_samples,
)
from pvae_neuro.evaluation.measures.classification import (  # noqa: E402
    balanced_splits,
    logistic_accuracy,
    shattering_dimension,
)
from pvae_neuro.evaluation.measures.codes import codes_along  # noqa: E402
from pvae_neuro.evaluation.measures.divergence import (  # noqa: E402
    active_latents,
    forward_nelbo,
    summed_nelbo,
)
from pvae_neuro.evaluation.measures.entropy import entropy, rounded, step_of  # noqa: E402
from pvae_neuro.evaluation.measures.integer_codes import codes_of_network  # noqa: E402
from pvae_neuro.evaluation.measures.measured import measure  # noqa: E402
from pvae_neuro.evaluation.measures.neighbours import neighbour_accuracies  # noqa: E402
from pvae_neuro.evaluation.measures.sparsity import (  # noqa: E402
    lifetime_sparsity,
    population_sparsity,
    sparsity,
)
from pvae_neuro.exporters.quantize import quantize  # noqa: E402
from pvae_neuro.models.base import Model  # noqa: E402
from pvae_neuro.models.registry import build_model, names_of_task  # noqa: E402
from pvae_neuro.saved.model_file import ModelConfig, save_model  # noqa: E402
from pvae_neuro.sim.engine import get_engine  # noqa: E402
from pvae_neuro.training.train import recipe  # noqa: E402

SIDE, LATENTS, BATCH = 8, 8, 5
DETERMINISTIC = ("pc", "ipc", "lca")


def built(name: str, **changes: object) -> Model:
    settings = recipe(name, latents=LATENTS)
    config = ModelConfig.model_validate(
        {
            "family": name, "pixels": SIDE**2, "latents": LATENTS, "steps": 2, "beta": 1.0,
            "image_shape": (SIDE, SIDE), "input_low": 0.0, "input_high": 1.0,
            "clamp": settings.clamp, "clamp_u": settings.clamp_u, "clamp_du": settings.clamp_du,
            **changes,
        }
    )  # fmt: skip
    return build_model(config, torch.Generator().manual_seed(0), 0.05)


def inputs(seed: int = 0) -> torch.Tensor:
    return torch.rand((BATCH, SIDE**2), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", names_of_task("reconstruct"))
def test_every_family_says_what_classifiers_read_and_its_divergence(name: str) -> None:
    model, x = built(name), inputs()
    noise = torch.Generator().manual_seed(1)
    before = model.start(x)
    first = model.iterate(x, before, noise)
    second = model.iterate(x, first.state, noise)
    code = model.code(x, second)
    assert code.shape == (BATCH, LATENTS) and bool(torch.isfinite(code).all())
    assert not code.requires_grad
    if name in DETERMINISTIC:
        assert model.divergence(x, before, first.state) is None
        return
    for states in ((before, first.state), (first.state, second.state)):
        kl = model.divergence(x, *states)
        assert kl is not None
        assert kl.shape[0] == BATCH and kl.shape[1] >= LATENTS and not kl.requires_grad
        # Rounding of a divergence near zero.
        assert float(kl.min()) > -1e-5


def test_codes_of_encoders_are_those_of_the_authors() -> None:
    x = inputs()
    poisson = built("pvae-linear", clamp="hard", clamp_u=5.0)
    result = poisson.iterate(x, (), torch.Generator().manual_seed(0))
    # log λ = log r + log δr where no bound is reached.
    log_rate = torch.log(result.mean) - dict(poisson.named_parameters())["log_rate"].detach()
    assert torch.allclose(poisson.code(x, result), log_rate, atol=1e-5)
    gaussian = built("gvae-linear", architecture={"relu": True})
    result = gaussian.iterate(x, (), torch.Generator().manual_seed(0))
    code = gaussian.code(x, result)
    assert bool((code < 0).any()) and torch.equal(torch.relu(code), result.mean)


def test_divergence_of_poisson_neurons_is_that_of_their_rates() -> None:
    model, x = built("ipvae-linear"), inputs()
    before = model.start(x)
    after = model.iterate(x, before, torch.Generator().manual_seed(0)).state
    old, new = (np.exp(state[0].detach().double().numpy()) for state in (before, after))
    expected = new * np.log(new / old) - new + old
    kl = model.divergence(x, before, after)
    assert kl is not None and kl.numpy() == pytest.approx(expected, abs=1e-6)


def test_iterations_that_nobody_sees_infer_the_same() -> None:
    """The kernels of training draw other words from the same law, so means over images agree."""
    model = built("ipvae-linear")
    model.load_state_dict({**model.state_dict(), "initial_potential": torch.zeros(LATENTS)})
    x = inputs()[:1].expand(4000, -1).contiguous()
    assert model.is_compiled("exact")
    fast = model.repeat(x, model.start(x), 60, torch.Generator().manual_seed(0))
    slow = Model.repeat(model, x, model.start(x), 60, torch.Generator().manual_seed(1))
    assert [part.shape for part in fast] == [part.shape for part in slow]
    for a, b in zip(fast, slow, strict=True):
        error = (a.var(0) + b.var(0)).div(len(x)).sqrt()
        # 12 means: one beyond five errors happens once in 140,000 runs, and seeds are fixed.
        assert bool(((a.mean(0) - b.mean(0)).abs() <= 5 * error + 1e-6).all())


def test_iterations_at_rates_beyond_the_kernels_run_one_by_one() -> None:
    model = built("ipvae-linear", clamp_u=8.0)
    high = torch.full((LATENTS,), 7.0)
    weights = {"initial_potential": high, "log_step_size": torch.tensor(-30.0)}
    model.load_state_dict({**model.state_dict(), **weights})
    x = inputs()
    fast = model.repeat(x, model.start(x), 3, torch.Generator().manual_seed(0))
    # Counts of a rate of e^7 are 1,097 on average, more than kernels draw.
    assert float(fast[1].mean()) == pytest.approx(math.exp(7.0), rel=0.05)


def test_codes_along_inference_are_those_of_plain_iterations() -> None:
    model = built("igvae")
    images = inputs().numpy()
    found = codes_along(model, images, (1, 3), seed=5, progress=False)
    x, noise = torch.tensor(images), torch.Generator().manual_seed(block_seed(5, 0))
    state = model.start(x)
    for time in (1, 2, 3):
        before, result = state, model.iterate(x, state, noise)
        state = result.state
        if time not in found:
            continue
        codes = found[time]
        assert np.array_equal(codes.code, result.mean.numpy())
        assert np.array_equal(codes.z, result.z.numpy())
        kl = model.divergence(x, before, state)
        assert kl is not None and codes.kl == pytest.approx(kl.double().mean(0).numpy())
        errors = np.square(images - result.reconstruction.numpy(), dtype=np.float64).sum(1)
        assert codes.error == pytest.approx(errors, rel=1e-6)
    assert codes_along(built("lca"), images, (2,), progress=False)[2].kl is None
    for times in ((), (3, 1), (2, 2)):
        with pytest.raises(InputError, match="ascending numbers"):
            codes_along(model, images, times)


def blobs(count: int, distance: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four classes, each about a corner of its own."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    return distance * np.eye(4)[labels] + random.standard_normal((count, 4)), labels


def test_classifiers_tell_apart_what_can_be_told_apart() -> None:
    train, train_labels = blobs(200, 20.0, 0)
    test, test_labels = blobs(200, 20.0, 1)
    assert logistic_accuracy(train, train_labels, test, test_labels) == 1.0
    assert shattering_dimension(train, train_labels, test, test_labels) == 1.0
    # Codes that know nothing: test labels are balanced, so any guess is right half of the time.
    test, test_labels = blobs(4000, 0.0, 1)
    found = shattering_dimension(train, train_labels, test, test_labels)
    assert found == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(len(test)))


def test_scaling_makes_the_unit_of_codes_irrelevant() -> None:
    train, train_labels = blobs(200, 1.0, 0)
    test, test_labels = blobs(200, 1.0, 1)
    accuracies = [
        logistic_accuracy(c * train, train_labels, c * test, test_labels, scaled=True)
        for c in (1.0, 2.0**-10)
    ]
    assert accuracies[0] == accuracies[1] > 0.4
    # As they are, codes that small are penalized away.
    tiny = logistic_accuracy(2.0**-20 * train, train_labels, 2.0**-20 * test, test_labels)
    assert tiny < accuracies[0]


def test_halves_of_classes_come_once_each() -> None:
    splits = list(balanced_splits(np.arange(10)))
    assert len(splits) == len({frozenset(half) for half in splits}) == 126
    assert not any(frozenset(range(10)) - frozenset(half) in splits for half in splits)
    with pytest.raises(InputError, match="even number of classes"):
        list(balanced_splits(np.arange(3)))


def test_faulty_labels_are_named() -> None:
    codes, labels = blobs(8, 1.0, 0)
    with pytest.raises(InputError, match="test codes: expected"):
        logistic_accuracy(codes, labels, codes, labels[:3])
    with pytest.raises(InputError, match="at least two classes, got 1"):
        logistic_accuracy(codes, labels * 0, codes, labels)
    with pytest.raises(InputError, match="codes: expected"):
        neighbour_accuracies(codes, labels[:3], counts=(2,))
    with pytest.raises(InputError, match="at least 10, half of them"):
        neighbour_accuracies(codes, labels, counts=(5,))


def test_neighbours_vote() -> None:
    """Against a search written out, with the same labelled samples."""
    codes, labels = blobs(60, 2.0, 3)
    found = neighbour_accuracies(codes, labels, counts=(9, 30), draws=3, seed=4)
    assert [len(found[count]) for count in (9, 30)] == [3, 1]
    for draw, accuracy in enumerate(found[9]):
        chosen = np.random.default_rng([4, 9, draw]).permutation(30)[:9]
        distances = np.linalg.norm(codes[30:, None] - codes[chosen], axis=2)
        nearest = labels[chosen][np.argsort(distances, axis=1)[:, :5]]
        votes = (nearest[:, :, None] == np.arange(4)).sum(axis=1)
        assert accuracy == pytest.approx(np.mean(votes.argmax(axis=1) == labels[30:]))


def test_sparsity_counts_silent_latents_as_one() -> None:
    responses = np.zeros((4, 3))
    responses[0, 0] = 2.0
    responses[:, 1] = 1.0
    # One image alone drives the first, all the second alike, none the third.
    assert lifetime_sparsity(responses) == pytest.approx((1.0 + 0.0 + 1.0) / 3)
    assert lifetime_sparsity(-responses) == lifetime_sparsity(responses)
    assert sparsity(responses, 0) == pytest.approx(0.5)
    # Image 0 responds with (2, 1, 0): 1 - (1/9)(9/5)(3) ... = (1 - 3/5) / (2/3); others with one.
    assert population_sparsity(responses) == pytest.approx((0.4 / (2 / 3) + 3.0) / 4)


def test_sparsity_spans_nothing_to_all() -> None:
    one_hot = np.eye(5)
    assert sparsity(one_hot, 0) == pytest.approx(1.0)
    assert sparsity(one_hot, 1) == pytest.approx(1.0)
    assert sparsity(np.ones((4, 3)), 0) == pytest.approx(0.0)
    # A latent that never responds has no sparsity; signs do not matter.
    mixed = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert sparsity(mixed, 0) == pytest.approx(0.0)
    assert math.isnan(sparsity(np.zeros((3, 2)), 0))
    with pytest.raises(InputError, match="at least 2 responses along axis 0, got 1"):
        sparsity(np.ones((1, 3)), 0)


def test_latents_without_divergence_are_not_active() -> None:
    kl = np.array([0.0, 0.005, 0.01, 0.3])
    assert active_latents(kl, 0.01) == 0.5 and active_latents(kl, 0.1) == 0.25
    with pytest.raises(InputError, match="threshold above 0"):
        active_latents(kl, 0.0)
    # Latents that the encoder does not drive keep the rates of the prior.
    model = built("pvae-linear", clamp="hard", clamp_u=5.0)
    weights = model.state_dict()
    weights["encoder.0.weight" if "encoder.0.weight" in weights else "encoder.weight"][:2] = 0.0
    model.load_state_dict(weights)
    found = codes_along(model, inputs().numpy(), (1,), progress=False)[1].kl
    assert found is not None and found[:2] == pytest.approx(0.0, abs=1e-9)
    assert active_latents(found, 1e-6) == pytest.approx(1.0 - 2 / LATENTS)


def test_both_definitions_of_the_negative_bound() -> None:
    kl = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]])
    assert summed_nelbo([10.0, 20.0], kl) == pytest.approx([16.0, 26.0])
    assert forward_nelbo([10.0, 20.0], kl) == pytest.approx([12.0, 22.0])


LEVELS = (0.5, 0.8, 0.95)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_posterior_that_is_right_covers_its_levels(noise: float) -> None:
    random = np.random.default_rng(0)
    mean = random.standard_normal((500, 8))
    sigma = np.sqrt(0.5 + noise)
    pixels = mean + sigma * random.standard_normal(mean.shape)
    samples = mean + math.sqrt(0.5) * random.standard_normal((99, *mean.shape))
    normal = coverage(places_in_normal(mean, 0.5 + noise, pixels), LEVELS)
    sampled = coverage(places_in_samples(samples, pixels, noise), LEVELS)
    for level in LEVELS:
        error = math.sqrt(level * (1 - level) / pixels.size)
        assert normal[level] == pytest.approx(level, abs=4 * error)
        # 99 samples: ranks are hundredths, of which a level may hold half a step more or less; a
        # mixture of so many is narrower by a share of 1/99 of the variance at most.
        assert sampled[level] == pytest.approx(level, abs=4 * error + 0.01)
    narrow = coverage(places_in_normal(mean, (0.5 + noise) / 9, pixels), LEVELS)
    wide = coverage(places_in_normal(mean, (0.5 + noise) * 9, pixels), LEVELS)
    assert all(narrow[level] < level < wide[level] for level in LEVELS)


def test_a_certain_posterior_covers_what_it_says_exactly() -> None:
    pixels = np.array([[0.0, 1.0]])
    assert places_in_normal(pixels, 0.0, pixels).tolist() == [[0.5, 0.5]]
    assert places_in_normal(pixels + 1, 0.0, pixels).tolist() == [[0.0, 0.0]]
    assert coverage(places_in_samples(pixels[None] - 1, pixels), (0.5,)) == {0.5: 1.0}
    for faulty, message in (
        (lambda: places_in_samples(pixels, pixels), "samples: expected"),
        (lambda: places_in_normal(pixels[0], 1.0, pixels), "shape of the pixels"),
        (lambda: places_in_normal(pixels, -1.0, pixels), "no negative number"),
        (lambda: coverage(pixels, (1.0,)), "between 0 and 1"),
    ):
        with pytest.raises(InputError, match=message):
            faulty()


def labelled(count: int, seed: int) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.random((count, SIDE**2)).astype(np.float32)
    return Images(pixels, np.arange(count) % 4, (SIDE, SIDE), 0.0, 1.0, "made")


@pytest.mark.parametrize("name", ["ipvae-linear", "pvae-linear", "lca"])
def test_all_measures_of_a_model_at_once(name: str) -> None:
    saved, images = built(name).to_saved(), labelled(40, 0)
    found = measure(saved, images, labelled(24, 1), steps=3, progress=False)
    figures = found.figures
    assert found.fitted == 24 and found.to_dict()["samples"] == 40
    of_labels = {"accuracy", "shattering"}
    assert {"mse", "r2", "zeros", "lifetime", "population", *of_labels} <= set(figures)
    assert ("kl" in figures, "active" in figures) == (name != "lca", name == "pvae-linear")
    if "kl" in figures:
        assert figures["nelbo"] == pytest.approx(figures["mse"] + figures["kl"])
    # Noise of the observation widens every band.
    for level in ("0.5", "0.95"):
        assert figures[f"coverage_{level}"] <= figures[f"coverage_observed_{level}"]
    codes = codes_along(saved, images.pixels, (3,), progress=False)[3]
    trace = infer(saved, images.pixels, 3, progress=False)
    if name != "ipvae-linear":
        # Encoders and LCA run the same iterations either way.
        assert codes.code == pytest.approx(trace.code)
    assert figures["zeros"] == pytest.approx((codes.z == 0).mean())
    bare = measure(saved, replace(images, labels=None), steps=3, progress=False).figures
    assert bare == {key: figures[key] for key in bare} and not of_labels & set(bare)
    with pytest.raises(InputError, match="expected labels for classifiers, got none"):
        measure(saved, images, replace(images, labels=None), steps=3)


def test_integers_are_measured_by_their_potentials_and_counts() -> None:
    network, images = quantize(sound_model(), sound_images(20)), sound_images(6)
    codes = codes_of_network(network, images, 5, seed=2, engine="reference")
    run = get_engine("reference").run(network, images, 5, 2)
    assert run.log_rate is not None and run.squared_error is not None
    potentials = run.last[run.log_rate] * run.log_rate_unit
    assert codes.code == pytest.approx(np.exp(potentials), rel=1e-6)
    assert np.array_equal(codes.z, run.inferred) and codes.kl is None
    # The readout rounds pixels once, the recording's squared error sums rounded squares.
    recorded = run.squared_error[:, -1] * run.error_unit
    assert codes.error == pytest.approx(recorded, rel=1e-2)


def test_the_command_line_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(built("pvae-linear").to_saved(), tmp_path / "m.safetensors")
    np.save(tmp_path / "x.npy", labelled(20, 0).pixels)
    command = ("evaluate", tmp_path / "m.safetensors", "-i", tmp_path / "x.npy", "--steps", 2)
    code, out, _ = run_cli(capsys, *command, "--measures", "--json", "-")
    measures = json.loads(out)["measures"]
    assert code == 0 and measures["samples"] == 20 and measures["fitted"] == 0
    code, out, _ = run_cli(capsys, *command, "--measures")
    assert code == 0 and "coverage observed 0.95" in out
    for options, message in (
        (("--fit", 3), "expected --measures beside it"),
        (("--measures", "--fit", 0), "--fit: expected at least 1, got 0"),
        (("--measures", "--scheduler", "local"), "expected still images"),
    ):
        code, _, error = run_cli(capsys, *command, *options)
        assert code == 2 and message in error, options


def test_the_command_line_fits_classifiers_to_another_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(built("pvae-linear").to_saved(), tmp_path / "m.safetensors")
    train, test = labelled(24, 0), labelled(20, 1)
    parts = {"x_train": train.pixels, "y_train": train.labels}
    np.savez(tmp_path / "parts.npz", **parts, x_test=test.pixels, y_test=test.labels)
    np.savez(tmp_path / "whole.npz", images=test.pixels, labels=test.labels)
    options = "--steps", 2, "--measures", "--fit", 16, "--json", "-"

    def evaluate(file: str, *further: str) -> tuple[int, str, str]:
        found: tuple[int, str, str] = run_cli(
            capsys, "evaluate", tmp_path / "m.safetensors", "-i", tmp_path / file, *options,
            *further,
        )  # fmt: skip
        return found

    code, out, _ = evaluate("parts.npz")
    found = json.loads(out)["measures"]
    assert code == 0 and (found["samples"], found["fitted"]) == (20, 16)
    assert 0 <= found["accuracy"] <= 1
    for file, *further in (
        ("whole.npz",),
        ("whole.npz", "--split", "test"),
        ("parts.npz", "--split", "train"),
        ("parts.npz", "--split", "all"),
        ("parts.npz", "--key", "x_test"),
        ("parts.npz", "--key", "x_train"),
    ):
        code, _, error = evaluate(file, *further)
        assert code == 2 and "--fit: expected classifiers that are fitted to" in error, further


def test_entropy_and_the_step_that_gives_it():
    fair = np.array([[0, 1, 2, 3], [0, 0, 1, 1], [5, 5, 5, 5]], np.float32).T
    assert entropy(fair) == pytest.approx(2 + 1 + 0)
    normal = np.random.default_rng(0).standard_normal((2000, 3)).astype(np.float32)
    step = step_of(normal, 6.0)
    assert entropy(rounded(normal, step)) == pytest.approx(6.0, abs=0.05)
    # Rounded at step 1, a normal variable has about 2.1 bits.
    assert 1.0 < step < 1.4
