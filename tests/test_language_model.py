"""A transformer with nodes: what it learns, by which gradients, and what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch")

from cli_tools import run_cli  # noqa: E402
from rich.console import Console  # noqa: E402

import pvae_neuro as pn  # noqa: E402
from pvae_neuro.data import Images  # noqa: E402
from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.evaluation.tasks import score  # noqa: E402
from pvae_neuro.models.generalized.language import LanguageModel  # noqa: E402
from pvae_neuro.models.registry import build_model  # noqa: E402
from pvae_neuro.saved.model_file import ModelConfig  # noqa: E402
from pvae_neuro.training.train import TrainOptions, recipe, train  # noqa: E402

TEXT = "a man, a plan, a canal: panama; able was I ere I saw elba. " * 30
CONTEXT = 8
GAUSSIAN = {"*": "squared"}
# Double precision of gradients that are sums of some thousand terms.
EXACT = 1e-10


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "own.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def read(path: Path, split: str = "train") -> Images:
    return pn.load_images(path, split=split, size=CONTEXT)


def language(images: Images, seed: int = 0, **architecture: Any) -> LanguageModel:
    """A model of random weights, in double precision."""
    settings = {**LanguageModel.settings_of(images), "hidden": 24, "heads": 2, **architecture}
    config = ModelConfig(
        family="gpc-language", pixels=CONTEXT + 1, latents=16, steps=2, beta=0.0,
        input_low=0.0, input_high=1114111.0, architecture=settings,
    )  # fmt: skip
    model = build_model(config, torch.Generator().manual_seed(seed)).double()
    assert isinstance(model, LanguageModel)
    return model


def gradients(images: Images, steps: int = 1, **architecture: Any) -> torch.Tensor:
    """Gradients of all weights on one batch, as one vector."""
    model = language(images, **architecture)
    x, target = torch.tensor(images.pixels[:20]).double(), model.targets(images)[:20]
    nodes, _ = model._nodes(x, target, 0.0, None, ())
    energy = nodes.infer(steps)
    (energy.output + energy.nodes).backward()
    found = [p.grad for p in model.parameters() if p.grad is not None]
    return torch.cat([gradient.flatten() for gradient in found])


def distance(images: Images, steps: int = 1, **architecture: Any) -> float:
    """Relative error against the gradients of backpropagation."""
    wanted = gradients(images, inference="backprop")
    found = gradients(images, steps, **architecture)
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("inference", ["sweep", "together"])
def test_each_inference_learns(inference: str, text: Path, tmp_path: Path) -> None:
    own = {"inference": inference, "hidden": 32}
    settings = recipe(
        "gpc-language", learning_rate=0.03, latents=16, batch_size=20, epochs=4, architecture=own
    )  # fmt: skip
    options = TrainOptions(device="cpu", console=Console(file=io.StringIO()))
    saved = train(read(text), settings, tmp_path / "m.safetensors", options)
    found = score(pn.load_model(tmp_path / "m.safetensors"), read(text, "test"))
    assert saved.config.architecture["alphabet"] == "".join(sorted(set(TEXT)))
    # The frequencies of symbols alone give 10.8.
    assert found.figures["perplexity"] < 6.0
    assert found.figures["perplexity"] == pytest.approx(np.exp(found.figures["nll"]))


def test_a_sweep_tends_to_backpropagation(text: Path) -> None:
    images = read(text)
    assert distance(images, inference="sweep", families=GAUSSIAN | {"next": "categorical"}) < EXACT
    errors = [distance(images, inference="sweep", trust=trust) for trust in (10.0, 100.0, 1000.0)]
    assert 8 < errors[0] / errors[1] < 12 and 8 < errors[1] / errors[2] < 12


def test_inference_by_iteration_tends_to_backpropagation(text: Path) -> None:
    images = read(text)
    together = {"inference": "together", "bound": 100.0}
    errors = [distance(images, 40, trust=trust, **together) for trust in (100.0, 1000.0, 10000.0)]
    assert 8 < errors[0] / errors[1] < 12 and 8 < errors[1] / errors[2] < 12


def test_gains_bound_the_action_of_attention(text: Path) -> None:
    images = read(text)
    model = language(images, inference="together", trust=1.0)
    x = torch.tensor(images.pixels[:3]).double()
    nodes, _ = model._nodes(x, model.targets(images)[:3], 0.0, None, ())
    nodes._run(infers=True)
    attention, hidden = nodes._sites["attention 1"], nodes._sites["hidden 1"]
    strongest = torch.zeros_like(attention.theta)
    for unit in range(hidden.theta.shape[-1]):
        total = hidden.theta[..., unit].sum()
        (found,) = torch.autograd.grad(total, attention.handed, retain_graph=True)
        strongest += found.square()
    # The trust is 1 and the gain; at the first symbol nothing else is seen.
    gain = attention.trust - 1.0
    assert (strongest.amax(-1, keepdim=True) <= gain).all()
    assert (gain < 30 * strongest.amax(-1, keepdim=True)).all()


@pytest.mark.parametrize("families", [{}, GAUSSIAN])
def test_no_symbol_sees_those_that_follow(text: Path, families: dict[str, str]) -> None:
    images = read(text)
    model = language(images, inference="together", families=families, trust=0.1)
    x = torch.tensor(images.pixels[:2]).double()
    changed = x.clone()
    changed[:, 5:] = x[:, :4]
    found = []
    for inputs in (x, changed):
        target = torch.zeros(2, CONTEXT, dtype=torch.int64)
        nodes, _ = model._nodes(inputs, target, 0.0, None, ())
        nodes.infer(3)
        found.append(nodes.phi["hidden 1"][:, :5])
    torch.testing.assert_close(*found, rtol=0, atol=EXACT)


def test_the_command_line_trains_and_scores(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "m.safetensors"
    code, _, err = run_cli(
        capsys, "train", "-i", text, "-o", model, "--model", "gpc-language", "--size", CONTEXT,
        "--latents", 16, "--epochs", 1,
    )  # fmt: skip
    assert code == 0, err
    code, out, err = run_cli(capsys, "evaluate", model, "-i", text, "--json", "-")
    assert code == 0 and "test part" in err, err
    assert 1 < json.loads(out)["perplexity"] < 40
    other = tmp_path / "other.txt"
    other.write_text("Zürich " * 20, encoding="utf-8")
    code, _, err = run_cli(capsys, "evaluate", model, "-i", other, "--split", "all")
    assert code == 2 and "others: 'Z', 'h', 'i', 'ü'" in err


def test_what_is_no_text_is_refused(text: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((100, 9)).astype(np.float32)
    images = Images(pixels, None, None, 0.0, 1.0, "noise")
    with pytest.raises(InputError, match="noise: expected windows of a text"):
        train(images, recipe("gpc-language"), tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=r"heads .* divides the width 16, got 3"):
        language(read(text), heads=3)
    for name, value in (
        ("trust", 0.0),
        ("step_size", -1.0),
        ("inference", "forward"),
        ("alphabet", "ba"),
    ):
        with pytest.raises(InputError, match=name):
            language(read(text), **{name: value})
