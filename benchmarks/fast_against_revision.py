"""Times the engine ``fast`` against another revision of this project, side by side.

Usage::

    python benchmarks/fast_against_revision.py OTHER_PYTHON [--turns 15] [--json out.json]

``OTHER_PYTHON`` is the interpreter of an environment that holds the other revision. Both run the
shipped model, quantized by themselves, in processes of their own that wait while the other is
timed; they take turns, so that a slow spell of the machine falls on both. A ratio is formed within
a turn; printed are its median and that of the smallest times. ``--cpu`` times the processor instead
of the clock, with one thread, for a machine that others use too. Starts are first runs of a
network in a process of its own: by the clock with kernels cached, and by the processor without.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

STEPS = 128
CASES = [
    (topology, batch, record)
    for topology in ("lateral", "predictive")
    for batch in (1, 64, 256)
    for record in ("summary", "last")
]
LEAST_SECONDS = 0.15
# Runs in either revision: what moved since is looked for in both places.
CHILD = """
import json, os, sys, time
import numpy as np
import pvae_neuro as pn
try:
    from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
except ImportError:
    from pvae_neuro import QuantizeConfig, quantize
from pvae_neuro.sim.engine import get_engine

def network(topology):
    return quantize(model, digits, QuantizeConfig(topology=topology, max_count=63))

clock = getattr(time, os.environ["CLOCK"])
model = pn.load_pretrained()
digits, _ = pn.sample_digits()
images = np.concatenate([digits] * 10)[:256]
networks = {}
print("ready", flush=True)
for line in sys.stdin:
    topology, batch, record, steps, least = json.loads(line)
    if topology not in networks:
        networks[topology] = network(topology)
        begin, used = time.perf_counter(), time.process_time()
        engine = get_engine("fast")
        engine.run(networks[topology], images[:1], 1, 0)
        first = time.perf_counter() - begin, time.process_time() - used
    times, total = [], 0.0
    while total < least or not times:
        begin = clock()
        engine.run(networks[topology], images[:batch], steps, 0, record=record)
        times.append(clock() - begin)
        total += times[-1]
    print(json.dumps({"best": min(times), "first": first}), flush=True)
"""


class Child:
    """A process of one environment that runs cases when it is told to."""

    def __init__(self, python: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [python, "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"CLOCK": "perf_counter", **os.environ, **environment},
            cwd=tempfile.gettempdir(),
        )
        self._line()

    def _line(self) -> str:
        if self._process.stdout is None:
            raise RuntimeError("expected a pipe")
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a child ended; its message is above")
        return line

    def run(self, topology: str, batch: int, record: str, least: float) -> dict[str, float]:
        """Time one case."""
        if self._process.stdin is None:
            raise RuntimeError("expected a pipe")
        self._process.stdin.write(json.dumps([topology, batch, record, STEPS, least]) + "\n")
        self._process.stdin.flush()
        found: dict[str, float] = json.loads(self._line())
        return found

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def starts(python: str, turns: int, cache: str | None) -> list[float]:
    """Seconds of the first run of a network; processor time where the cache is empty."""
    found = []
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as empty:
            environment = {} if cache is None else {"NUMBA_CACHE_DIR": empty}
            child = Child(python, **environment)
            found.append(
                child.run("lateral", 1, "summary", 0.0)["first"][0 if cache is None else 1]
            )
            child.close()
    return found


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", help="Python of the other revision's environment")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    parser.add_argument("--skip-starts", action="store_true")
    options = parser.parse_args()
    clock = {"CLOCK": "thread_time", "NUMBA_NUM_THREADS": "1"} if options.cpu else {}
    children = {"this": Child(sys.executable, **clock), "other": Child(options.other, **clock)}
    rows = []
    for case in CASES:
        best: dict[str, list[float]] = {name: [] for name in children}
        for turn in range(options.turns + 1):
            order = sorted(children, reverse=bool(turn % 2))
            for name in order:
                seconds = children[name].run(*case, LEAST_SECONDS)["best"]
                # The first turn warms up.
                if turn:
                    best[name].append(seconds)
        ratios = [a / b for a, b in zip(best["this"], best["other"], strict=True)]
        row = {
            "topology": case[0],
            "batch": case[1],
            "record": case[2],
            "this_ms": 1e3 * min(best["this"]),
            "other_ms": 1e3 * min(best["other"]),
            "ratio_of_best": min(best["this"]) / min(best["other"]),
            "median_ratio": median(ratios),
        }
        rows.append(row)
        print(
            "{topology:10} batch {batch:3} {record:7}  this {this_ms:8.3f} ms  other "
            "{other_ms:8.3f} ms  best {ratio_of_best:.3f}  median {median_ratio:.3f}".format(**row),
            flush=True,
        )
    for child in children.values():
        child.close()
    found: dict[str, object] = {"cases": rows}
    if not options.skip_starts:
        for name, python in (("this", sys.executable), ("other", options.other)):
            warm = starts(python, 5, None)
            cold = starts(python, 1, "empty")
            found[f"start_{name}"] = {"cached_s": min(warm), "compiled_cpu_s": min(cold)}
            print(f"{name:5} start {min(warm):.3f} s, first of its kind {min(cold):.1f} s of CPU")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
