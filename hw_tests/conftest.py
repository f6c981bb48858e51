"""Parity suite: every engine against the definition, integer for integer.

``pytest hw_tests`` checks every shipped model on what is installed here; ``--target`` chooses an
engine, ``--model`` takes a shipped name or an export of your own. Engines that cannot run are
skipped with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pvae_neuro.artifact import Artifact, load_artifact, save_artifact
from pvae_neuro.data import load_images
from pvae_neuro.errors import EngineUnavailableError, InputError, PvaeNeuroError
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel, load_model
from pvae_neuro.saved.shipped import SHIPPED
from pvae_neuro.sim.engine import Engine, engine_names, get_engine
from pvae_neuro.sim.lava.board.board import Board, Bounds
from pvae_neuro.sim.lava.board.stand_in.board import StandIn
from pvae_neuro.sim.lava.board.stand_in.delays import Delays
from pvae_neuro.sim.recording import Recording
from pvae_neuro.utils.files import atomic_path, check_target
from pvae_neuro.utils.json_text import json_text
from pvae_neuro.zoo import sample_digits

DEFAULT_TARGETS = ("reference", "fast", "onnx", "torch", "c", "lava")
SEEDS = (0, 1, 2)
SAMPLES = 16
# Engines that take long with more images.
FEWER_SAMPLES = {"lava": 4, "loihi2": 1}
# Fewer images do not tell the distance from float to within half of its tolerance.
COMPARED = 32
PARITY, RESULT = "parity", "result"


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
    _defined: dict[tuple[int, int], Recording] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.artifact.path.stem

    def definition(self, steps: int, seed: int) -> Recording:
        """What the definition computes of all images; kept for the other engines."""
        if (steps, seed) not in self._defined:
            reference = get_engine("reference")
            found = reference.run(self.network, self.images, steps, seed, record="full")
            self._defined[steps, seed] = found
        return self._defined[steps, seed]

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
    group.addoption(
        "--model",
        help="a shipped name, or an .onnx export of yours (default: all that are shipped)",
    )
    group.addoption("--float-model", help="its .safetensors, to compare it with float too")
    group.addoption("--images", help="images for the two (default: digits, or random numbers)")
    group.addoption("--samples", type=int, help=f"images per run (default: {SAMPLES}, of lava 4)")
    group.addoption("--steps", type=int, default=32, help="iterations (default: 32)")
    board = parser.getgroup("board", "of the target loihi2")
    board.addoption("--stage", default="S1", help="where neurons run: S1, S2 or S3 (default: S1)")
    board.addoption("--ucode", help="your model of neurons on cores, module:Class, for S3")
    board.addoption("--latency", help="fewest and most steps of a message, such as 3,11")
    board.addoption("--noise", default="injected", help="injected, or chip for its own (S3)")
    board.addoption(
        "--cost-steps", type=int, default=0, help="Lava steps of readings of power (default: none)"
    )
    board.addoption(
        "--fake-board", action="store_true", help="Lava's CPU simulation in place of a board"
    )
    board.addoption("--result", help="file of what ran, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that cannot be, before anything runs."""
    targets(config)
    for name in ("--samples", "--steps"):
        number = config.getoption(name)
        if number is not None and number < 1:
            raise pytest.UsageError(f"{name}: expected at least 1, got {number}")
    result = config.getoption("--result")
    # The processes of pytest-xdist write no file.
    if not result or hasattr(config, "workerinput"):
        return
    try:
        check_target(result)
    except InputError as error:
        raise pytest.UsageError(f"--result: {error}") from error
    if Path(result).is_file():
        raise pytest.UsageError(f"--result: {result} exists; name another file")


def targets(config: pytest.Config) -> list[str]:
    given = config.getoption("--target") or [",".join(DEFAULT_TARGETS)]
    names = [name for text in given for name in text.split(",")]
    unknown = sorted(set(names) - set(engine_names()))
    if unknown:
        raise pytest.UsageError(
            f"--target: expected one of {', '.join(engine_names())}; got {', '.join(unknown)}"
        )
    if "loihi2" in names:
        _board_options(config)
    return names


