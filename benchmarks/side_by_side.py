"""All contenders side by side: those of ``pvae-neuro bench``, other frameworks, and Lava.

Usage: python benchmarks/side_by_side.py PRESET [--model m.onnx ...] [--json bench.json] ...
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import framework_contenders
import lava_contenders
from bench_figure import save_figure
from machine import machine, versions
from rich.console import Console

from pvae_neuro.bench import contenders
from pvae_neuro.bench.config import CONTENDERS as SHIPPED
from pvae_neuro.bench.config import BenchConfig, available_cores
from pvae_neuro.bench.networks import TOPOLOGIES
from pvae_neuro.bench.run import run_bench
from pvae_neuro.bench.timing import Rules
from pvae_neuro.cli.shared.tables import bench_table
from pvae_neuro.utils.files import atomic_path

CONTENDERS = {
    **contenders.CONTENDERS, **framework_contenders.CONTENDERS, **lava_contenders.CONTENDERS
}  # fmt: skip
FRAMEWORKS, LAVA = tuple(framework_contenders.CONTENDERS), tuple(lava_contenders.CONTENDERS)


def headline(**changes: Any) -> BenchConfig:
    """One size (K = 512) on one core and on all, Lava included.

    What the project claims about its speed is read off this one run. Calls last 128 iterations, as
    evaluations do: an image costs its drive and its readout once per call.
    """
    preset = BenchConfig(
        latents=(512,),
        topologies=tuple(TOPOLOGIES),
        threads=tuple(sorted({1, available_cores()})),
        engines=(*SHIPPED, *FRAMEWORKS, *LAVA),
        rules=Rules(repeats=7, steps=128, limit_seconds=20.0),
    )
    return replace(preset, **changes)


PRESETS = {
    "quick": partial(BenchConfig.quick, engines=(*SHIPPED, *FRAMEWORKS)),
    "full": partial(BenchConfig.full, engines=(*SHIPPED, *FRAMEWORKS)),
    "headline": headline,
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--model", action="append", default=[], help="artifact (.onnx); repeat")
    parser.add_argument("--float-model", help="the artifacts' float model (.safetensors)")
    parser.add_argument("--images", help=".npy for the artifacts")
    parser.add_argument("--engines", help="comma-separated; the preset's by default")
    parser.add_argument("--threads", type=int, nargs="+")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--steps", type=int, help="iterations per call")
    parser.add_argument("--json", type=Path, default=Path("bench.json"))
    parser.add_argument("--figure", type=Path)
    return parser.parse_args()


def changes(chosen: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "models": tuple(chosen.model),
        "float_model": chosen.float_model,
        "images": chosen.images,
    }
    # Real networks say what synthetic ones of one size would.
    if chosen.model and chosen.preset == "headline":
        found["latents"] = ()
    if chosen.engines is not None:
        found["engines"] = tuple(name.strip() for name in chosen.engines.split(","))
    if chosen.threads is not None:
        found["threads"] = tuple(chosen.threads)
    return found


def configured(chosen: argparse.Namespace) -> BenchConfig:
    config = PRESETS[chosen.preset](**changes(chosen))
    names = ("repeats", "steps")
    rules = {name: getattr(chosen, name) for name in names if getattr(chosen, name) is not None}
    return replace(config, rules=replace(config.rules, **rules))


def show(case: str, done: int, total: int) -> None:
    print(f"\r{case:60.60s} {done} of {total}", end="", file=sys.stderr, flush=True)


def main() -> None:
    chosen = options()
    before = machine()
    result = run_bench(configured(chosen), show, CONTENDERS)
    content = {**result.to_dict(), "machine": before, "versions": versions()}
    print(file=sys.stderr)
    with atomic_path(chosen.json) as path:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if chosen.figure is not None:
        save_figure(result, chosen.figure)
    Console(width=150, highlight=False).print(bench_table(result))
    for name, why in result.skipped.items():
        print(f"left out: {name}: {why}")


if __name__ == "__main__":
    main()
