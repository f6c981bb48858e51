"""Time per image and iteration as work grows: ``fast``, PyTorch, ONNX Runtime, Lava, and the limit.

Usage::

    python benchmarks/curves.py [--quick] [--axes latents batch ...] [--json curves.json]
        [--figure curves.svg]

One number at a time grows, the others stay: K = 512, M = 784, a batch of 256, 32 iterations, 16 %
active, all threads; both circuits. Networks are synthetic and keep their activity
(``pvae_neuro.bench.networks``). All contenders of a case take turns. The machine's limit of each
case is counted and measured as ``roofline.py`` does it.

What is done is kept in the JSON, case by case: the same command goes on where it was stopped. A
file that another machine or other versions began is refused. Printed are the costs, their slopes in
logarithms (1: in proportion; 0: not at all), and each place where ``fast`` is not the first.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lava_contenders
import numpy as np
from machine import machine, processor, versions
from roofline import ENGINES, activity_of, limit_of, limits_json
from roofline_machine import Machine

from pvae_neuro.bench import contenders
from pvae_neuro.bench.cases import Case, available_cores, measured_activity
from pvae_neuro.bench.networks import (
    TOPOLOGIES,
    pinned_float_model,
    pinned_network,
    random_images,
)
from pvae_neuro.bench.run import choose_contenders, run_bench
from pvae_neuro.bench.timing import Rules
from pvae_neuro.plots.style import GUIDE, INK
from pvae_neuro.utils.files import atomic_path

SCHEMA_VERSION = 1
KNOWN = {**contenders.KNOWN, **lava_contenders.CONTENDERS}
BARE = ("fast-bare", "pytorch-bare", "pytorch-bare-compiled")
RECORDED = ("fast", "pytorch", "pytorch-compiled", "onnx")
LAVA = ("lava", "lava-batch")
# Where Lava runs: sizes and batches at which it ends within seconds.
LAVA_LATENTS, LAVA_BATCHES = 512, (1, 64)
# Products of larger networks are not compiled to ONNX files of hundreds of megabytes.
ONNX_LATENTS = 2048
LIMIT = "limit"


@dataclass(frozen=True)
class Place:
    """Where a case lies: one number of each axis."""

    latents: int = 512
    pixels: int = 784
    batch: int = 256
    iterations: int = 32
    activity: float = 0.16
    threads: int = available_cores()


AXES: dict[str, tuple[float, ...]] = {
    "latents": (256, 512, 1024, 2048, 4096, 8192),
    "pixels": (196, 784, 3136, 12544),
    "batch": (1, 4, 16, 64, 256, 512),
    "iterations": (8, 32, 128, 512),
    "activity": (0.005, 0.02, 0.05, 0.16, 0.5),
    "threads": tuple(sorted({1, available_cores()})),
}
QUICK: dict[str, tuple[float, ...]] = {
    "latents": (256, 1024, 4096),
    "batch": (1, 16, 256),
    "activity": (0.02, 0.16, 0.5),
    "threads": AXES["threads"],
}
LABELS = {
    "latents": "latents K", "pixels": "pixels M", "batch": "images of a batch",
    "iterations": "iterations of a call", "activity": "active neurons, %", "threads": "threads",
}  # fmt: skip
STYLES = {
    "fast-bare": ("#dd6b20", "-"), "pytorch-bare": ("#2b6cb0", "-"),
    "pytorch-bare-compiled": ("#2b6cb0", "--"), "fast": ("#dd6b20", "-"),
    "pytorch": ("#2b6cb0", "-"), "pytorch-compiled": ("#2b6cb0", "--"), "onnx": ("#805ad5", "-"),
    "lava": ("#97266d", "-"), "lava-batch": ("#d53f8c", "-"), "limit": (GUIDE, ":"),
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A case of a circuit; one place may lie on several axes."""

    circuit: str
    place: Place

    @property
    def key(self) -> str:
        """Name in the file."""
        return f"{self.circuit} " + " ".join(f"{k}={v:g}" for k, v in asdict(self.place).items())


def points(axes: dict[str, tuple[float, ...]]) -> Iterator[Point]:
    """All cases, each once; small ones first, so that something is there soon."""
    found = {
        Point(circuit, replace(Place(), **{axis: value}))
        for circuit in TOPOLOGIES
        for axis, values in axes.items()
        for value in values
    }
    yield from sorted(found, key=lambda p: (_size(p.place), p.circuit, p.key))


def _size(place: Place) -> float:
    return place.latents * (place.latents + place.pixels) * place.batch


