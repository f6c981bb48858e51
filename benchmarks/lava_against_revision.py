"""Time of an iteration on Lava, this revision against another one, side by side.

The other revision's own environment runs its own code; both circuits of the shipped model are
compiled first, in a process each, and then run in turns, so that whatever else the machine does
falls on both. Every turn begins its samples anew. Needs lava-nc (Python 3.10) in both.

Usage: python benchmarks/lava_against_revision.py OTHER_PYTHON [--batch 1,64] [--turns 9]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

CIRCUITS = ("lateral", "predictive")
FIRST_STEPS = 3
STOP_SECONDS = 10.0


def worker(job: dict[str, Any]) -> None:
    """Compile a circuit, then run as many iterations as each line of standard input says.

    Uses nothing that only one of the revisions has.
    """
    import numpy as np
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg

    from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
    from pvae_neuro.sim.lava import build_lava
    from pvae_neuro.sim.lava.worker import CHANNEL_SLOTS
    from pvae_neuro.zoo import load_pretrained, sample_digits

    digits = sample_digits()[0]
    network = quantize(load_pretrained(), digits, QuantizeConfig(topology=job["circuit"]))
    circuit = build_lava(network, batch=job["batch"])
    images = np.resize(digits, (job["batch"], digits.shape[1]))
    circuit.set_input(images[0] if job["batch"] == 1 else images)
    config = {"pypy_channel_size": CHANNEL_SLOTS}
    circuit.latents.create_runtime(Loihi2SimCfg(select_tag="fixed_pt"), compile_config=config)
    circuit.latents.run(RunSteps(num_steps=FIRST_STEPS))
    print("ready", flush=True)
    for line in sys.stdin:
        sample, iterations = map(int, line.split())
        circuit.reset(sample=sample)
        steps = circuit.steps(iterations)
        start, busy = time.perf_counter(), processor_seconds()
        circuit.latents.run(RunSteps(num_steps=steps))
        seconds, busy = time.perf_counter() - start, processor_seconds() - busy
        result = {
            "ms": 1e3 * seconds / steps,
            "processor_ms": 1e3 * busy / steps,
            "spikes": int(circuit.latents.z.get().sum()),
        }
        print(json.dumps(result), flush=True)
    # Lava sometimes waits for ever for its own processes.
    timer = threading.Timer(STOP_SECONDS, os._exit, (0,))
    timer.daemon = True
    timer.start()
    circuit.latents.stop()
    os._exit(0)


def processor_seconds() -> float:
    """Processor time of every process of this group: less than time at the mercy of others."""
    total, group = 0, str(os.getpgrp())
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[2] == group:
                total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


class Contender:
    """One revision's process."""

    def __init__(self, python: str, circuit: str, batch: int) -> None:
        job = json.dumps({"circuit": circuit, "batch": batch})
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [python, __file__, "--worker", job],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **one_thread, "PYTHONWARNINGS": "ignore"},
        )

    def answer(self) -> str:
        """Next line that is an answer."""
        for line in self._process.stdout or ():
            if line.startswith(("ready", "{")):
                return line
        raise SystemExit("a contender ended early")

    def run(self, sample: int, iterations: int) -> dict[str, Any]:
        """Run new samples."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{sample} {iterations}\n")
            self._process.stdin.flush()
        result: dict[str, Any] = json.loads(self.answer())
        return result

    def stop(self) -> None:
        """End it, and Lava's own processes with it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * STOP_SECONDS)
        # Python's resource tracker ignores this, and unlinks shared memory once others are gone.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()


def compare(other: str, circuit: str, batch: int, iterations: int, turns: int) -> dict[str, Any]:
    """Milliseconds per Lava step of both, turn by turn."""
    contenders = {"other": Contender(other, circuit, batch)}
    contenders["this"] = Contender(sys.executable, circuit, batch)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    busy: dict[str, list[float]] = {name: [] for name in contenders}
    spikes: set[int] = set()
    try:
        for contender in contenders.values():
            contender.answer()
        for turn in range(turns):
            names = list(contenders) if turn % 2 else list(reversed(contenders))
            found = {name: contenders[name].run(turn * batch, iterations) for name in names}
            for name, result in found.items():
                times[name].append(result["ms"])
                busy[name].append(result["processor_ms"])
            spikes.add(found["this"]["spikes"] - found["other"]["spikes"])
    finally:
        for contender in contenders.values():
            contender.stop()
    ratios = [a / b for a, b in zip(times["this"], times["other"], strict=True)]
    return {
        **{f"{name}_ms_per_step": round(statistics.median(v), 4) for name, v in times.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "processor_ratio": round(sum(busy["this"]) / sum(busy["other"]), 3),
        "difference_of_spikes": sorted(spikes),
    }


def main() -> None:
    """Compare, or work for a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", nargs="?", help="the other revision's python")
    parser.add_argument("--batch", default="1,64", help="samples side by side, several by commas")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(json.loads(options.worker))
        return
    if options.other is None:
        parser.error("give the other revision's python")
    for batch in map(int, options.batch.split(",")):
        iterations = max(20, options.iterations // (1 if batch == 1 else 4))
        for circuit in CIRCUITS:
            result = compare(options.other, circuit, batch, iterations, options.turns)
            load = round(os.getloadavg()[0], 1)
            print(json.dumps({"circuit": circuit, "batch": batch, "load": load, **result}))


if __name__ == "__main__":
    main()
