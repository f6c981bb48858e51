"""A folder for the files of workers, which goes when this process goes, however that happens."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable

# Waits until the other end of its input closes: by the owner, or because the owner is dead.
# Workers may take a moment to end, and write until then.
_GUARDIAN = """
import shutil, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
sys.stdin.read()
for wait in (0, 0.2, 0.5, 1, 2, 5):
    time.sleep(wait)
    try:
        shutil.rmtree(sys.argv[1])
    except FileNotFoundError:
        break
    except OSError:
        pass
"""
_SECONDS_TO_REMOVE = 15.0


def scratch_folder(prefix: str) -> tuple[str, Callable[[], None]]:
    """Make a temporary folder that another process removes when this one ends, even if killed.

    Returns
    -------
    folder : str
    close : callable
        Removes the folder; calling it twice does nothing.

    Raises
    ------
    OSError
        If there is no place for the folder, or no process can be started.
    """
    folder = tempfile.mkdtemp(prefix=prefix)
    # A session of its own: no key and no signal to the group of this process ends it.
    guardian = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARDIAN, folder],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, cwd="/",
    )  # fmt: skip

    def close() -> None:
        if guardian.stdin is not None and not guardian.stdin.closed:
            guardian.stdin.close()
            guardian.wait(_SECONDS_TO_REMOVE)

    return folder, close
