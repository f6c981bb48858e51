"""Runs one Lava network for a benchmark.

Usage: python benchmarks/lava_worker.py JOB

JOB is JSON: kind (``lava-stock``, ``lava``, ``lava-batch``), latents, batch, seed, network (a
pickle), images (a ``.npy`` file). Writes ``ready`` when Lava has compiled the network and taken its
first steps; then, for each line with a number of iterations on standard input, runs them and writes
``done``. Stops Lava at the end of its input.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

MESSAGE_BITS = 24
FIRST_STEPS = 3
STOP_SECONDS = 10.0
FAILED = 3
LARGEST_MANTISSA = 9


def stock(neurons: int, message_bits: int = MESSAGE_BITS) -> Any:
    """Build Lava's LIF with a recurrent Dense, driven to fire.

    Parameters
    ----------
    neurons : int
    message_bits : int
        Width of graded spikes; 0 for binary ones.

    Returns
    -------
    LIF
    """
    from lava.proc.dense.process import Dense
    from lava.proc.lif.process import LIF

    largest = LARGEST_MANTISSA
    rng = np.random.default_rng(0)
    weight = rng.integers(-largest, largest + 1, (neurons, neurons)).astype(np.int32) * 2
    lif = LIF(shape=(neurons,), bias_mant=10, bias_exp=6, vth=100, du=4095, dv=400)
    dense = Dense(weights=weight, weight_exp=-1, num_message_bits=message_bits)
    lif.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    return lif


def ours(job: dict[str, Any]) -> tuple[Any, int]:
    """Build our processes; return the latents and the Lava steps of an iteration."""
    from pvae_neuro.sim.lava.build import build_lava

    # Written by the benchmark that started this process.
    network = pickle.loads(Path(job["network"]).read_bytes())
    lava = build_lava(network, seed=job["seed"], batch=job["batch"])
    images = np.load(job["images"])
    lava.set_input(images[0] if job["batch"] == 1 else images)
    return lava.latents, lava.steps_per_iteration


def start(job: dict[str, Any]) -> tuple[Callable[[int], None], Callable[[], None]]:
    """Compile a job's network; return what runs iterations and what stops Lava."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg

    from pvae_neuro.sim.lava.worker import CHANNEL_SLOTS

    settings = Loihi2SimCfg(select_tag="fixed_pt")
    if job["kind"] == "lava-stock":
        process, hops = stock(job["latents"]), 1
        process.create_runtime(settings)
    else:
        process, hops = ours(job)
        process.create_runtime(settings, compile_config={"pypy_channel_size": CHANNEL_SLOTS})
    process.run(RunSteps(num_steps=FIRST_STEPS * hops))
    return lambda steps: process.run(RunSteps(num_steps=steps * hops)), process.stop


def serve(job: dict[str, Any], answers: TextIO) -> None:
    """Run what is asked on standard input until it ends."""
    run, stop = start(job)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        run(int(line))
        print("done", file=answers, flush=True)
    # Lava sometimes waits for ever for its own processes.
    timer = threading.Timer(STOP_SECONDS, os._exit, (0,))
    timer.daemon = True
    timer.start()
    stop()


def main() -> None:
    """Serve the job of the command line; take Lava's processes along, however this one ends."""
    from pvae_neuro.sim.lava.worker import end_with_parent

    end_with_parent()
    status = FAILED
    try:
        # Whatever Lava prints must not look like an answer.
        answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        serve(json.loads(sys.argv[1]), answers)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        # A plain exit would wait for Lava's processes, which may wait for this one.
        os._exit(status)


if __name__ == "__main__":
    main()
