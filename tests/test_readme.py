"""README's blocks run as they stand, one after the other in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TEXT = README.read_text("utf-8")
SECONDS = 900


def blocks(*languages):
    """Language and code of each fenced block in one of the languages, in order."""
    fenced = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return [(language, code) for language, code in fenced if language in languages]


def run(command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False,
        env={**os.environ, "PATH": path},
    )  # fmt: skip


@pytest.mark.timeout(SECONDS)
def test_blocks_run_as_they_stand(tmp_path):
    for needed in ("onnxruntime", "lava", "torch", "jinja2"):
        if find_spec(needed) is None:
            pytest.skip(f"README's blocks need {needed}")
    found = blocks("sh", "python")
    assert {language for language, _ in found} == {"sh", "python"}
    for number, (language, code) in enumerate(found):
        script = tmp_path / f"block_{number}.{language}"
        script.write_text(code, encoding="utf-8")
        command = ["sh", "-e", script] if language == "sh" else [sys.executable, script]
        done = run(command, tmp_path)
        assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    for made in ("own.html", "mnist.json", "report.html", "spikes.npz"):
        assert (tmp_path / made).stat().st_size > 0


def test_files_that_it_names_exist():
    linked = re.findall(r"\]\(((?:docs/|CITATION)[^)#]*)", TEXT)
    assert len(linked) > 10
    for name in linked:
        assert (ROOT / name).is_file(), name


def test_extras_that_it_installs_exist():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    extras = re.findall(r"\.?\[([a-z,-]+)\]\"", TEXT)
    assert extras
    for extra in ",".join(extras).split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
