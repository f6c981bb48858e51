"""What every verb writes: never over an input or another output, and never another kind of file."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from cli_tools import make_files, run_cli
from models import random_images, random_model

from pvae_neuro.cli.main import VERBS
from pvae_neuro.cli.shared.paths import Role, roles

# What each verb needs, in a folder of small files; outputs come behind.
COMMANDS: dict[str, tuple[object, ...]] = {
    "demo": (),
    "models": (),
    "samples": (),
    "patches": ("pictures", "--size", 4, "--train", 3, "--test", 2),
    "train": (
        *("--dataset", "x.npy", "--start", "model.safetensors", "--latents", 24),
        *("--epochs", 1, "--batch-size", 6, "--device", "cpu", "--steps", 2),
    ),
    "import": ("checkpoint",),
    "export": ("model.safetensors", "--calibrate", "x.npy", "--stability-steps", 5, "--accept"),
    "inspect": ("predictive.onnx",),
    "run": ("predictive.onnx", "-i", "x.npy", "-t", 2),
    "verify": (
        *("predictive.onnx", "-i", "x.npy", "-m", "model.safetensors"),
        *("-t", 2, "-e", "reference"),
    ),
    "evaluate": ("predictive.onnx", "-i", "x.npy", "-t", 2, "-e", "reference"),
    "cost": ("predictive.onnx", "-i", "x.npy", "-t", 2, "-e", "reference"),
    "plot": ("model.safetensors", "--dataset", "x.npy", "-t", 2),
    "experiment": ("convergence", "--quick"),
    "bench": ("--model", "predictive.onnx"),
    "doctor": ("reference",),
    "place": ("predictive.onnx",),
    "finetune": (
        *("model.safetensors", "-i", "x.npy", "--updates", 1, "--batch-size", 2),
        *("--window", 2, "--horizon", 4, "--fitted-images", 0),
    ),
    "pareto": (
        *("model.safetensors", "-i", "x.npy", "--calibrate", "x.npy", "-t", 2),
        *("--weight-bits", 8, "--topology", "predictive"),
    ),
}
# Inputs of a command above by the parameters that name them, folders left out.
INPUTS = {
    "artifact": "predictive.onnx", "calibrate": "x.npy", "input": "x.npy",
    "start": "model.safetensors",
}  # fmt: skip
ENDINGS = {"plot": ".svg", "place": ".svg", "pareto": ".svg", "patches": ".npz", "samples": ".npy"}


class Output(NamedTuple):
    verb: str
    option: str
    name: str
    """Of a file that the option takes."""


def _outputs() -> list[Output]:
    found = []
    for verb, function in VERBS.items():
        for name, role in roles(function).items():
            if role in (Role.WRITES, Role.PRINTS):
                ending = ENDINGS.get(verb, ".made") if name == "output" else ".made"
                found.append(Output(verb, f"--{name}", f"file{ending}"))
    return found


OUTPUTS = _outputs()
FOLDERS = ("demo", "experiment")
# Verbs that take a while with each output are left out here; they write by the same functions.
QUICK = [verb for verb in VERBS if verb not in ("demo", "experiment", "bench")]


def outputs_of(verb: str) -> list[Output]:
    return [output for output in OUTPUTS if output.verb == verb]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pillow = pytest.importorskip("PIL.Image", reason="needs Pillow")
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    folder = tmp_path_factory.mktemp("files")
    model = random_model()
    make_files(folder, model, random_images(model, 6), ("predictive",))
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for number in range(2):
        pixels = rng.integers(0, 256, (12, 12), np.uint8)
        pillow.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
    _write_checkpoint(folder / "checkpoint", torch)
    return folder


def _write_checkpoint(folder: Path, torch: Any) -> None:
    folder.mkdir()
    config = {
        "dataset": "MNIST", "t_train": 8, "beta_outer": 8.0, "n_latents": [3],
        "inf_type": "grad", "dec_type": "lin", "clamp_u": 10.0, "clamp_du": 10.0,
    }  # fmt: skip
    (folder / "ConfigPoisVAE.json").write_text(json.dumps(config))
    state = {
        "layer.phi.weight": torch.ones(784, 3), "layer.dec_log_sigma": torch.zeros(1, 784),
        "layer.log_bias": torch.zeros(1, 3), "layer.log_lr.0": torch.zeros(1),
        "layer.u_init.0": torch.zeros(1, 3),
    }  # fmt: skip
    torch.save({"model": state}, folder / "IPVAE+Trainer-0001_(2025).pt")


@pytest.fixture
def here(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files, which is the current folder."""
    import shutil

    folder = tmp_path / "here"
    shutil.copytree(files, folder)
    monkeypatch.chdir(folder)
    return folder


def content(folder: Path) -> dict[str, str]:
    """What every file below a folder holds, and what every link names."""
    return {
        str(path.relative_to(folder)): (
            str(path.readlink())
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else oct(path.stat().st_mode)
        )
        for path in sorted(folder.rglob("*"))
    }


