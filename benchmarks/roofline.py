"""How far the engine ``fast`` is from what the machine allows.

Usage::

    python benchmarks/roofline.py [--model mnist] [--threads 1 2] [--json roofline.json]
        [--figure roofline.svg] [--synthetic]

Counts the work of an image-iteration (``roofline_counts.py``), measures the machine's bandwidth,
integer rates and product peaks with the best instruction present (``roofline_machine.py``), and the
engine itself, all in one run. The limit of a form of a phase is the longer of two times: its bytes
at the bandwidth of an array of that size, its operations at their rates. The limit of a phase is
that of its best form, and the limit of an iteration the sum over its phases. See
docs/performance.md.

The networks are those of a shipped model in all its circuits; with ``--synthetic``, synthetic ones
of several sizes and activities as well.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, versions
from roofline_counts import Activity, Phase, measured, phases
from roofline_machine import Machine

import pvae_neuro as pn
from pvae_neuro.bench.cases import Case, available_cores, latents_of, synthetic_cases
from pvae_neuro.bench.networks import TOPOLOGIES
from pvae_neuro.bench.run import BenchResult, choose_contenders, run_bench
from pvae_neuro.bench.timing import Rules
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.plots.style import INK
from pvae_neuro.sim.engine import fastest_engine

SCHEMA_VERSION = 4
ENGINES = {"fast-bare": False, "fast": True}
# Largest measured time over the limit that is asked for.
BAR = 2.0
COUNTED_IMAGES, COUNTED_STEPS, STEPS = 8, 128, 128
COLORS = (
    "#2b6cb0", "#63b3ed", "#dd6b20", "#f6ad55", "#38a169", "#805ad5", "#718096", "#c53030",
    "#319795", "#b7791f", "#97266d", "#4a5568",
)  # fmt: skip


def shipped_cases(
    name: str, batch: int, threads: tuple[int, ...]
) -> Iterator[tuple[Case, Activity]]:
    """The shipped model in each of its circuits, with the activity of its counts."""
    model = pn.load_model(name)
    digits, _ = pn.sample_digits()
    flat = digits.reshape(len(digits), -1).astype(np.float32)
    for circuit in topologies(model.config.family):
        network = pn.quantize(model, flat[:64], pn.QuantizeConfig(topology=circuit))
        images = np.resize(flat, (batch, flat.shape[1]))
        found = activity_of(network, images)
        share = found.active[f"{network.latents.name}.z"] / latents_of(network)
        for count in threads:
            yield Case(network, images, model, share, count, f"{name} {circuit}"), found


def activity_of(network: Any, images: Any) -> Activity:
    """Activity of a few images over an evaluation's iterations."""
    return measured(network, images[:COUNTED_IMAGES], COUNTED_STEPS, fastest_engine(network))


def phase_limit(phase: Phase, limits: Machine) -> dict[str, Any]:
    """Shortest time of a phase in microseconds, its form, and what bounds it."""
    forms = {}
    for form in phase.forms:
        # A form whose instructions this machine lacks is none.
        if form.work.keys() <= limits.rates.keys():
            memory = sum(size / limits.bandwidth(source) for size, source in form.reads)
            memory += phase.local / limits.rates["bytes"]
            compute = sum(units / limits.rates[kind] for kind, units in form.work.items())
            forms[form.name] = 1e6 * memory, 1e6 * compute
    best = min(forms, key=lambda name: max(forms[name]))
    memory, compute = forms[best]
    return {
        "name": phase.name,
        "macs": phase.macs,
        "form": best,
        "limit_us": max(memory, compute),
        "bound_by": "memory" if memory > compute else "operations",
        "forms": {name: {"memory_us": m, "compute_us": c} for name, (m, c) in forms.items()},
    }


def limit_of(
    network: Any, activity: Activity, batch: int, summary: bool, limits: Machine
) -> list[dict[str, Any]]:
    """Limits of all phases of an iteration."""
    return [phase_limit(p, limits) for p in phases(network, activity, batch, summary)]


