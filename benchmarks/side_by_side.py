"""All contenders side by side; ``pvae-neuro bench`` from a checkout, with every preset.

Usage: python benchmarks/side_by_side.py PRESET [--model m.onnx ...] [--json bench.json] ...
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from pvae_neuro.bench.run import BenchConfig, bench_table, run_bench, save_figure
from pvae_neuro.utils.files import atomic_path

PRESETS = {
    "quick": BenchConfig.quick,
    "full": BenchConfig.full,
    "headline": BenchConfig.headline,
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
    for name in ("repeats", "steps"):
        if getattr(chosen, name) is not None:
            found[name] = getattr(chosen, name)
    return found


def tell(share: float, what: str) -> None:
    print(f"\r{100 * share:5.1f} %  {what:60.60s}", end="", file=sys.stderr, flush=True)


def main() -> None:
    chosen = options()
    result = run_bench(PRESETS[chosen.preset](**changes(chosen)), tell)
    print(file=sys.stderr)
    with atomic_path(chosen.json) as path:
        path.write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    if chosen.figure is not None:
        save_figure(result, chosen.figure)
    Console(width=150, highlight=False).print(bench_table(result))
    for name, why in result.skipped.items():
        print(f"left out: {name}: {why}")


if __name__ == "__main__":
    main()
