"""Folders of workers go with the process that made them, also if it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pvae_neuro.cluster import scratch
from pvae_neuro.cluster.scratch import scratch_folder

MADE = """
import os, signal, sys
from pvae_neuro.cluster.scratch import scratch_folder
folder, close = scratch_folder("made-")
open(os.path.join(folder, "file"), "w").close()
print(folder, flush=True)
if sys.argv[1] == "close":
    close(True)
    close(True)
    sys.exit(os.path.exists(folder))
os.kill(os.getpid() if sys.argv[1] == "kill" else 0, signal.SIGKILL)
"""


def wait_until_gone(folder: Path) -> None:
    """Another process removes it, some time soon."""
    for _ in range(1200):
        if not folder.exists():
            return
        time.sleep(0.05)
    pytest.fail(f"{folder} is still there")


@pytest.mark.parametrize("how", ["close", "kill", "kill the group"])
def test_the_folder_goes(tmp_path: Path, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MADE, how], env={"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE,
        text=True, timeout=60, check=False, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == (0 if how == "close" else -signal.SIGKILL)
    assert Path(done.stdout.strip()).parent == tmp_path
    wait_until_gone(Path(done.stdout.strip()))
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_left_where_no_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError):
        scratch_folder("made-")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_long_to_remove_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "_SECONDS_TO_REMOVE", 0.0)
    folder, close = scratch_folder("made-")
    close(True)
    wait_until_gone(Path(folder))


def test_a_folder_in_use_goes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever still writes there may make it anew, and it goes again."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder, close = scratch_folder("made-")
    close(False)
    for _ in range(2):
        wait_until_gone(Path(folder))
        Path(folder).mkdir()
    wait_until_gone(Path(folder))