def pytest_report_header(config: pytest.Config) -> str:
    model = config.getoption("--model") or "all that are shipped"
    samples, steps = config.getoption("--samples") or SAMPLES, config.getoption("--steps")
    return (
        f"parity: targets {', '.join(targets(config))}; model {model}; {samples} samples, "
        f"{steps} iterations, seeds {', '.join(map(str, SEEDS))}"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", targets(metafunc.config))
    if "case" in metafunc.fixturenames:
        cases = _cases(metafunc.config.getoption("--model"))
        metafunc.parametrize(
            "case", cases, indirect=True, scope="session", ids=lambda c: Path(c).stem
        )


def _cases(model: str | None) -> list[str]:
    """The user's file, or ``name:circuit`` for each circuit of a shipped model or of all."""
    if model and (model not in SHIPPED or Path(model).is_file()):
        return [model]
    names = [model] if model else SHIPPED
    return [f"{name}:{circuit}" for name in names for circuit in topologies(SHIPPED[name].family)]


@pytest.fixture(scope="session")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The user's export, or one of a shipped model."""
    samples = request.config.getoption("--samples") or SAMPLES
    name, _, circuit = request.param.partition(":")
    try:
        if circuit and name in SHIPPED:
            return _shipped(name, circuit, samples, tmp_path_factory.mktemp("export"))
        return _own(request.config, samples)
    except PvaeNeuroError as error:
        raise pytest.UsageError(str(error)) from error


def _own(config: pytest.Config, samples: int) -> Case:
    artifact = load_artifact(config.getoption("--model"))
    given = config.getoption("--float-model")
    model = load_model(given) if given else None
    images = _known_images(config, artifact.network)
    some = _any_images(artifact.network, samples) if images is None else images[:samples]
    return Case(artifact, some, images, model)


def _shipped(name: str, circuit: str, samples: int, folder: Path) -> Case:
    path = folder / f"{name}-{circuit}.onnx"
    model, images = load_model(name), sample_digits()[0]
    save_artifact(quantize(model, images, QuantizeConfig(circuit)), images[:2], path)
    return Case(load_artifact(path), images[:samples], images[: max(samples, COMPARED)], model)


def _known_images(config: pytest.Config, network: IntegerNetwork) -> np.ndarray | None:
    """Those that were given; else the digits where the network takes them."""
    declared, given = network.input, config.getoption("--images")
    if given:
        return declared.check(load_images(given, split=None).pixels)
    if (declared.size, declared.low, declared.high) == (784, 0.0, 1.0):
        return sample_digits()[0][: max(COMPARED, config.getoption("--samples") or SAMPLES)]
    return None


def _any_images(network: IntegerNetwork, samples: int) -> np.ndarray:
    """Numbers over the whole declared range."""
    declared = network.input
    shape = (samples, declared.size)
    return np.random.default_rng(0).uniform(declared.low, declared.high, shape)


@pytest.fixture
def rows(target: str, request: pytest.FixtureRequest) -> slice:
    """Images that the target runs; as many as asked for, or fewer where more take long."""
    few = None if request.config.getoption("--samples") else FEWER_SAMPLES.get(target)
    return slice(0, few)


@pytest.fixture
def engine(target: str, request: pytest.FixtureRequest) -> Engine:
    options = _board_options(request.config) if target == "loihi2" else {}
    return get_engine(target, **options)


def _board_options(config: pytest.Config) -> dict[str, Any]:
    """Of the engine ``loihi2``."""
    given = config.getoption("--latency")
    if given is not None and not re.fullmatch(r"\d+,\d+", given):
        raise pytest.UsageError(f"--latency: expected LEAST,MOST such as 3,11; got {given!r}")
    names = ("stage", "ucode", "noise", "cost_steps")
    made = {name: config.getoption(f"--{name}".replace("_", "-")) for name in names}
    try:
        latency = None if given is None else Bounds(*map(int, given.split(",")))
        fake = config.getoption("--fake-board")
        board = StandIn(latency=latency, delays=Delays(1, 5)) if fake else Board(latency=latency)
        get_engine("loihi2", **made)
    except InputError as error:
        flag, _, said = str(error).partition(":")
        raise pytest.UsageError(f"--{flag.replace('_', '-')}:{said}") from error
    return {**made, "board": board}


@pytest.fixture
def steps(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--steps")


@pytest.fixture
def note(request: pytest.FixtureRequest, case: Case, engine: Engine) -> Any:
    """Put a row into the parity table at the end of the run, and more into the file of results."""

    def add(more: dict[str, Any] | None = None, **row: Any) -> None:
        artifact, found = case.artifact, getattr(engine, "found", {})
        hashes = {"sha256": artifact.sha256, "program_hash": artifact.program_hash}
        request.node.user_properties.append((PARITY, row))
        request.node.user_properties.append((RESULT, {**row, **(more or {}), **hashes, **found}))

    return add


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Skip where an engine cannot run here, with the reason."""
    try:
        yield
    except EngineUnavailableError as error:
        pytest.skip(str(error))


def _write_result(path: Path, rows: list[tuple[str, dict[str, Any]]]) -> None:
    """What ran, on what, and what came of it: the file that an owner of a board sends back."""
    checks = [{**row, "outcome": outcome} for outcome, row in rows]
    content = {"written": datetime.now(timezone.utc).isoformat(), "checks": checks}
    with atomic_path(path) as temporary:
        temporary.write_text(json_text(content), encoding="utf-8")


def _rows(terminalreporter: Any, kind: str) -> list[tuple[str, dict[str, Any]]]:
    found = [
        (outcome, row)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
        for name, row in report.user_properties
        if name == kind
    ]
    return sorted(found, key=lambda each: tuple(map(str, each[1].values())))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows, result = _rows(terminalreporter, PARITY), terminalreporter.config.getoption("--result")
    if result:
        _write_result(Path(result), _rows(terminalreporter, RESULT))
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
