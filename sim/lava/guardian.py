"""Watches over a Lava process and leaves nothing behind, however it or its caller ends.

A script of its own that imports the standard library alone, so that it starts in a few
milliseconds and outlives a failure of anything else::

    caller ──starts──▶ guardian ──starts──▶ worker ──forks──▶ Lava's processes

It ends when its standard input closes, when its caller is gone, or on a signal: it then ends
every process below it, unlinks their shared memory and removes the private folder. When the
worker ends by itself it reports ``exit STATUS`` on standard output and waits to be dismissed.

Usage: guardian.py CALLER_PID FOLDER TOKEN COMMAND...
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

POLL_SECONDS = 0.1
GRACE_SECONDS = 2.0
KILL_SECONDS = 5.0
LOG_NAME = "lava.log"
SHARED_MEMORY = Path("/dev/shm")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class DismissalError(Exception):
    """A signal asked the guardian to end."""


def adopt_orphans() -> None:
    """Become the parent of every process below whose own parent ends, so that none escapes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_guardian() -> None:
    """Have the kernel kill the worker, in which this runs, when the guardian ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start the worker in a process group of its own; what it prints goes to the log.

    The worker reports on the guardian's own standard output, whose number follows its arguments.
    """
    status = os.dup(1)
    with (folder / LOG_NAME).open("ab") as log:
        # The guardian has a single thread, so that code of its own is safe after the fork.
        return subprocess.Popen(
            [*command, str(status)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(status,),
            start_new_session=True,
            preexec_fn=die_with_guardian,  # noqa: PLW1509
        )


def reap() -> Iterator[tuple[int, int]]:
    """Yield (process, status) of each process below that has ended."""
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if process == 0:
            return
        yield process, os.waitstatus_to_exitcode(status)


def watch(worker: subprocess.Popen[bytes], caller: int) -> None:
    """Return when the caller has no more use for the worker."""
    while os.getppid() == caller:
        readable, _, _ = select.select([0], [], [], POLL_SECONDS)
        if readable and not os.read(0, 1):
            return
        for process, status in reap():
            if process == worker.pid:
                worker.returncode = status
                os.write(1, f"exit {status}\n".encode())


def end(group: int) -> None:
    """End every process below.

    Terminating comes first: Python's resource tracker ignores it, and unlinks shared memory once
    the others are gone.
    """
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for _ in reap():
                pass
            if not alive(group):
                return
            time.sleep(0.01)


def alive(group: int) -> bool:
    """Whether a process group has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def unlink_shared_memory(token: str) -> None:
    """Unlink what still bears the token: only processes that were killed leave it."""
    for pattern in (f"{token}*", f"sem.{token}*"):
        for path in SHARED_MEMORY.glob(pattern):
            path.unlink(missing_ok=True)


def dismiss(number: int, frame: object) -> None:
    """Turn a signal into an orderly end."""
    raise DismissalError


def main(arguments: list[str]) -> None:
    """Run a worker under watch."""
    caller, folder, token = int(arguments[0]), Path(arguments[1]), arguments[2]
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in signals:
        signal.signal(number, dismiss)
    # A caller that is gone closes the pipe that this writes to.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    adopt_orphans()
    worker = None
    try:
        worker = start(arguments[3:], folder)
        watch(worker, caller)
    except (DismissalError, BrokenPipeError):
        pass
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        if worker is not None:
            end(worker.pid)
        unlink_shared_memory(token)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
