"""The command as a process: how it ends, and what it does with streams that do not work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_tools import make_files, run_cli
from models import random_images, random_model

from pvae_neuro import artifact
from pvae_neuro.cli.shared.endings import TRACEBACK, one_line, quiet_libraries
from pvae_neuro.errors import InputError, PvaeNeuroWarning, QualityError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = random_model()
    return make_files(
        tmp_path_factory.mktemp("files"), model, random_images(model, 6), ("predictive",)
    )


def process(
    files: Path, *arguments: object, shell: str = "", python: str = "", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``pvae-neuro ARGUMENTS``; ``shell`` is put behind it, for redirections."""
    words = " ".join(str(argument) for argument in arguments)
    command = f"{sys.executable} {python} -m pvae_neuro {words} {shell}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=files, capture_output=True, timeout=240,
        env={**os.environ, **environment}, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


# ------------------------------------------------------------------------------------ exit codes


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("x: expected y"), 2, "error: x: expected y"),
        (QualityError("far from float"), 1, "error: far from float"),
        (MemoryError(), 2, "error: not enough memory; give fewer samples or steps"),
        (PermissionError(13, "Permission denied", "/a/b"), 2, "error: /a/b: Permission denied"),
        (OSError("no route"), 2, "error: no route"),
        (KeyboardInterrupt(), 130, "interrupted; nothing half-written was left behind"),
        (ZeroDivisionError("by zero"), 70, "error: unexpected ZeroDivisionError (by zero); this"),
        (InputError("a\x1b[31m\nb"), 2, r"error: a\x1b[31m b"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_one_line_and_an_exit_code(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    error: BaseException, code: int, line: str,
) -> None:  # fmt: skip
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.delenv(TRACEBACK, raising=False)
    monkeypatch.setattr(artifact, "load_artifact", fail)
    found, out, err = run_cli(capsys, "inspect", files / "predictive.onnx")
    assert (found, out) == (code, "")
    assert err.startswith(line), err
    assert err.count("\n") == 1
    assert ("please report it" in err) == (code == 70)
    monkeypatch.setenv(TRACEBACK, "1")
    found, _, err = run_cli(capsys, "inspect", files / "predictive.onnx")
    assert found == code
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith(line)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("absent",), "No such command 'absent'"),
        (("run",), "Missing argument 'MODEL.onnx'"),
        (("run", "m.onnx"), "Missing option '--input'"),
        (("run", "m.onnx", "-i", "x.npy", "-o", "o", "-t", "many"), "'--steps'"),
        (("run", "m.onnx", "--wrong", "1"), "No such option"),
        (("--wrong",), "No such option"),
    ],
)
def test_wrong_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    code, out, err = run_cli(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err
    assert err.endswith("--help\n")


def test_without_a_verb_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_cli(capsys)
    assert (code, err) == (0, "")
    assert "verify" in out
    assert run_cli(capsys, "-h")[1] == out


def test_torch_without_memory_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    with pytest.raises(typer.Exit) as stop, one_line():
        torch.empty(1 << 55, dtype=torch.uint8)
    assert stop.value.exit_code == 2
    said = "error: not enough memory (tried to allocate 36028797018963968 bytes); "
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("attribute", ["code", "line"])
def test_an_interrupt_names_what_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], attribute: str
) -> None:
    (tmp_path / "old").write_text("old")
    outputs = [tmp_path / name for name in ("old", "new", "never")]
    with pytest.raises(typer.Exit) as stop, one_line(outputs):
        (tmp_path / "new").write_text("new")
        raise KeyboardInterrupt
    if attribute == "code":
        assert stop.value.exit_code == 130
    else:
        expected = f"interrupted; written before, whole: {tmp_path / 'new'}\n"
        assert capsys.readouterr().err == expected


def test_warnings_of_other_packages_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import logging
    import warnings

    monkeypatch.delenv(TRACEBACK, raising=False)
    monkeypatch.setattr(sys, "warnoptions", [])
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        quiet_libraries()
        warnings.warn("theirs", RuntimeWarning, stacklevel=1)
        warnings.warn("ours\x1b", PvaeNeuroWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: ours\\x1b\n"


SLEEP = """
import os, signal, sys, time
from pvae_neuro import artifact
from pvae_neuro.cli.main import main
def wait(path):
    os.kill(os.getpid(), {number})
    time.sleep(60)
artifact.load_artifact = wait
main()
"""


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, b"interrupted; "), (signal.SIGTERM, 143, b"terminated; ")],
)
def test_signals(files: Path, number: int, code: int, said: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLEEP.format(number=int(number)), "inspect", "predictive.onnx"],
        cwd=files, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert done.stderr == said + b"nothing half-written was left behind\n"


