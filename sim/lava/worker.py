"""Runs a network on Lava; started by the guardian as a process of its own.

``main`` takes FOLDER, TOKEN and STATUS. It reads the job from its private folder and writes lines
to the file descriptor STATUS:
``ready`` when Lava has compiled the network, and ``piece I`` when the records of piece I are on
disk.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

from pvae_neuro.sim.lava.exchange import Job, read_job

WATCH_SECONDS = 0.2
FAILED = 3
# Messages that a channel holds in shared memory. Lava's 64 are far more than the one that steps in
# lockstep leave waiting, and would take 13 MB per channel for 64 samples of 784 neurons.
CHANNEL_SLOTS = 8
_PR_SET_PDEATHSIG = 1
_RANDOM_NAME_LENGTH = 8


def end_with_parent() -> None:
    """Have the kernel kill each process that this one forks when this one ends."""
    if sys.platform != "linux":
        return
    prctl = ctypes.CDLL(None).prctl
    os.register_at_fork(after_in_child=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def mark_shared_memory(token: str) -> None:
    """Name what Lava creates in shared memory after the token, so that the guardian finds it."""
    # Private names of Python 3.10, the only one that Lava runs on; there is no public way.
    shared: Any = shared_memory
    shared._SHM_NAME_PREFIX = f"/{token}-"
    shared._SHM_SAFE_NAME_LENGTH = len(f"/{token}-") + _RANDOM_NAME_LENGTH
    process: Any = multiprocessing.current_process()
    process._config["semprefix"] = f"/{token}"


def watch_actors(actors: list[Any]) -> None:
    """End this process when one of Lava's fails: ``run`` would wait for its message for ever."""
    while True:
        for actor in actors:
            if actor.exception:
                _fail(actor.exception[1])
            if actor.exitcode is not None:
                _fail(f"a process of Lava ended with status {actor.exitcode}")
        time.sleep(WATCH_SECONDS)


def _fail(reason: str) -> None:
    print(reason, file=sys.stderr, flush=True)
    os._exit(FAILED)


def run(job: Job, status: int) -> None:
    """Run every piece of a job.

    Parameters
    ----------
    job : Job
    status : int
        File descriptor for the reports.
    """
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg

    from pvae_neuro.sim.lava.build import build_lava

    lava = build_lava(
        job.network,
        seed=job.seed,
        batch=job.width,
        stock_convolutions=job.stock_convolutions,
        job=job,
    )
    actors: list[Any] = []
    for process in lava.parts:
        process.create_runtime(
            Loihi2SimCfg(select_tag="fixed_pt"),
            compile_config={"pypy_channel_size": CHANNEL_SLOTS},
        )
        actors += process.runtime._messaging_infrastructure.actors
    threading.Thread(target=watch_actors, args=(actors,), daemon=True).start()
    os.write(status, b"ready\n")
    for piece in range(job.pieces):
        steps = job.passes(piece) * lava.steps(job.total_iterations)
        for process in lava.parts:
            process.run(RunSteps(num_steps=steps))
        os.write(status, f"piece {piece}\n".encode())


def start(arguments: list[str], task: Callable[[Any, int], None]) -> None:
    """Do a task with the job of a folder, then leave: the guardian ends Lava's own processes."""
    folder, token, status = Path(arguments[0]), arguments[1], int(arguments[2])
    end_with_parent()
    mark_shared_memory(token)
    try:
        task(read_job(folder), status)
    except BaseException:
        _fail(traceback.format_exc())
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Run the job of a folder."""
    start(arguments, run)