def command(output: Output, target: object) -> list[object]:
    """The verb with this output, and with the one that it cannot do without."""
    needed = roles(VERBS[output.verb]).get("output") is Role.WRITES and output.option != "--output"
    other = ["--output", f"other{ENDINGS.get(output.verb, '.made')}"] if needed else []
    folder = ["--out", "folder"] if output.verb in FOLDERS else []
    return [output.verb, *COMMANDS[output.verb], *folder, *other, output.option, target]


def test_every_verb_is_here() -> None:
    assert set(COMMANDS) == set(VERBS)


# ------------------------------------------------------------------------ refused before any work


def _spellings(here: Path, name: str) -> dict[str, str]:
    """Names of one file: as it is, by way of another folder, and by links."""
    (here / "sub").mkdir(exist_ok=True)
    (here / "link").symlink_to(name)
    (here / "sub" / "folder").symlink_to(here)
    (here / "hard").hardlink_to(here / name)
    return {
        "itself": name,
        "absolute": str(here / name),
        "dots": f"sub/../{name}",
        "link": "link",
        "linked folder": f"sub/folder/{name}",
        "hard link": "hard",
        "home": f"~/{name}",
    }


def _read_by(verb: str) -> set[str]:
    return {str(word) for word in COMMANDS[verb] if str(word) in {*INPUTS.values()}}


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: f"{output.verb}{output.option}")
def test_an_input_is_never_written_over(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: Output
) -> None:
    monkeypatch.setenv("HOME", str(here))
    for name in sorted(_read_by(output.verb)):
        spellings = _spellings(here, name)
        if output.verb != "run":  # One verb shows that every spelling counts.
            spellings = {kind: spellings[kind] for kind in ("itself", "link")}
        before = content(here)
        for kind, spelling in spellings.items():
            code, _, err = run_cli(capsys, *command(output, spelling))
            assert code == 2, (name, kind, err)
            assert err.startswith("error: "), err
            assert err.count("\n") == 1, err
            assert "is an input of this command" in err, (name, kind, err)
            assert content(here) == before, (name, kind)
        (here / "link").unlink()
        (here / "hard").unlink()
        (here / "sub" / "folder").unlink()


@pytest.mark.parametrize("verb", ["patches", "import"])
def test_a_file_of_a_folder_that_is_read_is_never_written_over(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    source = here / str(COMMANDS[verb][0])
    victim = sorted(source.iterdir())[0]
    before = content(here)
    for target in (victim, f"{source.name}/../{source.name}/{victim.name}"):
        code, _, err = run_cli(capsys, *command(Output(verb, "--json", ""), target))
        assert code == 2, err
        assert "which this command reads" in err
        assert content(here) == before


@pytest.mark.parametrize("verb", [verb for verb in VERBS if len(outputs_of(verb)) > 1])
def test_two_outputs_are_two_files(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    first, second, *_ = outputs_of(verb)
    (here / "sub").mkdir()
    name = first.name
    for spelling in (name, f"sub/../{name}", str(here / name)):
        before = content(here)
        words = [*COMMANDS[verb], first.option, name, second.option, spelling]
        code, _, err = run_cli(capsys, verb, *words)
        assert code == 2, err
        assert "another output of this command" in err
        assert content(here) == before
    # Where one exists and the other is a hard link to it.
    (here / name).write_text("kept")
    (here / "hard").hardlink_to(here / name)
    words = [*COMMANDS[verb], first.option, name, second.option, "hard"]
    code, _, err = run_cli(capsys, verb, *words)
    assert code == 2, err
    assert (here / name).read_text() == "kept"


def test_an_export_of_the_demo_is_never_written_over(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run_cli(capsys, "demo", "--out", "d", "--json", "d/lateral.onnx")
    assert code == 2
    assert "another output of this command" in err
    assert not (here / "d").exists()


def test_a_checkpoint_of_training_is_never_written_over(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*COMMANDS["train"], "-o", "m.safetensors", "--json", "m.safetensors.ckpt")
    code, _, err = run_cli(capsys, "train", *words)
    assert code == 2
    assert "another output of this command" in err
    assert not (here / "m.safetensors").exists()


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: f"{output.verb}{output.option}")
def test_what_is_no_file_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], output: Output
) -> None:
    import socket

    (here / f"sub{output.name}").mkdir()
    protected = here / f"protected{output.name}"
    protected.write_text("kept")
    protected.chmod(0o444)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"socket{output.name}")
        before = {path.name for path in here.iterdir()}
        for target, expected in (
            (f"sub{output.name}", "is a folder"),
            (f"socket{output.name}", "socket"),
            (protected.name, "write-protected"),
            (f"{'x' * 300}{output.name}", "File name too long"),
            (f"~nobody-of-that-name/{output.name}", "no home folder"),
        ):
            code, _, err = run_cli(capsys, *command(output, target))
            assert code == 2, err
            assert err.startswith("error: "), err
            assert err.count("\n") == 1, err
            assert expected in err
            assert {path.name for path in here.iterdir()} == before
    assert protected.read_text() == "kept"