def names_of(place: Place, quick: bool) -> tuple[str, ...]:
    """Contenders of a case."""
    if quick:
        return ("fast-bare", "pytorch-bare", "fast", "pytorch")
    names = (*BARE, *RECORDED)
    if place.latents > ONNX_LATENTS:
        names = tuple(name for name in names if name != "onnx")
    plain = replace(place, batch=256) == replace(Place(), threads=place.threads)
    small = place.latents <= LAVA_LATENTS and place.batch in LAVA_BATCHES
    return (*names, *LAVA) if small and plain else names


def measure(
    point: Point, machines: dict[int, Machine], rules: Rules, quick: bool
) -> dict[str, Any]:
    """Time the contenders of a case, and count its limit."""
    place, begin = point.place, time.perf_counter()
    network = pinned_network(point.circuit, place.latents, place.pixels, place.activity)
    images = random_images(network, place.batch)
    model = pinned_float_model(place.latents, place.pixels, place.activity)
    share = measured_activity(network, images, 0)
    case = Case(network, images, model, share, place.threads, None, place.activity)
    rules = replace(rules, steps=place.iterations)
    chosen = choose_contenders(names_of(place, quick), KNOWN)
    result = run_bench([case], chosen, rules, baseline="fast")
    (found,) = result.cases
    activity = activity_of(network, images)
    limits = {
        engine: sum(
            part["limit_us"]
            for part in limit_of(network, activity, place.batch, summary, machines[place.threads])
        )
        for engine, summary in ENGINES.items()
    }
    return {
        "circuit": point.circuit,
        "place": asdict(place),
        "activity": share,
        "microseconds": {m.engine: asdict(m.microseconds) for m in found.measurements},
        "limit": limits,
        "skipped": {**result.skipped, **found.skipped},
        "seconds": time.perf_counter() - begin,
    }


# ------------------------------------------------------------------------------ what follows


def series(
    cases: list[dict[str, Any]], circuit: str, axis: str, name: str
) -> list[tuple[float, float]]:
    """Costs of a contender along an axis, or of the limit of ``fast-bare`` or ``fast``."""
    others = {k: v for k, v in asdict(Place()).items() if k != axis}
    found = []
    for case in cases:
        place = case["place"]
        if case["circuit"] != circuit or any(place[k] != v for k, v in others.items()):
            continue
        kind, _, engine = name.partition(" of ")
        if kind == LIMIT:
            found.append((place[axis], case["limit"][engine]))
        elif name in case["microseconds"]:
            found.append((place[axis], case["microseconds"][name]["median"]))
    return sorted(found)


def slope(values: list[tuple[float, float]]) -> float | None:
    """Slope of the line through the logarithms; None for fewer than two points."""
    if len(values) < 2:
        return None
    x, y = np.log(np.array(values)).T
    return float(np.polyfit(x, y, 1)[0])


def slopes(cases: list[dict[str, Any]], axes: list[str]) -> list[dict[str, Any]]:
    """Slopes over a whole axis, and over its last two points."""
    found = []
    for circuit in TOPOLOGIES:
        for axis in axes:
            for name in (*BARE, f"{LIMIT} of fast-bare", *RECORDED, f"{LIMIT} of fast", *LAVA):
                values = series(cases, circuit, axis, name)
                whole = slope(values)
                if whole is not None:
                    row = {"circuit": circuit, "axis": axis, "contender": name}
                    ends = [values[0][0], values[-1][0]]
                    found.append(
                        {**row, "from_to": ends, "slope": whole, "at_the_end": slope(values[-2:])}
                    )
    return found


