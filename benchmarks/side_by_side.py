"""All contenders side by side: those of ``pvae-neuro bench``, other frameworks, and Lava.

Usage: python benchmarks/side_by_side.py PRESET [--model m.onnx ...] [--json bench.json] ...

``headline`` is what the project claims about its speed: one size (K = 512) on one core and on all,
Lava included. Its calls last 128 iterations, as evaluations do: an image costs its drive and its
readout once per call. ``full`` has some sizes, batches and activities and both circuits, on all
cores; how costs grow with each of them is for ``curves.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import framework_contenders
import lava_contenders
import numpy as np
from bench_figure import save_figure
from machine import machine, versions
from rich.console import Console

from pvae_neuro.bench import contenders
from pvae_neuro.bench.cases import Case, artifact_cases, available_cores, synthetic_cases
from pvae_neuro.bench.networks import TOPOLOGIES
from pvae_neuro.bench.run import choose_contenders, run_bench
from pvae_neuro.bench.timing import Rules
from pvae_neuro.cli.shared.tables import bench_table
from pvae_neuro.utils.files import atomic_path

SHIPPED, FRAMEWORKS = contenders.CONTENDERS, framework_contenders.CONTENDERS
LAVA = lava_contenders.CONTENDERS
CONTENDERS = {**contenders.KNOWN, **FRAMEWORKS, **LAVA}
BATCHES, ACTIVITIES = (1, 64, 256), (0.02, 0.12, 0.5)


@dataclass(frozen=True)
class Preset:
    """What is run; no threads are all cores."""

    latents: tuple[int, ...]
    batches: tuple[int, ...]
    topologies: tuple[str, ...]
    threads: tuple[int, ...]
    contenders: tuple[str, ...]
    rules: Rules


ALL_CORES = (available_cores(),)
PRESETS = {
    "quick": Preset(
        (128, 512), (64,), ("lateral",), ALL_CORES, (*SHIPPED, *FRAMEWORKS),
        Rules(repeats=3, limit_seconds=3.0),
    ),
    "full": Preset(
        (128, 512, 2048), BATCHES, tuple(TOPOLOGIES), ALL_CORES, (*SHIPPED, *FRAMEWORKS),
        Rules(steps=64),
    ),
    "headline": Preset(
        (512,), BATCHES, tuple(TOPOLOGIES), tuple(sorted({1, *ALL_CORES})), tuple(CONTENDERS),
        Rules(steps=128, limit_seconds=20.0),
    ),
}  # fmt: skip


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


def cases(chosen: argparse.Namespace, preset: Preset, threads: tuple[int, ...]) -> Iterator[Case]:
    images = None
    if chosen.images is not None:
        images = np.load(chosen.images).astype(np.float32)
        images = images.reshape(len(images), -1)
    real = [
        case
        for path in chosen.model
        for case in artifact_cases(
            path, preset.batches, threads, float_model=chosen.float_model, images=images
        )
    ]
    # Real networks say what synthetic ones of one size would.
    latents = () if chosen.model and chosen.preset == "headline" else preset.latents
    synthetic = synthetic_cases(preset.topologies, latents, preset.batches, ACTIVITIES, threads)
    yield from chain(synthetic, real)


def show(case: str, done: int, total: int) -> None:
    print(f"\r{case:80.80s} {done} of {total}", end="", file=sys.stderr, flush=True)


def main() -> None:
    chosen = options()
    preset = PRESETS[chosen.preset]
    names = preset.contenders if chosen.engines is None else chosen.engines.split(",")
    threads = preset.threads if chosen.threads is None else tuple(chosen.threads)
    changes = {name: getattr(chosen, name) for name in ("repeats", "steps")}
    rules = replace(preset.rules, **{k: v for k, v in changes.items() if v is not None})
    before = machine()
    result = run_bench(
        cases(chosen, preset, threads), choose_contenders(names, CONTENDERS), rules, progress=show
    )
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
