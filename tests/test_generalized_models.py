"""Models that are chains of nodes: trained by the common loop, scored by their task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch")

from training_tools import killed_at, options  # noqa: E402

from pvae_neuro.data import Images  # noqa: E402
from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.evaluation.evaluate import evaluate  # noqa: E402
from pvae_neuro.evaluation.infer import infer  # noqa: E402
from pvae_neuro.evaluation.tasks import score  # noqa: E402
from pvae_neuro.models.base import WindowSettings  # noqa: E402
from pvae_neuro.models.registry import build_model, names_of_task  # noqa: E402
from pvae_neuro.models.sampling.counter_noise import CounterNoise  # noqa: E402
from pvae_neuro.saved.model_file import ModelConfig, SavedModel, load_model  # noqa: E402
from pvae_neuro.training.train import recipe, train  # noqa: E402

SIDE, CLASSES = 8, 4
SMALL = {"layers": ["gaussian", "categorical"], "hidden": [12], "groups": 3, "classes": CLASSES}


def bars(count: int = 200, seed: int = 0) -> Images:
    """One bright row of four, in noise; its label is which."""
    random = np.random.default_rng(seed)
    labels = random.integers(CLASSES, size=count)
    pixels = (0.3 * random.random((count, SIDE, SIDE))).astype(np.float32)
    pixels[np.arange(count), 2 * labels] += 0.7
    return Images(pixels.reshape(count, -1), labels, (SIDE, SIDE), 0.0, 1.0, "bars")


def trained(path: Path, images: Images | None = None, **changes: Any) -> SavedModel:
    settings = {"latents": 12, "epochs": 8, "batch_size": 40, "learning_rate": 0.05, **changes}
    settings.setdefault("steps", 4)
    settings["architecture"] = {**SMALL, **changes.get("architecture", {})}
    return train(images or bars(), recipe("gpc-classifier", **settings), path, options())


@pytest.mark.parametrize("inference", ["together", "sweep", "backprop"])
def test_a_classifier_learns_and_is_scored_by_accuracy(inference: str, tmp_path: Path) -> None:
    saved = trained(tmp_path / "m.st", architecture={"inference": inference})
    found = score(load_model(tmp_path / "m.st"), bars(seed=1))
    assert found.figures["accuracy"] > 0.9 and found.samples == 200
    assert found.to_dict()["task"] == "label" and "accuracy" in repr(found)
    probabilities = build_model(saved.config).decode(torch.zeros(3, 12))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3))


def test_standard_predictive_coding_is_a_setting() -> None:
    """On the same weights: the gradients differ, the outputs do not."""
    models = [
        build_model(
            config(architecture={**SMALL, "families": families}),
            torch.Generator().manual_seed(0),
        )
        for families in ({}, {"*": "squared", "label": "categorical"})
    ]
    x = torch.from_numpy(bars(20).pixels)
    first, second = (model.iterate(x, (), None) for model in models)
    torch.testing.assert_close(first.z, second.z)


def test_a_family_in_place_of_another_has_the_layers_groups() -> None:
    families = {"1": "categorical"}
    models = [
        build_model(config(architecture={**SMALL, **changes}), torch.Generator().manual_seed(0))
        for changes in ({"families": families}, {"layers": ["categorical", "categorical"]})
    ]
    x = torch.from_numpy(bars(20).pixels)
    first, second = (model.iterate(x, (), None) for model in models)
    assert torch.equal(first.z, second.z)


@pytest.mark.parametrize("inference", ["sweep", "backprop"])
def test_inference_that_is_no_iteration_follows_inputs_that_change(inference: str) -> None:
    settings = config("gpc-vae", latents=4, architecture={"hidden": 8, "inference": inference})
    model = build_model(settings, torch.Generator().manual_seed(0), 0.3)
    before, x = (torch.from_numpy(bars(20, seed).pixels) for seed in (0, 1))
    after = model.iterate(x, model.iterate(before, (), None).state, None)
    assert torch.equal(after.mean, model.iterate(x, (), None).mean)
    assert not after.change.any()


def test_pixels_have_the_variance_of_their_family() -> None:
    for family, variance in (("bernoulli", 0.25), ("gaussian", 1.0)):
        model = build_model(config("gpc-vae", architecture={"pixels": family}))
        assert model.observation_variance.tolist() == [variance] * SIDE**2


def config(family: str = "gpc-classifier", **changes: Any) -> ModelConfig:
    values = {
        "family": family, "pixels": SIDE**2, "latents": 12, "steps": 2, "beta": 1.0,
        "input_low": 0.0, "input_high": 1.0, **changes,
    }  # fmt: skip
    return ModelConfig.model_validate(values)


def test_a_stopped_run_resumes_and_knows_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path / "whole.st", epochs=1)
    settings: Any = {"epochs": 1, "batch_size": 40, "learning_rate": 0.05, "steps": 4}
    made = recipe("gpc-classifier", **settings, latents=12, architecture=SMALL)
    out = tmp_path / "m.st"
    with killed_at(monkeypatch, 3):
        train(bars(), made, out, options(checkpoint_seconds=0.0))
    images = bars()
    other = Images(images.pixels, (images.labels + 1) % CLASSES, None, 0.0, 1.0, "bars")  # type: ignore[operator]
    with pytest.raises(InputError, match="data"):
        train(other, made, out, options(resume=True))
    again = train(images, made, out, options(resume=True))
    assert all(np.array_equal(a, again.arrays[n]) for n, a in whole.arrays.items())


def test_windows_carry_nodes_on_which_a_sweep_refuses(tmp_path: Path) -> None:
    incremental = trained(tmp_path / "a.st", steps=1, windows=3, epochs=6)
    assert score(incremental, bars(seed=1)).figures["accuracy"] > 0.9
    with pytest.raises(InputError, match="expected 1 window per batch"):
        trained(tmp_path / "b.st", windows=2, architecture={"inference": "sweep"})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "expected a label for each image"),
        (np.full(200, CLASSES), "expected labels from 0 to 3, got 4 to 4"),
        (np.full(200, -1), "expected labels from 0 to 3, got -1 to -1"),
    ],
)
def test_labels_that_are_missing_or_no_classes_are_refused(
    labels: Any, message: str, tmp_path: Path
) -> None:
    images = Images(bars().pixels, labels, (SIDE, SIDE), 0.0, 1.0, "bars")
    with pytest.raises(InputError, match=message):
        trained(tmp_path / "m.st", images)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"groups": 5}, "divides the width of the node, 12, got 5"),
        ({"layers": ["gaussian", "cat"]}, "no such family of nodes"),
        (
            {"hidden": [12, 12]},
            "expected one width for each of 2 layers but the last, 1",
        ),
        ({"families": {"first": "squared"}}, "no such node as 'first'; known"),
        ({"families": {"1": "squred"}}, "no such family as 'squred'; did you mean 'squared'"),
        ({"families": {"*": "gaussian"}}, "'categorical' or 'squared' for the output 'label'"),
        ({"families": {"label": "bernoulli"}}, "decoded by the family 'categorical', got 'bern"),
        ({"trust": 0}, "trust: Input should be greater than 0"),
        ({"inference": "both"}, "inference: Input should be 'together', 'sweep' or 'backprop'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(architecture: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model(config(architecture={**SMALL, **architecture}))


def test_each_task_has_its_own_figures(tmp_path: Path) -> None:
    assert "gpc-classifier" not in names_of_task("reconstruct")
    assert "gpc-classifier" in names_of_task("label")
    saved = build_model(config(architecture=SMALL)).to_saved()
    for measure in (lambda: infer(saved, bars().pixels, 2), lambda: evaluate(saved, bars().pixels)):
        with pytest.raises(InputError, match="expected one that reconstructs"):
            measure()
    autoencoder = build_model(config("gpc-vae", architecture={"hidden": 8})).to_saved()
    with pytest.raises(InputError, match="evaluate its squared error"):
        score(autoencoder, bars())


def test_pixels_that_are_no_probabilities_are_refused(tmp_path: Path) -> None:
    images = bars()
    signed = Images(2 * images.pixels - 1, None, (SIDE, SIDE), -1.0, 1.0, "signed bars")
    with pytest.raises(InputError, match=r"observed pixels.*probabilities from 0 to 1"):
        train(signed, recipe("gpc-vae", batch_size=20), tmp_path / "m.st", options())


def test_an_autoencoder_learns_the_bound_that_backpropagation_learns(tmp_path: Path) -> None:
    def bound(name: str) -> float:
        architecture = {"hidden": 16, "inference": name}
        made = recipe(
            "gpc-vae", latents=4, epochs=8, batch_size=40, learning_rate=0.03, steps=6,
            architecture=architecture,
        )  # fmt: skip
        saved = train(bars(), made, tmp_path / f"{name}.st", options())
        model: Any = build_model(saved.config)
        model.load_arrays(saved.arrays, "model")
        x = torch.from_numpy(bars(seed=1).pixels)
        return float(model.evidence_bound(x, torch.Generator().manual_seed(0)).mean())

    # Untrained the bound is near -64 ln 2 = -44.4; trained near -35.
    wanted = bound("backprop")
    assert wanted > -37
    assert min(bound("together"), bound("sweep")) > wanted - 1.0


def test_the_command_line_trains_and_scores_a_classifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cli_tools import run_cli

    images, model = bars(), tmp_path / "m.safetensors"
    np.savez(tmp_path / "bars.npz", images=images.pixels, labels=images.labels)
    code, _, err = run_cli(
        capsys, "train", "-i", tmp_path / "bars.npz", "-o", model, "--model", "gpc-classifier",
        "--latents", 12, "--epochs", 1, "--architecture", json.dumps(SMALL),
    )  # fmt: skip
    assert code == 0, err
    code, out, err = run_cli(capsys, "evaluate", model, "-i", tmp_path / "bars.npz", "--json", "-")
    assert code == 0, err
    found = json.loads(out)
    assert found["samples"] == 200 and 0 <= found["accuracy"] <= 1 and found["nll"] > 0
    for further, message in (
        (("--measures", "--hold", 2), "--measures: expected still images"),
        (("--hold", 2, "--clip"), "leave out --hold, --clip: a model of this task is scored"),
    ):
        code, _, err = run_cli(capsys, "evaluate", model, "-i", tmp_path / "bars.npz", *further)
        assert code == 2 and message in err


def test_trust_by_gain_keeps_inference_by_iteration_near_backpropagation() -> None:
    """With one trust for all nodes the steps overshoot where weights are strong."""

    def gradients(**architecture: Any) -> torch.Tensor:
        settings = config("gpc-vae", latents=4, architecture={"hidden": 8, **architecture})
        model = build_model(settings, torch.Generator().manual_seed(0), 0.3).double()
        x = torch.from_numpy(bars(50).pixels).double()
        window = model.window(x, (), WindowSettings(8, 1.0, 0.0, 0, "exact", CounterNoise(0)))
        found = torch.autograd.grad(window.nll + window.kl, list(model.parameters()))
        return torch.cat([part.flatten() for part in found])

    wanted = gradients(inference="backprop")
    together = {"inference": "together", "step_size": 1.0}
    by_gain, plain = (
        float((gradients(gains=gains, **together) - wanted).norm() / wanted.norm())
        for gains in (True, False)
    )
    assert by_gain < 0.1
    assert plain > 1.0
