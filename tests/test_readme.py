"""README's commands exist, and its Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from cli_tools import run_cli

from pvae_neuro.errors import InputError
from pvae_neuro.zoo import load_pretrained

README = Path(__file__).parent.parent / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


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


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, tmp_path, monkeypatch):
    try:
        load_pretrained()
    except InputError as error:
        pytest.skip(str(error))
    for needed in ("onnxruntime", "lava"):
        pytest.importorskip(needed)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
