"""Wall time and peak memory of ``pvae-neuro evaluate`` as a whole process.

Usage: python benchmarks/evaluate_time.py MODEL (--dataset mnist --data-root DATA | --input x.npy)
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import machine, versions

from pvae_neuro.bench.timing import Spread

# Kilobytes on Linux, bytes on macOS.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--dataset")
    parser.add_argument("--data-root")
    parser.add_argument("--input")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("evaluate.json"))
    return parser.parse_args()


def command(chosen: argparse.Namespace) -> list[str]:
    words = [sys.executable, "-m", "pvae_neuro", "evaluate", chosen.model, "--quiet"]
    words += ["--samples", str(chosen.samples), "--steps", str(chosen.steps), "--json", "-"]
    for name in ("dataset", "data_root", "input"):
        value = getattr(chosen, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", value]
    return words


def run(words: list[str]) -> tuple[float, dict[str, Any]]:
    start = time.perf_counter()
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, json.loads(done.stdout)


def main() -> None:
    chosen = options()
    words = command(chosen)
    run(words)  # compiles the kernels, or finds them in the cache; fills the file cache
    runs = [run(words) for _ in range(chosen.repeats)]
    last = runs[-1][1]
    seconds = Spread.of([seconds for seconds, _ in runs])
    content = {
        "schema_version": 1,
        "machine": machine(),
        "versions": versions(),
        "engine": last["engine"],
        "samples": last["samples"],
        "steps": last["steps"],
        "repeats": chosen.repeats,
        "seconds": {"median": seconds.median, "q25": seconds.q25, "q75": seconds.q75},
        "peak_bytes": RSS_UNIT * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    }
    chosen.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