# --------------------------------------------------------------------------------------- streams

VERIFY = ("verify", "predictive.onnx", "-i", "x.npy", "-t", 2, "-e", "reference")


@pytest.fixture(scope="module")
def verified(files: Path) -> int:
    """How the proof below ends where every stream works; it says why if it does not pass."""
    return process(files, *VERIFY).returncode


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX"},
    ],
    ids=lambda environment: next(iter(environment.items())),
)
def test_output_of_any_encoding(files: Path, verified: int, environment: dict[str, str]) -> None:
    done = process(files, *VERIFY, **environment)
    assert done.returncode == verified, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"program_hash" in done.stdout.splitlines()[-1]


def test_what_ascii_lacks_is_written_in_its_letters(files: Path) -> None:
    done = process(files, "inspect", "predictive.onnx", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert b"sha256" in done.stdout
    assert b" -> " in done.stdout
    assert b"\\u" not in done.stdout


@pytest.mark.parametrize("shell", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "| true", "2>&1 | true"])
def test_streams_that_are_closed_change_no_verdict(
    files: Path, tmp_path: Path, verified: int, shell: str
) -> None:
    done = process(files, *VERIFY, "--json", tmp_path / "r.json", shell=shell)
    assert done.returncode == verified, done.stderr
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "r.json").stat().st_size > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_one_line(files: Path) -> None:
    show = ("inspect", "predictive.onnx")
    for arguments in (show, (*show, "--json", "-", "--quiet"), VERIFY):
        done = process(files, *arguments, shell=">/dev/full")
        assert done.returncode == 2, done.stderr
        last = b"error: cannot write standard output: No space left on device"
        assert done.stderr.splitlines()[-1] == last
        assert b"Traceback" not in done.stderr
    assert process(files, "absent", shell="2>/dev/full").returncode == 2


def test_json_for_a_closed_output_is_refused_before_work(files: Path) -> None:
    done = process(files, *VERIFY, "--json", "-", shell=">&-")
    assert done.returncode == 2
    assert done.stderr == b"error: -: standard output is closed; give the name of a file\n"


def test_an_output_that_standard_output_goes_to_is_refused(files: Path, tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    done = process(files, "inspect", "predictive.onnx", "--json", target, shell=f"> {target}")
    assert done.returncode == 2
    assert b"is the file that the output or errors of this command are written to" in done.stderr


def test_standard_output_may_be_named(files: Path) -> None:
    done = process(
        files, "run", "predictive.onnx", "-i", "x.npy", "-t", 2, "-e", "reference", "-q",
        "-o", "/dev/stdout",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"PK")


@pytest.mark.parametrize(
    ("model", "images", "piped"),
    [("/dev/stdin", "x.npy", "predictive.onnx"), ("predictive.onnx", "/dev/stdin", "x.npy")],
)
def test_standard_input_as_a_fifo_is_one_line(
    files: Path, tmp_path: Path, model: str, images: str, piped: str
) -> None:
    done = process(
        files, "run", model, "-i", images, "-o", tmp_path / "o.npz", shell=f"< <(cat {piped})"
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: /dev/stdin") or b"'/dev/stdin'" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["pvae_neuro", "pvae_neuro.cli.main"])
def test_an_isolated_interpreter(files: Path, tmp_path: Path, module: str) -> None:
    """Neither the current folder nor the environment is looked at for modules."""
    for name in ("random", "numpy", "json", "typing"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a module of the user')")
    done = subprocess.run(
        [sys.executable, "-I", "-m", module, "inspect", files / "predictive.onnx"],
        cwd=tmp_path, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"predictive network" in done.stdout


# ------------------------------------------------------------------------------ texts from files


def test_texts_are_neither_codes_nor_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console
    from rich.text import Text

    from pvae_neuro.cli.shared.support import plain_table, say

    name = "\x1b]0;title\x07[bold]x[/bold]\u202e.onnx"
    shown = r"\x1b]0;title\x07[bold]x[/bold]\u202e.onnx"
    code, _, err = run_cli(capsys, "inspect", tmp_path / name)
    assert code == 2
    assert shown in err
    screen = Console(width=200, force_terminal=False)
    table: Any = plain_table(name, "column")
    table.add_row(name)
    table.add_row(Text("\x1b[2J[red]", style="red"))
    screen.print(table)
    say(screen, name)
    out = capsys.readouterr().out
    assert out.count(shown) == 3
    assert r"\x1b[2J[red]" in out
    assert "\x1b" not in out
