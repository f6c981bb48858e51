"""Parity suite: every engine against the definition, integer for integer.

``pytest hw_tests`` checks what is installed here; ``--target`` chooses, ``--model`` takes an export
of your own. Engines that cannot run are skipped with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pvae_neuro.artifact import Artifact, load_artifact, save_artifact
from pvae_neuro.data import load_images
from pvae_neuro.errors import EngineUnavailableError, InputError, PvaeNeuroError
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import ModelConfig, SavedModel, load_model
from pvae_neuro.sim.engine import Engine, engine_names, get_engine
from pvae_neuro.zoo import load_pretrained, sample_digits

DEFAULT_TARGETS = ("reference", "fast", "onnx", "lava")
TOPOLOGIES = ("lateral", "predictive")
SEEDS = (0, 1, 2)
# Fewer images do not tell the distance from float to within half of its tolerance.
COMPARED = 32
PARITY = "parity"


@dataclass(frozen=True, eq=False)
class Case:
    """An artifact with inputs to run it on.

    Attributes
    ----------
    artifact : Artifact
    images : float [N, M]
        What every engine runs.
    compared : float [N, M] or None
        Images such as the model was made for, for its distance from float; None where none is
        known.
    model : SavedModel or None
        Float model that it came from, where it is known.
    """

    artifact: Artifact
    images: np.ndarray
    compared: np.ndarray | None
    model: SavedModel | None

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.artifact.path.stem

    @property
    def network(self) -> IntegerNetwork:
        """What the engines run."""
        return self.artifact.network


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity", "parity of engines")
    group.addoption(
        "--target",
        action="append",
        help=f"engine to check: {', '.join(engine_names())}; repeat for several "
        f"(default: {', '.join(DEFAULT_TARGETS)})",
    )
    group.addoption("--model", help="an .onnx export of yours (default: the shipped model)")
    group.addoption("--float-model", help="its .safetensors, to compare it with float too")
    group.addoption("--images", help="images for the two (default: digits, or random numbers)")
    group.addoption("--samples", type=int, default=8, help="images per run (default: 8)")
    group.addoption("--steps", type=int, default=32, help="iterations (default: 32)")


def targets(config: pytest.Config) -> list[str]:
    given = config.getoption("--target") or [",".join(DEFAULT_TARGETS)]
    names = [name for text in given for name in text.split(",")]
    unknown = sorted(set(names) - set(engine_names()))
    if unknown:
        raise pytest.UsageError(
            f"--target: expected one of {', '.join(engine_names())}; got {', '.join(unknown)}"
        )
    return names


def pytest_report_header(config: pytest.Config) -> str:
    model = config.getoption("--model") or "shipped"
    samples, steps = config.getoption("--samples"), config.getoption("--steps")
    return (
        f"parity: targets {', '.join(targets(config))}; model {model}; {samples} samples, "
        f"{steps} iterations, seeds {', '.join(map(str, SEEDS))}"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", targets(metafunc.config))
    if "case" in metafunc.fixturenames:
        own = metafunc.config.getoption("--model")
        cases = [own] if own else TOPOLOGIES
        metafunc.parametrize(
            "case", cases, indirect=True, scope="session", ids=lambda c: Path(c).stem
        )


@pytest.fixture(scope="session")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The user's export, or one of the shipped model in the topology asked for."""
    samples = request.config.getoption("--samples")
    try:
        if request.config.getoption("--model"):
            return _own(request.config, samples)
        return _shipped(request.param, samples, tmp_path_factory.mktemp("export"))
    except PvaeNeuroError as error:
        raise pytest.UsageError(str(error)) from error


def _own(config: pytest.Config, samples: int) -> Case:
    artifact = load_artifact(config.getoption("--model"))
    given = config.getoption("--float-model")
    model = load_model(given) if given else None
    images = _known_images(config, artifact.network)
    some = _any_images(artifact.network, samples) if images is None else images[:samples]
    return Case(artifact, some, images, model)


def _shipped(topology: str, samples: int, folder: Path) -> Case:
    path = folder / f"{topology}.onnx"
    config = QuantizeConfig(topology=topology)
    try:
        model, images = load_pretrained(), sample_digits()[0]
    except InputError:
        # A random model is chaotic: its integers can be checked, their distance from float cannot.
        model, images = _small_model(samples)
        save_artifact(quantize(model, images, config), images[:2], path)
        return Case(load_artifact(path), images, None, None)
    save_artifact(quantize(model, images, config), images[:2], path)
    return Case(load_artifact(path), images[:samples], images[: max(samples, COMPARED)], model)


def _small_model(samples: int, latents: int = 24, side: int = 6) -> tuple[SavedModel, np.ndarray]:
    """Random weights and images, for a source tree without the shipped model."""
    rng = np.random.default_rng(0)
    config = ModelConfig(
        pixels=side * side, latents=latents, steps=8, beta=8.0, input_low=0.0, input_high=1.0
    )
    arrays = {
        "dictionary": np.abs(rng.normal(0, 0.15, (side * side, latents))).astype(np.float32),
        "log_sigma": np.full(side * side, -1.0, np.float32),
        "log_bias": np.full(latents, -3.0, np.float32),
        "log_step_size": np.array(-2.0, np.float32),
        "initial_potential": rng.uniform(-2.0, 0.0, latents).astype(np.float32),
    }
    model = SavedModel(config, arrays)
    return model, rng.random((samples, side * side)).astype(np.float32)


def _known_images(config: pytest.Config, network: IntegerNetwork) -> np.ndarray | None:
    """Those that were given; else the digits where the network takes them."""
    declared, given = network.input, config.getoption("--images")
    if given:
        return declared.check(load_images(given, split=None).pixels)
    if (declared.size, declared.low, declared.high) == (784, 0.0, 1.0):
        return sample_digits()[0][: max(COMPARED, config.getoption("--samples"))]
    return None


def _any_images(network: IntegerNetwork, samples: int) -> np.ndarray:
    """Numbers over the whole declared range."""
    declared = network.input
    shape = (samples, declared.size)
    return np.random.default_rng(0).uniform(declared.low, declared.high, shape)


@pytest.fixture
def engine(target: str) -> Engine:
    return get_engine(target)


@pytest.fixture
def steps(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--steps")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Any:
    """Put a row into the parity table at the end of the run."""

    def add(**row: Any) -> None:
        request.node.user_properties.append((PARITY, row))

    return add


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Skip where an engine cannot run here, with the reason."""
    try:
        yield
    except EngineUnavailableError as error:
        pytest.skip(str(error))


def _parity_rows(terminalreporter: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call":
                yield from (
                    (outcome, row) for name, row in report.user_properties if name == PARITY
                )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = sorted(_parity_rows(terminalreporter), key=lambda r: tuple(map(str, r[1].values())))
    if not rows:
        return
    terminalreporter.section("parity")
    form = "{:<24} {:<10} {:<34} {:>30}  {}"
    terminalreporter.write_line(form.format("network", "target", "check", "result", ""))
    for outcome, row in rows:
        terminalreporter.write_line(
            form.format(row["network"], row["target"], row["check"], row["result"], outcome),
            green=outcome == "passed",
            red=outcome == "failed",
        )
