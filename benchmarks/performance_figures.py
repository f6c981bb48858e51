"""Write every figure of docs/performance.md from the JSON of the benchmarks; none is typed.

Usage: python benchmarks/performance_figures.py --bench headline.json [--full full.json]
    [--roofline roofline.json] [--evaluate evaluate.json] [--title TITLE]
    [--out docs/performance_figures.md]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pvae_neuro.cli.shared.tables import number
from pvae_neuro.utils.files import atomic_path

Case = dict[str, Any]
SIZE, LARGE, MIDDLE = 512, 256, 0.12
UNKNOWN = "not measured"
RATES = ("byte_ops", "word_ops", "pair_ops", "ops16", "ops32", "ops64", "wide")
EVALUATED, EVALUATED_STEPS = 10_000, 128


def matching(bench: dict[str, Any], **wanted: Any) -> Iterator[Case]:
    """Cases with these fields; real models before synthetic networks."""
    for case in sorted(bench["cases"], key=lambda case: case["model"] is None):
        target = case["activity_target"]
        fields = {**case, "activity_target": target if target is not None else MIDDLE}
        if all(fields[name] == value for name, value in wanted.items()):
            yield case


def cost(case: Case, engine: str) -> float | None:
    for found in case["measurements"]:
        if found["engine"] == engine:
            return float(found["microseconds"]["median"])
    return None


def times_as_fast(case: Case | None, engine: str, other: str) -> float | None:
    """Time of ``other`` over time of ``engine`` in a case."""
    if case is None:
        return None
    mine, theirs = cost(case, engine), cost(case, other)
    return None if mine is None or theirs is None else theirs / mine


def bars(
    bench: dict[str, Any], full: dict[str, Any] | None, evaluated: dict[str, Any] | None
) -> Iterator[tuple[str, ...]]:
    """Each measure: what, where it was taken, its figure, its bar, whether it was reached."""
    threads = max(case["threads"] for case in bench["cases"])
    common = {"latents": SIZE, "activity_target": MIDDLE}
    plain = {**common, "topology": "lateral", "threads": threads}
    large = first(matching(bench, batch=LARGE, **plain))
    single = first(matching(bench, batch=1, threads=1, topology="lateral", **common))
    back = first(matching(bench, batch=LARGE, threads=threads, topology="predictive", **common))
    many = first(matching(bench, batch=64, **plain))
    for what, case, engine, other, bar in (
        ("float PyTorch step over `fast`, batch 256", large, "fast", "pytorch", 20),
        ("the same, neither recording", large, "fast-bare", "pytorch-bare", None),
        ("the same, only PyTorch recording", large, "fast-bare", "pytorch", None),
        ("our Lava processes over `fast`", many, "fast", "lava", 500),
        ("the same, `fast` not recording", many, "fast-bare", "lava", None),
        ("float PyTorch over `fast`, batch 1, one thread", single, "fast", "pytorch", 30),
        ("float PyTorch over `fast`, predictive, batch 256", back, "fast", "pytorch", 4),
        ("`lava` over `lava-batch`, batch 64", many, "lava-batch", "lava", 10),
    ):
        yield row(what, place(case), times_as_fast(case, engine, other), bar, "×")
    for engine in ("fast", "fast-bare"):
        yield row(*activity_share(full or bench, engine, threads), 0.35, "", most=True)
    yield evaluate_row(evaluated)


def activity_share(
    bench: dict[str, Any], engine: str, threads: int
) -> tuple[str, str, float | None]:
    """Time at 2 % over time at 50 % activity."""
    found = [
        first(c for c in matching(bench, batch=LARGE, threads=threads, topology="lateral",
                                  latents=SIZE, activity_target=activity) if c["model"] is None)
        for activity in (0.02, 0.5)
    ]  # fmt: skip
    low, high = ((None if c is None else cost(c, engine)) for c in found)
    share = None if low is None or high is None else low / high
    return f"`{engine}`: 2 % activity over 50 %", place(found[0], activity=False), share


def evaluate_row(evaluated: dict[str, Any] | None) -> tuple[str, ...]:
    what = f"`evaluate`, {EVALUATED:,} digits × {EVALUATED_STEPS} iterations, whole process"
    if evaluated is None:
        return row(what, "", None, 10, "s", most=True)
    size = f"{evaluated['samples']:,} × {evaluated['steps']}"
    peak = f"peak {evaluated['peak_bytes'] / 1e9:.2f} GB"
    where = f"{size}, engine {evaluated['engine']}, {evaluated['machine']['cores']} cores, {peak}"
    complete = (evaluated["samples"], evaluated["steps"]) == (EVALUATED, EVALUATED_STEPS)
    return row(
        what, where, evaluated["seconds"]["median"] if complete else None, 10, "s", most=True
    )


def row(
    what: str, where: str, value: float | None, bar: float | None, unit: str, most: bool = False
) -> tuple[str, ...]:
    wanted = "" if bar is None else f"{'≤' if most else '≥'} {bar:g} {unit}".strip()
    if value is None:
        return what, where, UNKNOWN, wanted, ""
    reached = bar is None or (value <= bar if most else value >= bar)
    verdict = "" if bar is None else ("reached" if reached else "**missed**")
    return what, where, f"{number(value)} {unit}".strip(), wanted, verdict


def place(case: Case | None, activity: bool = True) -> str:
    if case is None:
        return ""
    network = case["model"] or f"synthetic {case['topology']}"
    share = f", {100 * case['activity']:.1f} % active" if activity else ""
    threads = f"{case['threads']} thread{'s' * (case['threads'] > 1)}"
    return f"{network}{share}, batch {case['batch']}, {threads}"


def first(cases: Iterable[Case]) -> Case | None:
    return next(iter(cases), None)


def costs(bench: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Medians, a row per case; ratio to the baseline in brackets."""
    for case in bench["cases"]:
        found = {m["engine"]: m for m in case["measurements"]}
        cells = []
        for engine in bench["engines"]:
            measured = found.get(engine)
            cells.append("–" if measured is None else _cell(measured))
        yield (
            case["model"] or case["topology"], f"{case['latents']}", f"{case['batch']}",
            f"{100 * case['activity']:.1f} %", f"{case['threads']}", *cells,
        )  # fmt: skip


