"""A folder for the files of workers, which goes when this process goes, however that happens."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress

# Waits until the other end of its input closes. Either the owner says that nobody uses the folder
# any more, or the owner is dead, and its workers may make the folder anew until they end too.
_GUARDIAN = """
import shutil, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
unused = sys.stdin.read() != ""
for second in range(30):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    if unused:
        break
    time.sleep(1)
"""
_SECONDS_TO_REMOVE = 15.0


Close = Callable[[bool], None]


def scratch_folder(prefix: str) -> tuple[str, Close]:
    """Make a temporary folder that another process removes when this one ends, even if killed.

    Returns
    -------
    folder : str
    close : callable
        Removes the folder. Its argument says whether all who used it have ended; if not, the other
        process goes on removing it for a while. Calling it twice does nothing.

    Raises
    ------
    OSError
        If there is no place for the folder, or no process can be started.
    """
    folder = tempfile.mkdtemp(prefix=prefix)
    try:
        # A session of its own: no key and no signal to the group of this process ends it.
        guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARDIAN, folder],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/",
        )  # fmt: skip
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise

    def close(unused: bool) -> None:
        if guardian.stdin is None or guardian.stdin.closed:
            return
        # It may have been killed.
        with suppress(BrokenPipeError), guardian.stdin:
            guardian.stdin.write(b"unused" if unused else b"")
        if unused:
            # A large folder on a slow disk takes longer; it goes all the same.
            with suppress(subprocess.TimeoutExpired):
                guardian.wait(_SECONDS_TO_REMOVE)
        # From here on nobody waits for it.
        guardian.returncode = guardian.returncode or 0

    return folder, close
