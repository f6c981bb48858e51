"""Time of ``evaluate`` on one and on two Dask workers of a thread each, and without Dask.

Usage::

    python benchmarks/dask_scaling.py MODEL.onnx [--input x.npy] [--data-root data]
        [--samples 10000] [--steps 128] [--turns 5] [--json scaling.json]

Workers are processes of this machine, started once; each compiles, or finds compiled, what it
needs before anything is timed. Without Dask, with one worker and with two take turns. By the clock
the ratio of one to two workers is 2 where they scale perfectly and nobody else uses the cores.
Processor times, of all processes together, tell what Dask and the second worker cost even where
others use the cores: two workers that scale take no more of them than one.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from machine import machine, versions

import pvae_neuro as pn
from pvae_neuro.cluster.engine import ScheduledEngine, engine_for
from pvae_neuro.utils.decoded import rows_of

WORKERS = (1, 2)


class Spent(NamedTuple):
    """Seconds by the clock, of this process's processor time, and of all workers'."""

    clock: float
    here: float
    workers: float

    @property
    def processor(self) -> float:
        """Processor seconds of all processes."""
        return self.here + self.workers


def on_workers(engine: ScheduledEngine) -> float:
    """Processor seconds that the workers have spent since they started."""
    return sum(engine._connection.client().run(time.process_time).values())


def timed(run: Callable[[], Any], workers: Callable[[], float]) -> Spent:
    """What a run costs."""
    before, own, start = workers(), time.process_time(), time.perf_counter()
    run()
    clock, here = time.perf_counter() - start, time.process_time() - own
    return Spent(clock, here, workers() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--input", default="mnist", help="file, or name of a data set")
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--engine", default="fast")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    network = pn.load_artifact(chosen.model).network
    images = pn.load_images(
        chosen.input, chosen.data_root, None, limit=chosen.samples, model=network.input,
        stream=True,
    ).pixels  # fmt: skip
    with ExitStack() as stack:
        engines: dict[str, Any] = {"none": pn.get_engine(chosen.engine)}
        for count in WORKERS:
            engine = engine_for(chosen.engine, "local", workers=count, threads=1)
            engines[f"{count}"] = stack.enter_context(engine)
        results: dict[str, Any] = {}

        def run(name: str, samples: int) -> None:
            results[name] = pn.evaluate(
                network, rows_of(images, slice(samples)), steps=chosen.steps,
                engine=engines[name], progress=False,
            )  # fmt: skip

        for name in engines:
            run(name, min(512, chosen.samples))
        spent: dict[str, list[Spent]] = {name: [] for name in engines}
        for _ in range(chosen.turns):
            for name, engine in engines.items():
                remote = isinstance(engine, ScheduledEngine)
                workers = (lambda e=engine: on_workers(e)) if remote else float
                spent[name].append(timed(lambda n=name: run(n, chosen.samples), workers))
    for name, found in results.items():
        if not np.array_equal(found.mse, results["none"].mse):
            raise SystemExit(f"{name} workers: expected the figures of one process, got others")
    rows = {}
    for name, times in spent.items():
        rows[name] = {
            "clock": median(t.clock for t in times),
            "processor": median(t.processor for t in times),
            "here": median(t.here for t in times),
            "clocks": [t.clock for t in times],
            "processors": [t.processor for t in times],
        }
        print(
            f"workers {name:4}: {rows[name]['clock']:.2f} s by the clock, processor of all "
            f"{rows[name]['processor']:.2f} s, of this process {rows[name]['here']:.2f} s"
        )

    def ratio(first: str, second: str, field: str) -> float:
        pairs = zip(spent[first], spent[second], strict=True)
        return median(getattr(a, field) / getattr(b, field) for a, b in pairs)

    ratios = {
        "one_over_two": ratio("1", "2", "clock"),
        "one_over_none": ratio("1", "none", "clock"),
        "processor_two_over_one": ratio("2", "1", "processor"),
        "processor_one_over_none": ratio("1", "none", "processor"),
    }
    print(*(f"{name} {value:.3f}" for name, value in ratios.items()), sep=", ")
    if chosen.json:
        content = {
            "machine": machine(), "versions": versions(), "engine": chosen.engine,
            "samples": len(images), "steps": chosen.steps, "rows": rows, "ratios": ratios,
        }  # fmt: skip
        chosen.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
