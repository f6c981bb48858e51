"""Measures what each way of a dense product costs: the figures in ``sim/fast/ways.py``.

Usage: python benchmarks/product_costs.py [--json out.json]

Prints picoseconds for each product of a value and a weight (dense: of one sample alone, and of each
of 32) or for each weight of a row that is added (events, pairs): processor time of one thread,
without packing and listing. ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` limit the instructions.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from pvae_neuro.network import Interval
from pvae_neuro.sim.fast.engine import Work
from pvae_neuro.sim.fast.layouts import Weights
from pvae_neuro.sim.fast.plan import product_plan
from pvae_neuro.sim.fast.processor import level
from pvae_neuro.sim.fast.ways import Task, ways_for

# Weights, values: of a lateral connection, a feedback connection, a readout of wide mantissas.
CASES = {
    "bytes by counts": (np.int8, 127, (0, 63)),
    "bytes by messages": (np.int8, 127, (-4096, 4095)),
    "words by counts": (np.int16, 20_000, (0, 63)),
}
SHAPES = ((512, 512), (784, 512))
ACTIVITY = (0.02, 0.1, 0.3, 0.6)
ROWS = (1, 32)
# Products of a call, so that calling costs nothing.
TOGETHER = 64


def seconds(task: Task, way: str, rows: int, activity: float) -> float:
    """Processor time of a product for one sample: the smallest of some calls."""
    rng = np.random.default_rng(0)
    low, high = task.values
    # Counts are mostly 1; signed messages lie around 0.
    values = 1 + rng.poisson(0.4, (rows, task.sources))
    if low < 0:
        values = np.round(rng.normal(0, high / 4, values.shape)).astype(np.int64)
    values = np.clip(values, low, high)
    values[rng.random(values.shape) >= activity] = 0
    weights = Weights()
    plan = product_plan(task, way, weights, "iteration")
    state = np.zeros((rows, len(plan.initial)), np.int32)
    state[:, : task.sources] = values
    work = Work(plan, plan.code, state, {}, steps=TOGETHER + 1)
    image = np.zeros((rows, 2, task.targets), np.int32)
    checked = Work(plan, plan.code, state, {"image": image}, steps=2)
    best = np.inf
    for first in range(0, rows, plan.rows):
        last = min(first + plan.rows, rows)
        checked.kernel(first, last, 0, 1)
    for _ in range(9):
        start = time.thread_time()
        for first in range(0, rows, plan.rows):
            work.kernel(first, min(first + plan.rows, rows), 0, TOGETHER)
        best = min(best, (time.thread_time() - start) / TOGETHER)
    exact = values @ task.weight.T.astype(np.int64)
    if not np.array_equal(image[:, 0], exact):
        raise SystemExit(f"{task.name} by {way}: other integers than NumPy's")
    return float(best) / rows


def main() -> None:
    """Measure all ways of all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    rows_found = []
    for case, (kind, largest, (low, high)) in CASES.items():
        for targets, sources in SHAPES:
            weight = np.round(rng.normal(0, largest / 4, (targets, sources)))
            weight = np.clip(weight, -largest, largest).astype(kind)
            task = Task(case, "p.z", weight, Interval(np.array([low]), np.array([high])))
            for way in ways_for(task):
                for rows in ROWS:
                    for activity in (1.0,) if way == "dense" else ACTIVITY:
                        spent = seconds(task, way, rows, activity)
                        per_weight = 1e12 * spent / (targets * sources * activity)
                        rows_found.append(
                            {
                                "level": level(), "case": case, "way": way,
                                "targets": targets, "sources": sources, "rows": rows,
                                "activity": activity, "us": 1e6 * spent, "ps": per_weight,
                            }
                        )  # fmt: skip
                        print(
                            f"{level():6} {case:18} {targets} x {sources} {way:6} rows {rows:2} "
                            f"activity {activity:4.2f}: {1e6 * spent:7.3f} us {per_weight:7.2f} ps",
                            flush=True,
                        )
    if options.json:
        options.json.write_text(json.dumps(rows_found, indent=1) + "\n")


if __name__ == "__main__":
    main()
