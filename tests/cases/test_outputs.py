"""Outputs that were written to the wrong place, and scripts that start workers without a guard."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases_tools import case_folder
from cli_tools import make_files, run_cli
from models import random_images, random_model


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = random_model()
    make_files(tmp_path, model, random_images(model, 6), ("predictive",))
    (tmp_path / "predictive.onnx").rename(tmp_path / "pred.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command_of(name: str) -> list[str]:
    """The first command that a case's description quotes, without ``pvae-neuro``."""
    text = (case_folder(name) / "README.md").read_text("utf-8")
    return [word.strip("'") for word in re.findall(r"`([^`]*)`", text)[0].split()]


def test_output_is_input(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command_of("output_is_input")
    assert arguments == ["run", "pred.onnx", "-i", "y.npy", "-o", "y.npy"]
    (here / "x.npy").rename(here / "y.npy")
    images, exported = (here / "y.npy").read_bytes(), (here / "pred.onnx").read_bytes()
    for words in (arguments, ["run", "pred.onnx", "-i", "y.npy", "-o", "pred.onnx"]):
        code, _, err = run_cli(capsys, *words)
        assert code == 2
        assert f"error: {words[-1]}: is an input of this command" in err
        assert (here / "y.npy").read_bytes() == images
        assert (here / "pred.onnx").read_bytes() == exported


def test_tilde_output(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command_of("tilde_output")
    assert arguments == ["run", "pred.onnx", "-i", "x.npy", "--output='~/sub/o.npz"]
    monkeypatch.setenv("HOME", str(here / "home"))
    arguments[-1] = arguments[-1].replace("'", "")
    code, _, err = run_cli(capsys, *arguments)
    assert code == 0, err
    assert not (here / "~").exists()
    with np.load(here / "home" / "sub" / "o.npz") as written:
        assert "counts" in written


def test_tilde_json(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (case_folder("tilde_json") / "README.md").read_text("utf-8")
    assert "--json='~/r.json'" in text
    monkeypatch.setenv("HOME", str(here / "home"))
    code, _, err = run_cli(capsys, "inspect", "pred.onnx", "--json=~/r.json")
    assert code == 0, err
    assert not (here / "~").exists()
    assert (here / "home" / "r.json").is_file()


def test_dask_no_guard(here: Path) -> None:
    """The script's work has no guard: one error names the script and the guard."""
    pytest.importorskip("distributed", reason="needs dask: pip install 'pvae-neuro[cluster]'")
    text = (case_folder("dask_no_guard") / "nog.py").read_text("utf-8")
    # Where these names are today.
    script = text.replace("pvae_neuro.scheduling", "pvae_neuro.cluster.engine")
    (here / "nog.py").write_text(script.replace("r.counts", "r.readout"))
    done = subprocess.run(
        [sys.executable, "nog.py"], cwd=here, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("pvae_neuro.errors.EngineError: scheduler local: cannot start workers")
    assert "nog.py anew" in last
    assert 'if __name__ == "__main__":' in last
    # Workers end without a word of their own.
    assert done.stderr.count("EngineError: ") == 1
