"""The page on the language: its example runs as it stands, and its text is that of the file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.network import OPERATIONS
from pvae_neuro.sim.engine import get_engine

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "language.md").read_text(encoding="utf-8")
EXAMPLE = DOCS / "examples" / "lif.py"
ENGINES = ("reference", "fast", "onnx", "lava")


def works(name):
    try:
        get_engine(name).require()
    except EngineUnavailableError:
        return False
    return True


def test_example_runs_as_it_stands(tmp_path):
    engines = [name for name in ENGINES if works(name)]
    # With every engine here, exactly what the page says: no arguments.
    arguments = [] if len(engines) == len(ENGINES) else engines
    run = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert run.returncode == 0, run.stderr
    assert "  program fire(given, own)\n    t0 = 0 >= wait\n" in run.stdout
    assert "words proved to fit their widths" in run.stdout
    lines = [line for line in run.stdout.splitlines() if " spikes, " in line]
    assert [line.partition(":")[0] for line in lines] == engines
    assert all(line.endswith(" spikes, equal") for line in lines)
    spikes = {int(line.split()[1]) for line in lines}
    assert len(spikes) == 1
    assert spikes.pop() > 100
    assert (tmp_path / "lif.onnx").is_file()


def test_code_of_the_page_is_the_file():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks[:2]:
        assert block in EXAMPLE.read_text(encoding="utf-8")


def test_composite_of_the_page():
    """It checks itself."""
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[2]
    names: dict[str, object] = {}
    exec(block, names)
    assert len(names["program"].composites) == 1


def test_rule_is_short():
    body = re.search(r"def fire\(n\):\n(.*?)```", PAGE, re.DOTALL).group(1)
    assert 5 <= len(body.strip().splitlines()) <= 10


def test_table_has_every_operation():
    rows = [line.split(" | ")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    named = {
        name for row in rows for cell in re.findall(r"`([^`]*)`", row) for name in cell.split()
    }
    assert named == set(OPERATIONS)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", PAGE))
def test_links(link):
    assert (DOCS / link).is_file()


def test_command_of_the_long_run():
    command = re.search(r"python (benchmarks/\S+) (--.*)", PAGE)
    assert (DOCS.parent / command.group(1)).is_file()
    source = (DOCS.parent / command.group(1)).read_text(encoding="utf-8")
    assert all(f'"{option}"' in source for option in re.findall(r"--\S+", command.group(2)))