def _cell(measured: dict[str, Any]) -> str:
    spread, ratio = measured["microseconds"], measured["ratio"]
    half = 50 * (spread["q75"] - spread["q25"]) / spread["median"]
    shown = f"{number(spread['median'])} ± {half:.0f} %"
    return shown if ratio is None else f"{shown} ({number(ratio['median'])} ×)"


def limits(roofline: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for threads, found in roofline["limits"].items():
        levels = [found["bandwidth"][name] for name in ("L2", "L3", "DRAM")]
        rates = [found["l1_bytes"], *levels]
        rates += [found[name] for name in RATES]
        yield (threads, *("–" if r is None else number(r / 1e9) for r in rates))


def distances(roofline: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for case in roofline["cases"]:
        longest = max(case["phases"], key=lambda phase: phase["limit_us"])
        active = f"{100 * case['activity']:.1f} %"
        yield (
            case["topology"], case["engine"], f"{case['latents']}", active, f"{case['threads']}",
            number(case["operations"]), number(case["shared_bytes"]),
            number(case["measured_us"]["median"]), number(case["limit_us"]),
            f"{100 * case['share_of_limit']:.0f} %", f"{longest['name']} ({longest['bound_by']})",
        )  # fmt: skip


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def source(content: dict[str, Any]) -> str:
    found = ", ".join(f"{k} {v}" for k, v in content["versions"].items() if v is not None)
    machine = content["machine"]
    load = machine.get("load_average")
    before = "" if load is None else f"; load average before the run {load[0]}"
    return f"{machine['processor']}, {machine['cores']} cores{before}. {found}.\n"


COST_HEAD = ("network", "K", "batch", "active", "threads")
LIMIT_HEAD = (
    "threads", "L1 GB/s", "L2 GB/s", "L3 GB/s", "DRAM GB/s", "byte rows Gop/s", "word rows Gop/s",
    "pairs Gop/s", "16-bit Gop/s", "32-bit Gop/s", "64-bit Gop/s", "64 × 64 bit G/s",
)  # fmt: skip
DISTANCE_HEAD = (
    "topology", "engine", "K", "active", "threads", "operations", "bytes of weights", "measured µs",
    "limit µs", "limit / measured", "longest phase",
)  # fmt: skip


def page(bench: dict[str, Any], chosen: argparse.Namespace) -> Iterator[str]:
    yield f"# {chosen.title}\n"
    yield "Written by `benchmarks/performance_figures.py`; see [performance.md](performance.md).\n"
    yield "## Bars\n"
    yield source(bench)
    head = ("measure", "where", "figure", "bar", "")
    yield from table(head, bars(bench, read(chosen.full), read(chosen.evaluate)))
    for title, content in (("K = 512", bench), ("All sizes", read(chosen.full))):
        if content is not None:
            yield f"## {title}: µs per image and iteration\n"
            yield source(content)
            yield f"In brackets: `{content['baseline']}` over the contender.\n"
            yield from table((*COST_HEAD, *content["engines"]), costs(content))
    roofline = read(chosen.roofline)
    if roofline is not None:
        yield "## Limits of the machine\n"
        yield source(roofline)
        yield from table(LIMIT_HEAD, limits(roofline))
        yield "## The engine against them, per image and iteration\n"
        yield from table(DISTANCE_HEAD, distances(roofline))


def read(path: Path | None) -> dict[str, Any] | None:
    return None if path is None else json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", type=Path, required=True, help="of preset headline")
    for name in ("full", "roofline", "evaluate"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--title", default="Performance figures")
    parser.add_argument("--out", type=Path, default=Path("docs/performance_figures.md"))
    chosen = parser.parse_args()
    bench = read(chosen.bench)
    if bench is None:
        raise SystemExit("--bench: expected a file")
    with atomic_path(chosen.out) as path:
        path.write_text("\n".join(page(bench, chosen)), encoding="utf-8")


if __name__ == "__main__":
    main()
