"""Installations as people have them: read-only, without a home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import toy
from cases_tools import case_folder

from pvae_neuro.artifact import save_artifact

# The folder of the engines becomes read-only for one process and its children.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
TWICE = """
import sys
from pvae_neuro.cli.main import run_command
from pvae_neuro.cli.shared.endings import quiet_libraries
quiet_libraries()
sys.exit(run_command([*sys.argv[1:], "auto"]) or run_command([*sys.argv[1:], "fast"]))
"""


@pytest.mark.skipif(find_spec("llvmlite") is None, reason="llvmlite is not installed")
def test_no_place_for_compiled_code(tmp_path):
    """One process runs the command twice, and warns once."""
    case_folder("numba_no_cache_place")
    network = toy.lateral()
    images = toy.images(network, 2)
    np.save(tmp_path / "x.npy", images)
    save_artifact(network, images, tmp_path / "toy.onnx")
    sources = Path(sys.modules["pvae_neuro.sim"].__path__[0])
    isolated = ["unshare", "--map-root-user", "--mount", "sh", "-c", READ_ONLY, str(sources)]
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare and the right to mount")
    assert subprocess.run([*isolated, "touch", str(sources / "new")], check=False).returncode
    named = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    environment = {k: v for k, v in os.environ.items() if k not in named}
    command = [
        *(sys.executable, "-c", TWICE, "run", tmp_path / "toy.onnx"),
        *("-i", tmp_path / "x.npy", "--steps", "2", "-o", tmp_path / "o.npz", "-e"),
    ]
    done = subprocess.run(
        [*isolated, *map(str, command)],
        env={**environment, "HOME": "/dev/null/none"},
        check=False, timeout=250, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("engine fast") == 2
    warnings = [line for line in done.stderr.splitlines() if "NUMBA_CACHE_DIR" in line]
    assert len(warnings) == 1
    assert "Traceback" not in done.stderr
    with np.load(tmp_path / "o.npz") as file:
        assert file["reconstruction"].shape == (2, 20)
