"""Lava's contenders. Each lives in a process of its own, compiled once and asked to run in turns.

Lava forks a process per Lava process; that is not safe from a program that already has threads,
as this one has. An idle Lava network waits on semaphores and takes no processor time from the
contender that is being timed. Lava's processes run one thread each and synchronize every step;
the thread count of a case does not reach them.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.bench.cases import Case
from pvae_neuro.bench.contenders import Contender
from pvae_neuro.bench.timing import Entry
from pvae_neuro.errors import EngineError, EngineUnavailableError
from pvae_neuro.sim.lava.available import require_lava

WORKER = Path(__file__).with_name("lava_worker.py")
START_SECONDS = 300.0
# A run is given up after this time.
RUN_SECONDS = 600.0
STOP_SECONDS = 20.0


def stock(case: Case, stack: ExitStack) -> Entry:
    """Lava's own LIF and Dense, one image."""
    return _entry("lava-stock", case, stack, 1)


def ours(case: Case, stack: ExitStack) -> Entry:
    """Our processes, one image."""
    return _entry("lava", case, stack, 1)


def batched(case: Case, stack: ExitStack) -> Entry:
    """Our processes, the images of the case side by side."""
    if len(case.images) == 1:
        raise EngineUnavailableError("lava-batch: a batch of one image is contender lava")
    return _entry("lava-batch", case, stack, len(case.images))


def _entry(name: str, case: Case, stack: ExitStack, images: int) -> Entry:
    network = case.network
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pvae-bench-"))
    path = Path(folder) / "images.npy"
    np.save(path, case.images[:images])
    network_path = Path(folder) / "network.pickle"
    network_path.write_bytes(pickle.dumps(network))
    job = {
        "kind": name,
        "latents": case.latents,
        "batch": images,
        "seed": case.seed,
        "network": str(network_path),
        "images": str(path),
    }
    worker = stack.enter_context(Worker(job))
    return Entry(name, images, worker.run)


class Worker:
    """A process with one Lava network in it.

    Parameters
    ----------
    job : dict
        What to build; see ``lava_worker.py``.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._name = job["kind"]
        # A pipe that nobody reads would fill up and stop the process.
        self._errors = tempfile.TemporaryFile(  # noqa: SIM115 - closed by _stop
            "w+", encoding="utf-8", errors="replace"
        )
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Worker:
        try:
            self._expect("ready", START_SECONDS)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, steps: int) -> None:
        """Run so many iterations and wait for their end."""
        try:
            self._input.write(f"{steps}\n")
            self._input.flush()
        except OSError as error:
            raise self._failed(str(error)) from error
        self._expect("done", RUN_SECONDS)

    @property
    def _input(self) -> Any:
        return self._process.stdin

    def _listen(self) -> None:
        if self._process.stdout is not None:
            with self._process.stdout as answers:
                for line in answers:
                    self._lines.put(line.strip())
        self._lines.put("")

    def _expect(self, word: str, seconds: float) -> None:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise self._failed(f"no answer within {seconds:g} s") from None
        if line != word:
            raise self._failed("its process ended")

    def _failed(self, reason: str) -> EngineError:
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return EngineError(f"{self._name}: {reason}{': ' + lines[-1] if lines else ''}")

    def _stop(self) -> None:
        """Ask the process to stop Lava and end; kill it if it does not."""
        with suppress(OSError):
            self._input.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(STOP_SECONDS)
        self._errors.close()


CONTENDERS = {
    "lava-stock": Contender(
        "Lava's own LIF and recurrent Dense of the same size, fixed point, graded spikes, one "
        "image at a time; its own activity",
        require_lava, stock,
    ),
    "lava": Contender(
        "our Lava processes with Lava's Dense, fixed point, one image at a time", require_lava, ours
    ),
    "lava-batch": Contender(
        "our Lava processes with a batch axis, fixed point, all images side by side",
        require_lava, batched,
    ),
}  # fmt: skip