# ------------------------------------------------------------------------ written as it is meant


def write(
    capsys: pytest.CaptureFixture[str], verb: str, targets: dict[Output, object]
) -> tuple[int, str]:
    """Run a verb with all its outputs, as ``--option=target``; exit code and errors."""
    words = [f"{output.option}={target}" for output, target in targets.items()]
    code, _, err = run_cli(capsys, verb, *COMMANDS[verb], *words)
    # Models with random weights explain nothing, which `verify` says; its files are written.
    assert code in (0, 2) or (code == 1 and verb == "verify"), err
    return code, err


@pytest.mark.parametrize("verb", QUICK)
def test_links_and_permissions_stay_and_a_home_folder_is_expanded(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))
    (here / "home").mkdir()
    (here / "elsewhere").mkdir()
    before = {path.name for path in here.iterdir()}
    targets = {}
    for number, output in enumerate(outputs_of(verb)):
        target = here / "elsewhere" / f"{number}{output.name}"
        target.write_text("old")
        target.chmod(0o600)
        (here / "home" / target.name).symlink_to(target)
        targets[output] = f"~/{target.name}"
    code, err = write(capsys, verb, targets)
    assert code != 2, err
    for path in (here / "elsewhere").iterdir():
        assert (here / "home" / path.name).is_symlink()
        assert path.read_bytes() not in (b"old", b"")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len([*(here / "elsewhere").iterdir()]) == len(targets)
    assert {path.name for path in here.iterdir()} == before


@pytest.mark.parametrize("verb", QUICK)
def test_a_fifo_stays_and_gets_the_file(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    before = {path.name for path in here.iterdir()}
    received: dict[Path, bytes] = {}
    targets: dict[Output, object] = {}
    readers = []
    for number, output in enumerate(outputs_of(verb)):
        fifo = here / f"fifo{number}{output.name}"
        os.mkfifo(fifo)
        targets[output] = fifo

        def read(fifo: Path = fifo) -> None:
            received[fifo] = fifo.read_bytes()

        readers.append(threading.Thread(target=read, daemon=True))
        readers[-1].start()
    code, err = write(capsys, verb, targets)
    assert code != 2, err
    for reader in readers:
        reader.join(60)
    assert all(received[fifo] for fifo in targets.values() if isinstance(fifo, Path))
    appeared = [path for path in here.iterdir() if path.name not in before]
    assert sorted(appeared) == sorted(received)
    assert all(stat.S_ISFIFO(path.stat().st_mode) for path in appeared)


@pytest.mark.parametrize("verb", QUICK)
def test_a_device_is_written_to(here: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    """Those that choose a format by the name refuse it; nobody replaces it."""
    before = Path("/dev/null").stat()
    devices: dict[Output, object] = dict.fromkeys(outputs_of(verb), "/dev/null")
    if verb in ENDINGS:
        chooses = next(output for output in devices if output.option == "--output")
        code, err = write(capsys, verb, devices)
        assert code == 2
        assert "expected a name" in err
        devices[chooses] = f"file{ENDINGS[verb]}"
    code, err = write(capsys, verb, devices)
    assert code != 2, err
    after = Path("/dev/null").stat()
    assert (after.st_mode, after.st_rdev, after.st_ino) == (
        before.st_mode, before.st_rdev, before.st_ino,
    )  # fmt: skip


def test_short_options_take_an_equals_sign_too(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))
    code, _, err = run_cli(capsys, "samples", "-o=~/deep/x.npy")
    assert code == 0, err
    assert (here / "home" / "deep" / "x.npy").is_file()


@pytest.mark.parametrize("spelling", ["./~x.npy", "./sub/../~x.npy"])
@pytest.mark.parametrize("option", ["-o", "-o=", "--output="])
def test_a_dot_before_a_tilde_names_a_file_here(
    here: Path, capsys: pytest.CaptureFixture[str], option: str, spelling: str
) -> None:
    (here / "sub").mkdir()
    words = [f"{option}{spelling}"] if "=" in option else [option, spelling]
    code, _, err = run_cli(capsys, "samples", *words)
    assert code == 0, err
    assert (here / "~x.npy").is_file()


def test_json_does_not_replace_a_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(here)
    code, _, err = run_cli(capsys, "models", "--json", "model.safetensors")
    assert code == 2
    assert "is no JSON file by its name" in err
    assert content(here) == before


def test_standard_output_is_for_json_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_cli(capsys, *command(Output("run", "--output", ""), "-"))
    assert code == 2
    assert "only --json writes to standard output" in err
    assert not (here / "-").exists()