def analyse(
    result: BenchResult, activities: list[Activity], machines: dict[int, Machine]
) -> list[dict[str, Any]]:
    """Limits beside measured times, a row per case and kind of record."""
    rows = []
    for found, activity in zip(result.cases, activities, strict=True):
        case = found.case
        for engine, summary in ENGINES.items():
            cost = found.measurement(engine)
            if cost is None:
                continue
            parts = limit_of(
                case.network, activity, len(case.images), summary, machines[case.threads]
            )
            limit = sum(part["limit_us"] for part in parts)
            rows.append(
                {
                    "network": case.model or f"synthetic {case.network.name}",
                    "engine": engine,
                    "threads": case.threads,
                    "batch": len(case.images),
                    "latents": case.latents,
                    "activity": case.activity,
                    "measured_us": asdict(cost.microseconds),
                    "limit_us": limit,
                    "ratio": cost.microseconds.median / limit,
                    "bar": BAR if case.model else None,
                    "phases": parts,
                }
            )
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The limit of each phase, stacked, and the measured time, in microseconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.5 + 0.35 * len(rows)), layout="constrained")
    ax = figure.subplots()
    names = list(dict.fromkeys(p["name"] for r in rows for p in r["phases"]))
    left = np.zeros(len(rows))
    for number, name in enumerate(names):
        share = [sum(p["limit_us"] for p in r["phases"] if p["name"] == name) for r in rows]
        # In shares of the limit, so that small and large networks fit one axis.
        share = [s / r["limit_us"] for s, r in zip(share, rows, strict=True)]
        color = COLORS[number % len(COLORS)]
        ax.barh(range(len(rows)), share, left=left, color=color, label=name)
        left += share
    ax.plot(
        [r["ratio"] for r in rows], range(len(rows)), "|", ms=14, mew=2, color=INK, label="measured"
    )
    ax.axvline(BAR, color=INK, lw=0.8, ls=":")
    labels = [
        f"{r['network']} {r['latents']}, {100 * r['activity']:.0f} %, {r['engine']}, "
        f"{r['threads']} thread{'s' * (r['threads'] > 1)}"
        for r in rows
    ]
    ax.set_yticks(range(len(rows)), labels)
    ax.set_xlabel("time per image and iteration, in limits of the machine", fontsize=9, color=INK)
    ax.tick_params(labelsize=8, colors=INK)
    ax.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)


def limits_json(machines: dict[int, Machine]) -> dict[str, Any]:
    """Measured limits, by number of threads."""
    return {
        str(n): {
            "rates": m.rates,
            "instructions": m.instructions,
            "loops": m.loops,
            "bandwidth": m.levels(),
        }
        for n, m in machines.items()
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="*", default=["mnist"], help="shipped models")
    parser.add_argument("--synthetic", action="store_true", help="synthetic networks as well")
    parser.add_argument("--latents", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--activities", type=float, nargs="+", default=[0.02, 0.16, 0.5])
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, available_cores()}))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pixels", type=int, default=784)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.05, help="length of a measurement")
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    parser.add_argument("--json", type=Path, default=Path("roofline.json"))
    parser.add_argument("--figure", type=Path)
    return parser.parse_args()


def main() -> None:
    chosen = options()
    threads = (1,) if chosen.cpu else tuple(chosen.threads)
    pairs = [pair for name in chosen.model for pair in shipped_cases(name, chosen.batch, threads)]
    if chosen.synthetic:
        sizes = tuple(chosen.latents), (chosen.batch,), tuple(chosen.activities)
        made = synthetic_cases(tuple(TOPOLOGIES), *sizes, threads, pixels=chosen.pixels)
        pairs += [(case, activity_of(case.network, case.images)) for case in made]
    rules = Rules(chosen.repeats, STEPS, chosen.seconds, limit_seconds=20.0, cpu=chosen.cpu)
    before = machine()
    machines = {n: Machine(n, chosen.repeats, cpu=chosen.cpu) for n in threads}
    result = run_bench(
        [case for case, _ in pairs], choose_contenders(ENGINES), rules, baseline="fast"
    )
    rows = analyse(result, [activity for _, activity in pairs], machines)
    content = {
        "schema_version": SCHEMA_VERSION,
        "machine": before,
        "versions": versions(),
        "cpu": chosen.cpu,
        "limits": limits_json(machines),
        "cases": rows,
    }
    chosen.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if chosen.figure is not None:
        draw(rows, chosen.figure)
    for n, limits in machines.items():
        for kind, rate in sorted(limits.rates.items()):
            made = limits.instructions[kind]
            print(f"{n} thread{'s' * (n > 1)}: {kind:16} {rate / 1e9:9.2f} G/s by {made}")
    for row in rows:
        print(
            f"{row['network']:22} K {row['latents']:5} {100 * row['activity']:5.1f} % "
            f"{row['engine']:9} {row['threads']} threads: measured "
            f"{row['measured_us']['median']:9.3f} us, limit {row['limit_us']:9.3f} us: "
            f"{row['ratio']:6.2f} times" + verdict(row)
        )
        for part in row["phases"]:
            how = f"{part['form']}, {part['bound_by']}"
            print(f"    {part['name']:28} {part['limit_us']:9.3f} us by {how}")


def verdict(row: dict[str, Any]) -> str:
    """The bar, and whether it was reached."""
    if row["bar"] is None:
        return ""
    return f" (at most {row['bar']:g}: {'reached' if row['ratio'] <= row['bar'] else 'missed'})"


if __name__ == "__main__":
    main()
