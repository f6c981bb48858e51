"""Runs a command under the guardian: reports as they come, an error instead of an endless wait."""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from pvae_neuro.errors import EngineError
from pvae_neuro.sim.lava import guardian

POLL_SECONDS = 0.1
DISMISS_SECONDS = guardian.GRACE_SECONDS + guardian.KILL_SECONDS + 3.0
LOG_LINES = 12
# Lava's manager listens on a socket below the folder, and a socket's path has 107 characters.
LONGEST_TEMPORARY_PATH = 50


class Supervisor:
    """Private folder, guardian and worker of one run, as a context manager.

    Leaving the context ends every process, unlinks their shared memory and removes the folder.
    """

    def __init__(self) -> None:
        self.token = f"pvae-{secrets.token_hex(6)}"
        temporary = tempfile.gettempdir()
        place = temporary if len(temporary) <= LONGEST_TEMPORARY_PATH else "/tmp"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.token}-", dir=place))
        self._guardian: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Supervisor:
        return self

    def start(self, command: list[str]) -> None:
        """Start the worker; the number of its report descriptor follows ``command``.

        Parameters
        ----------
        command : list of str
        """
        arguments = [str(os.getpid()), str(self.folder), self.token, *command]
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
            start_new_session=True,
        )

    def reports(self, progress: Callable[[], int], timeout: float) -> Iterator[str]:
        """Yield the worker's lines until it ends well.

        Parameters
        ----------
        progress : callable
            Any count that grows while the worker makes progress; called about ten times a second.
        timeout : float
            Seconds without a line and without progress after which the worker is given up.

        Raises
        ------
        EngineError
            If the worker fails, or makes no progress for that long; holds the end of its log.
        """
        done, since = progress(), time.monotonic()
        for lines in self._lines():
            for line in lines:
                if line.startswith("exit "):
                    self._check_exit(line)
                    return
                yield line
            if lines or progress() != done:
                done, since = progress(), time.monotonic()
            elif time.monotonic() - since > timeout:
                raise EngineError(f"lava: no progress for {timeout:g} s{self._log()}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._guardian is not None:
                self._dismiss(self._guardian)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _dismiss(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(DISMISS_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            if process.stdout is not None:
                process.stdout.close()

    def _lines(self) -> Iterator[list[str]]:
        """Yield whole lines as they come, and an empty list when none came for a while."""
        if self._guardian is None or self._guardian.stdout is None:
            raise EngineError("lava: the worker was not started")
        output = self._guardian.stdout.fileno()
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while True:
                if not selector.select(POLL_SECONDS):
                    yield []
                    continue
                received = os.read(output, 1 << 16)
                if not received:
                    raise EngineError(f"lava: the guardian process ended{self._log()}")
                *complete, pending = (pending + received).split(b"\n")
                yield [line.decode() for line in complete]

    def _check_exit(self, line: str) -> None:
        status = int(line.removeprefix("exit "))
        if status != 0:
            how = f"status {status}" if status > 0 else f"signal {-status}"
            raise EngineError(f"lava: the child process ended with {how}{self._log()}")

    def _log(self) -> str:
        """End of what the worker printed."""
        try:
            text = (self.folder / guardian.LOG_NAME).read_text(errors="replace")
        except OSError:
            return ""
        lines = text.strip().splitlines()[-LOG_LINES:]
        return "; it printed last:\n  " + "\n  ".join(lines) if lines else ""

    def _environment(self) -> dict[str, str]:
        own = {
            # What Python's manager leaves in the temporary folder when killed goes with ours.
            "TMPDIR": str(self.folder),
            # Threads of a numeric library would compete with Lava's processes.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        return {**os.environ, **own}
