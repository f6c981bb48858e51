"""README's commands exist, and its Python runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli_tools import run_cli

README = Path(__file__).parent.parent / "README.md"


def blocks(language):
    fenced = re.findall(
        r"^```(\w*)\n(.*?)^```$", README.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    return [code for tongue, code in fenced if tongue == language]


def commands():
    text = "\n".join(blocks("")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.startswith("pvae-neuro ")]


@pytest.mark.parametrize("command", commands())
def test_every_option_of_every_command_is_known(capsys, command):
    _, verb, *rest = shlex.split(command, comments=True)
    code, out, _ = run_cli(capsys, verb, "--help")
    assert code == 0
    for word in rest:
        if word.startswith("-"):
            assert re.search(rf"(^|[\s,]){word}[\s,]", out), word


def test_python_runs(tmp_path):
    """Each block in a process of its own: Lava sets how children start, once per process."""
    for needed in ("onnxruntime", "lava"):
        if find_spec(needed) is None:
            pytest.skip(f"README's Python needs {needed}")
    digits = "from pvae_neuro import sample_digits\ndigits, labels = sample_digits()\n"
    road, lava = blocks("python")
    for code in (road, digits + lava + "\nassert spikes.sum() > 0\n"):
        script = tmp_path / "readme.py"
        script.write_text(code, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=240,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
