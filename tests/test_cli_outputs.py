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
    "plot": ("model.safetensors", "--dataset", "x.npy", "-t", 2),
    "experiment": ("convergence", "--quick"),
    "bench": ("--model", "predictive.onnx"),
}
# Inputs of a command above by the parameters that name them, folders left out.
INPUTS = {
    "artifact": "predictive.onnx", "calibrate": "x.npy", "input": "x.npy",
    "start": "model.safetensors",
}  # fmt: skip
ENDINGS = {"plot": ".svg", "patches": ".npz", "samples": ".npy"}


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
QUICK = [output for output in OUTPUTS if output.verb not in ("demo", "experiment", "bench")]


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


@pytest.mark.parametrize(
    "verb",
    sorted(
        {
            output.verb
            for output in OUTPUTS
            if len([o for o in OUTPUTS if o.verb == output.verb]) > 1
        }
    ),
)
def test_two_outputs_are_two_files(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    first, second = [output for output in OUTPUTS if output.verb == verb]
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


def done(capsys: pytest.CaptureFixture[str], output: Output, target: object) -> None:
    code, _, err = run_cli(capsys, *command(output, target))
    # Models with random weights explain nothing, which `verify` says; its files are written.
    assert code == 0 or (code == 1 and output.verb == "verify"), err


@pytest.mark.parametrize("output", QUICK, ids=lambda output: f"{output.verb}{output.option}")
def test_every_kind_of_file_stays_what_it_is(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: Output
) -> None:
    """A link, permissions, a FIFO, a device, ``~``; nothing else appears."""
    monkeypatch.setenv("HOME", str(here / "home"))
    (here / "home").mkdir()
    (here / "elsewhere").mkdir()
    target = here / "elsewhere" / output.name
    target.write_text("old")
    target.chmod(0o600)
    link = here / f"link{output.name}"
    link.symlink_to(target)
    done(capsys, output, link.name)
    assert link.is_symlink()
    assert target.read_bytes() not in (b"old", b"")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600

    # Long options take `=`, and short ones are meant the same way; no shell expands them.
    option = output.option
    words = command(output, "")[:-2]
    written = f"{option}=~/deep/{output.name}"
    code, _, err = run_cli(capsys, *words, written)
    assert code in (0, 1), err
    assert [path.name for path in (here / "home" / "deep").iterdir()] == [output.name]
    if option == "--output":
        code, _, err = run_cli(capsys, *words, f"-o=~/short/{output.name}")
        assert code in (0, 1), err
        assert [path.name for path in (here / "home" / "short").iterdir()] == [output.name]

    fifo = here / f"fifo{output.name}"
    os.mkfifo(fifo)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()), daemon=True)
    reader.start()
    done(capsys, output, fifo)
    reader.join(60)
    assert received[0]
    assert stat.S_ISFIFO(fifo.stat().st_mode)

    appeared = {path.name for path in here.iterdir()} - {link.name, fifo.name}
    other = {f"other{ENDINGS.get(output.verb, '.made')}"}
    expected = {"checkpoint", "elsewhere", "home", "model.safetensors", "pictures"}
    assert appeared - other == expected | {"predictive.onnx", "x.npy"}


@pytest.mark.parametrize("output", QUICK, ids=lambda output: f"{output.verb}{output.option}")
def test_a_device_is_written_to(
    here: Path, capsys: pytest.CaptureFixture[str], output: Output
) -> None:
    """Those that choose a format by the name refuse it; nobody replaces it."""
    before = Path("/dev/null").stat()
    code, _, err = run_cli(capsys, *command(output, "/dev/null"))
    if output.verb in ENDINGS and output.option == "--output":
        assert code == 2
        assert "expected a name" in err
    else:
        assert code == 0 or (code == 1 and output.verb == "verify"), err
    after = Path("/dev/null").stat()
    assert (after.st_mode, after.st_rdev, after.st_ino) == (
        before.st_mode, before.st_rdev, before.st_ino,
    )  # fmt: skip


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