def behind(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cases in which another contender that does the same takes less time than ``fast``."""
    found = []
    for case in cases:
        costs = {name: cost["median"] for name, cost in case["microseconds"].items()}
        for mine, others in (("fast-bare", BARE), ("fast", (*RECORDED, *LAVA))):
            for other in others:
                if mine in costs and costs.get(other, np.inf) < costs[mine]:
                    found.append(
                        {
                            "circuit": case["circuit"],
                            "place": case["place"],
                            "contender": mine,
                            "first": other,
                            "ratio": costs[mine] / costs[other],
                        }
                    )
    return found


def written(place: dict[str, Any]) -> str:
    """What differs from the place that all axes share."""
    usual = asdict(Place())
    names = [k for k, v in place.items() if v != usual[k]]
    return ", ".join(f"{k} {place[k]:g}" for k in names) or "the common place"


def draw(content: dict[str, Any], path: Path) -> None:
    """A row of panels for each circuit and kind of record, a column for each axis."""
    from matplotlib.figure import Figure

    cases = list(content["cases"].values())
    axes = [a for a in AXES if any(len(series(cases, c, a, "fast")) > 1 for c in TOPOLOGIES)]
    rows = [
        (circuit, engine, others)
        for circuit in TOPOLOGIES
        for engine, others in (("fast-bare", BARE), ("fast", (*RECORDED, *LAVA)))
    ]
    figure = Figure(figsize=(2.7 * len(axes) + 2.2, 2.5 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(axes), squeeze=False)
    for line, (circuit, engine, others) in zip(panels, rows, strict=True):
        for ax, axis in zip(line, axes, strict=True):
            for name in (*others, f"{LIMIT} of {engine}"):
                values = series(cases, circuit, axis, name)
                if values:
                    scale = 100.0 if axis == "activity" else 1.0
                    color, dash = STYLES[name.partition(" ")[0]]
                    x, y = [scale * v[0] for v in values], [v[1] for v in values]
                    ax.plot(x, y, dash, color=color, lw=1.5, marker="o", ms=3, label=name)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xlabel(LABELS[axis], fontsize=8, color=INK)
            ax.tick_params(labelsize=7, colors=INK)
            ax.grid(axis="y", lw=0.4, alpha=0.5)
            for side in ("top", "right"):
                ax.spines[side].set_visible(False)
        kind = "not recording" if engine == "fast-bare" else "recording"
        line[0].set_ylabel(f"{circuit}, {kind}: µs", fontsize=8, color=INK)
        handles, labels = line[0].get_legend_handles_labels()
        line[-1].legend(
            handles, labels, frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5)
        )
    figure.suptitle(f"{content['machine']['processor']}", fontsize=9, color=INK)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix[1:] or "svg")


# ------------------------------------------------------------------------------ the run


def read(path: Path, quick: bool) -> dict[str, Any]:
    """What an earlier run of this command left, or an empty beginning."""
    now = {"processor": processor(), "versions": versions(), "quick": quick}
    if path.exists():
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = {
            "processor": content["machine"]["processor"],
            "versions": content["versions"],
            "quick": content["quick"],
        }
        if found != now:
            raise SystemExit(f"{path}: begun with {found}, now {now}; name another file")
        return content
    before = machine()
    return {
        "schema_version": SCHEMA_VERSION,
        "machine": before,
        "versions": now["versions"],
        "quick": quick,
        "cases": {},
    }


def keep(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer places and contenders")
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.03, help="length of a measurement")
    parser.add_argument(
        "--most-seconds",
        type=float,
        default=10.0,
        help="of a measurement; longer ones are left out",
    )
    parser.add_argument("--json", type=Path, default=Path("curves.json"))
    parser.add_argument("--figure", type=Path)
    return parser.parse_args()


def main() -> None:
    chosen = options()
    begin = time.perf_counter()
    known = QUICK if chosen.quick else AXES
    axes = {axis: known[axis] for axis in chosen.axes if axis in known}
    content = read(chosen.json, chosen.quick)
    rules = Rules(chosen.repeats, 1, chosen.seconds, chosen.most_seconds)
    left = [point for point in points(axes) if point.key not in content["cases"]]
    if left:
        machines = {n: Machine(n, chosen.repeats) for n in {p.place.threads for p in left}}
        content["limits"] = limits_json(machines)
    for number, point in enumerate(left):
        print(f"\r{number} of {len(left)}: {point.key:80}", end="", file=sys.stderr, flush=True)
        content["cases"][point.key] = measure(point, machines, rules, chosen.quick)
        keep(chosen.json, content)
    print(file=sys.stderr)
    cases = list(content["cases"].values())
    content["slopes"], content["behind"] = slopes(cases, list(axes)), behind(cases)
    keep(chosen.json, content)
    if chosen.figure is not None:
        draw(content, chosen.figure)
    for case in cases:
        costs = ", ".join(f"{k} {v['median']:.2f}" for k, v in case["microseconds"].items())
        limits = ", ".join(f"of {k} {v:.2f}" for k, v in case["limit"].items())
        print(f"{case['circuit']:10} {written(case['place'])}: {costs} us; limit {limits}")
        for other, why in case["skipped"].items():
            print(f"    left out: {other}: {why}")
    for row in content["slopes"]:
        first, last = row["from_to"]
        print(
            f"{row['circuit']:10} {row['axis']:10} {first:g} to {last:g}: {row['contender']:22} "
            f"slope {row['slope']:5.2f}, at the end {row['at_the_end']:5.2f}"
        )
    for row in content["behind"]:
        print(
            f"{row['circuit']:10} {written(row['place'])}: {row['first']} is first; "
            f"{row['contender']} takes {row['ratio']:.2f} times as long"
        )
    if not content["behind"]:
        print("fast is the first in every case, of the contenders that were timed")
    print(f"{time.perf_counter() - begin:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
