"""How far the fast engine is from what the machine allows.

Counts the bytes and integer operations of an image-iteration (``roofline_counts.py``), measures the
machine's bandwidth and integer rates (``roofline_machine.py``) and the engine itself
(``pvae_neuro.bench``), all in one run. The limit of a phase is the longer of two times: its bytes
at the bandwidth of an array of that size, its operations at their rates. The limit of an iteration
is the sum over phases. See docs/performance.md.

Usage: python benchmarks/roofline.py [--json roofline.json] [--figure roofline.svg]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from machine import machine, versions
from roofline_counts import KINDS, Phase, operations, phases
from roofline_machine import Machine

from pvae_neuro.bench.cases import available_cores, synthetic_cases
from pvae_neuro.bench.networks import TOPOLOGIES
from pvae_neuro.bench.run import BenchResult, CaseResult, choose_contenders, run_bench
from pvae_neuro.bench.timing import Rules
from pvae_neuro.plots.style import INK, INTEGER_COLOR
from pvae_neuro.sim.fast import FastEngine
from pvae_neuro.sim.fast.readout import STEPS_TOGETHER

ENGINES = {"fast": True, "fast-bare": False}
COUNTED_IMAGES, COUNTED_STEPS = 8, 4 * STEPS_TOGETHER
COLORS = ("#2b6cb0", "#63b3ed", "#dd6b20", "#f6ad55", "#38a169", "#805ad5", "#718096", "#c53030")


def counted(measured: CaseResult, summary: bool) -> list[Phase]:
    """Phases of a case; activity as the engine has it."""
    case = measured.case
    images = case.images[:COUNTED_IMAGES]
    recording = FastEngine().run(case.network, images, COUNTED_STEPS, case.seed, record="full")
    return list(phases(case.network, recording, summary))


def phase_limit(phase: Phase, machine: Machine) -> dict[str, Any]:
    """Shortest time of a phase in microseconds, and what bounds it."""
    rates = machine.rates
    memory = sum(size / machine.bandwidth(source) for size, source in phase.reads)
    memory += phase.local / rates["l1_bytes"]
    compute = sum(getattr(phase, kind) / rates[kind] for kind in KINDS)
    return {
        **asdict(phase),
        "shared": phase.shared,
        "operations": operations(phase),
        "memory_us": 1e6 * memory,
        "compute_us": 1e6 * compute,
        "limit_us": 1e6 * max(memory, compute),
        "bound_by": "memory" if memory > compute else "operations",
    }


def analyse(result: BenchResult, machines: dict[int, Machine]) -> list[dict[str, Any]]:
    """Limits beside measured times, a row per case and kind of record."""
    rows = []
    for found in result.cases:
        case = found.case
        for engine, summary in ENGINES.items():
            measured = found.measurement(engine)
            if measured is None:
                continue
            limits = [phase_limit(p, machines[case.threads]) for p in counted(found, summary)]
            limit = sum(p["limit_us"] for p in limits)
            cost = measured.microseconds
            rows.append(
                {
                    "topology": case.network.name,
                    "engine": engine,
                    "threads": case.threads,
                    "batch": len(case.images),
                    "latents": case.latents,
                    "activity": case.activity,
                    "measured_us": asdict(cost),
                    "limit_us": limit,
                    "share_of_limit": limit / cost.median,
                    "operations": sum(p["operations"] for p in limits),
                    "shared_bytes": sum(p["shared"] for p in limits),
                    "phases": limits,
                }
            )
    return rows


def draw(rows: list[dict[str, Any]], machines: dict[int, Machine], path: Path) -> None:
    """Left: the roofline. Right: the limit of each phase, stacked, and the measured time."""
    from matplotlib.figure import Figure

    threads = max(machines)
    shown = [r for r in rows if r["threads"] == threads and r["engine"] == "fast-bare"]
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    roof, stack = figure.subplots(1, 2, width_ratios=(1, 1.3))
    _draw_roof(roof, shown, machines[threads])
    _draw_stack(stack, shown)
    for ax in (roof, stack):
        ax.tick_params(labelsize=8, colors=INK)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)


def _draw_roof(ax: Any, rows: list[dict[str, Any]], machine: Machine) -> None:
    top = max(machine.rates[kind] for kind in KINDS)
    x = [2.0**e for e in range(-3, 9)]
    for name, bandwidth in machine.levels().items():
        if bandwidth is not None:
            ax.plot(x, [min(top, i * bandwidth) / 1e9 for i in x], lw=1.2, label=name)
    for topology, marker in (("lateral", "o"), ("predictive", "s")):
        chosen = [r for r in rows if r["topology"] == topology]
        intensity = [r["operations"] / r["shared_bytes"] for r in chosen]
        speed = [1e-3 * r["operations"] / r["measured_us"]["median"] for r in chosen]
        ax.plot(intensity, speed, marker, ms=5, color=INTEGER_COLOR, label=topology)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlabel("operations per byte of weights", fontsize=9, color=INK)
    ax.set_ylabel("10⁹ operations per second", fontsize=9, color=INK)
    ax.legend(frameon=False, fontsize=8)


def _draw_stack(ax: Any, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(p["name"] for r in rows for p in r["phases"]))
    left = [0.0] * len(rows)
    for name, color in zip(names, COLORS, strict=False):
        # In shares of the measured time, so that small and large networks fit one axis.
        share = [
            sum(p["limit_us"] for p in r["phases"] if p["name"] == name)
            / r["measured_us"]["median"]
            for r in rows
        ]
        ax.barh(range(len(rows)), share, left=left, color=color, label=name)
        left = [a + b for a, b in zip(left, share, strict=True)]
    labels = [f"{r['topology']} {r['latents']}, {100 * r['activity']:.0f} %" for r in rows]
    ax.set_yticks(range(len(rows)), labels)
    ax.axvline(1.0, color=INK, lw=1.0)
    ax.set_xlabel("limit of each phase as a share of the measured time", fontsize=9, color=INK)
    ax.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latents", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--activities", type=float, nargs="+", default=[0.02, 0.12, 0.5])
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, available_cores()}))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pixels", type=int, default=784)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.05, help="length of a measurement")
    parser.add_argument("--json", type=Path, default=Path("roofline.json"))
    parser.add_argument("--figure", type=Path)
    return parser.parse_args()


def main() -> None:
    chosen = options()
    threads = tuple(chosen.threads)
    sizes = tuple(chosen.latents), (chosen.batch,), tuple(chosen.activities)
    cases = synthetic_cases(tuple(TOPOLOGIES), *sizes, threads, pixels=chosen.pixels)
    rules = Rules(repeats=chosen.repeats, steps=64, min_seconds=chosen.seconds)
    machines = {n: Machine(n, chosen.repeats, chosen.seconds) for n in threads}
    result = run_bench(cases, choose_contenders(ENGINES), rules, baseline="fast")
    rows = analyse(result, machines)
    content = {
        "schema_version": 3,
        "machine": machine(),
        "versions": versions(),
        "limits": {str(n): {**m.rates, "bandwidth": m.levels()} for n, m in machines.items()},
        "cases": rows,
    }
    chosen.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if chosen.figure is not None:
        draw(rows, machines, chosen.figure)
    for row in rows:
        print(
            f"{row['topology']:10s} K {row['latents']:5d} {100 * row['activity']:5.1f} % "
            f"{row['engine']:9s} {row['threads']} threads: "
            f"measured {row['measured_us']['median']:9.3f} µs, limit {row['limit_us']:9.3f} µs, "
            f"{100 * row['share_of_limit']:5.1f} % of it reached"
        )


if __name__ == "__main__":
    main()
