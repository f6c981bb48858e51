"""Runs a job on a board; started by the guardian as a process of its own.

``main`` takes FOLDER, TOKEN and STATUS as ``sim/lava/worker.py`` does, and reports ``error TEXT``
besides.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.errors import PvaeNeuroError
from pvae_neuro.sim.lava.board.costs import Costs, Profilers
from pvae_neuro.sim.lava.board.job import BoardJob
from pvae_neuro.sim.lava.worker import CHANNEL_SLOTS, start, watch_actors


def run(job: BoardJob, status: int) -> None:
    """Run every sample of a job.

    Parameters
    ----------
    job : BoardJob
    status : int
        File descriptor for the reports.
    """
    try:
        job.board.select()
        _run(job, lambda line: os.write(status, f"{line}\n".encode()))
    except PvaeNeuroError as error:
        os.write(status, f"error {' '.join(str(error).split())}\n".encode())
        # The caller ends this process, and Lava's, when it has read the line.
        time.sleep(3600)


def _run(job: BoardJob, report: Callable[[str], Any]) -> None:
    # Lava chooses its models by what is there when it is imported.
    from lava.magma.core.run_conditions import RunSteps

    from pvae_neuro.sim.lava.board.parts import Parts
    from pvae_neuro.sim.lava.board.recorder import Recorder
    from pvae_neuro.sim.lava.board.run_config import BoardConfig
    from pvae_neuro.sim.lava.board.wiring import wire

    began = time.monotonic()
    parts = Parts(job.network, Path(job.folder), job.board.accumulator)
    stage = job.stage
    wiring = wire(stage, parts, seed=job.seed, first_step=job.first_step)
    profilers = Profilers(job.cost_steps)
    actors: list[Any] = []
    chosen: dict[str, str] = {}
    for process in wiring.firsts:
        config = BoardConfig(parts, profilers.callbacks)
        process.create_runtime(config, compile_config={"pypy_channel_size": CHANNEL_SLOTS})
        chosen |= config.chosen
        actors += process.runtime._messaging_infrastructure.actors
    threading.Thread(target=watch_actors, args=(actors,), daemon=True).start()

    def steps(number: int) -> None:
        for process in wiring.firsts:
            process.run(RunSteps(num_steps=number))

    # Variables can be set from the first step on.
    steps(1)
    report("ready")
    compiled = time.monotonic()
    links = stage.links(wiring, steps, job.board.latency)
    measured = time.monotonic()
    recorder = Recorder(links, job.record, job.seed, job.first_step)
    progress = job.open_progress()
    for piece in range(job.pieces):
        for row in job.rows(piece):
            _sample(job, recorder, row, piece)
            progress[0] += job.iterations
        report(f"piece {piece}")
    ran = time.monotonic()
    costs = None if not job.cost_steps else read_costs(recorder, profilers)
    job.write_found({
        "board": job.board.name,
        "versions": job.board.versions(),
        "stage": stage.name,
        "noise": stage.noise,
        "claim": stage.claim,
        "latency": {name: [b.least, b.most] for name, b in links.bounds.items()},
        "steps_per_message": links.unit,
        "models": chosen,
        "seconds": {
            "compile": compiled - began, "latency": measured - compiled, "run": ran - measured,
        },
        "costs": None if costs is None else costs.to_dict(),
    })  # fmt: skip


def _sample(job: BoardJob, recorder: Any, row: int, piece: int) -> None:
    """Run a sample and append what was recorded to the files of its piece."""
    inputs = {
        f"{e.population}.{e.variable}": job.read_input(f"{e.population}.{e.variable}")[0, row]
        for e in job.network.encodings
    }
    steps = {
        name: np.zeros((job.iterations + 1, job.size(name)), job.dtypes[name])
        for name in job.network.variables
    }
    for variable, at, values in recorder.sample(job.first_sample + row, inputs, job.iterations):
        steps[variable][at] = values
    for name in job.record:
        with job.variable_file(name, piece).open("ab") as file:
            file.write(steps[name].tobytes())
    for name, values in steps.items():
        with job.last_file(name, piece).open("ab") as file:
            file.write(values[-1].tobytes())


def read_costs(recorder: Any, profilers: Profilers) -> Costs:
    """Read power while the network is silent, then while it runs on without end."""
    recorder.links.drain()
    recorder.links.run(profilers.steps)
    static = profilers.watts()
    recorder.begin(0, 0)
    recorder.links.run(profilers.steps)
    return Costs(profilers.steps, static, profilers.watts(), profilers.microseconds())


def main(arguments: list[str]) -> None:
    """Run the job of a folder, then leave: the guardian ends Lava's own processes."""
    start(arguments, run)
