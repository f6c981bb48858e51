"""Write every figure of docs/performance.md from the JSON of the benchmarks; none is typed.

Usage: python benchmarks/performance_figures.py [--bench headline.json] [--full full.json]
    [--revision revision.json ...] [--pytorch pytorch.json] [--roofline roofline.json]
    [--curves curves.json] [--evaluate evaluate.json] [--title TITLE]
    [--out docs/performance_figures.md]

A page has a section for each file that is given. ``--revision`` takes all files that
``fast_against_revision.py`` wrote: without a limit, under limits, and of whole evaluations.
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
Row = tuple[str, ...]
SIZE, LARGE, MIDDLE = 512, 256, 0.12
UNKNOWN = "not measured"
RATES = (
    "byte_macs", "word_macs", "small_byte_macs", "byte_rows", "word_rows", "ops32", "ops64",
    "lookups", "philox", "bytes",
)  # fmt: skip
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


# ------------------------------------------------------------------------- another revision


def limit_name(found: dict[str, Any]) -> str:
    """Instructions that both revisions may use."""
    return "all" if found["limit"] is None else f"{found['limit']} alone"


def revision_bars(files: list[dict[str, Any]]) -> Iterator[Row]:
    """Ratios of times to the other revision that have a bar, and differing integers."""
    for found in files:
        where = f"instructions: {limit_name(found)}"
        for case in found.get("evaluate", []):
            what = (
                f"`evaluate` {case['topology']}, {case['samples']:,} × 128, over the other revision"
            )
            yield row(what, where, case["median_ratio"], case["bar"], "×", most=True)
        for case in found.get("cases", []):
            if case["bar"] is not None:
                yield row(
                    f"{revision_case(case)}, over the other revision", where,
                    case["median_ratio"], case["bar"], "×", most=True,
                )  # fmt: skip
        if "integers" in found:
            differing = sum(model["differing"] for model in found["integers"])
            what = "integers that differ from `reference`, all shipped models and circuits"
            yield row(what, where, differing, 0, "", most=True)


def revision_case(case: dict[str, Any]) -> str:
    threads = "all threads" if case["threads"] is None else f"{case['threads']} thread"
    kind = {"last": "not recording", "summary": "recording"}[case["record"]]
    return f"{case['network']}, batch {case['batch']}, {kind}, {threads}"


def revision_rows(found: dict[str, Any]) -> Iterator[Row]:
    for case in found.get("cases", []):
        yield (
            revision_case(case), number(1e3 * case["this_s"]), number(1e3 * case["other_s"]),
            number(case["ratio_of_best"]), number(case["median_ratio"]),
        )  # fmt: skip
    for case in found.get("evaluate", []):
        yield (
            f"evaluate {case['topology']}, {case['samples']:,} × 128",
            number(1e3 * case["this_s"]), number(1e3 * case["other_s"]),
            number(case["ratio_of_best"]), number(case["median_ratio"]),
        )  # fmt: skip


# ------------------------------------------------------------------------- PyTorch


def pytorch_bars(found: dict[str, Any]) -> Iterator[Row]:
    for case in found["rows"]:
        if case["bar"] is not None:
            what = (
                f"{case['faster']} over `fast`, {case['model']} {case['circuit']}, {case['kind']}"
            )
            where = f"batch {case['batch']}, {case['threads']} threads"
            yield row(what, where, case["times_as_fast"]["median"], case["bar"], "×")


def pytorch_rows(found: dict[str, Any]) -> Iterator[Row]:
    for case in found["rows"]:
        costs = {name: number(cost["median"]) for name, cost in case["microseconds"].items()}
        fast = next(name for name in costs if name.startswith("fast"))
        eager, compiled = (
            next((cost for name, cost in costs.items() if name != fast and test(name)), "–")
            for test in (lambda n: "compiled" not in n, lambda n: "compiled" in n)
        )
        ratio = case["times_as_fast"]
        yield (
            f"{case['model']} {case['circuit']}", case["kind"], f"{100 * case['activity']:.1f} %",
            costs[fast], eager, compiled,
            f"{number(ratio['median'])} ({number(ratio['q25'])} to {number(ratio['q75'])})",
        )  # fmt: skip


# ------------------------------------------------------------------------- the machine


def roofline_bars(found: dict[str, Any]) -> Iterator[Row]:
    for case in found["cases"]:
        if case["bar"] is not None:
            what = f"`{case['engine']}` over the limit of the machine, {case['network']}"
            where = (
                f"{100 * case['activity']:.1f} % active, batch {case['batch']}, {case['threads']} "
                f"thread{'s' * (case['threads'] > 1)}"
            )
            yield row(what, where, case["ratio"], case["bar"], "×", most=True)


def limits(roofline: dict[str, Any]) -> Iterator[Row]:
    for threads, found in roofline["limits"].items():
        for kind in RATES:
            if kind in found["rates"]:
                rate = number(found["rates"][kind] / 1e9)
                yield threads, KINDS[kind], rate, found["instructions"][kind]
        for level, rate in found["bandwidth"].items():
            if rate is not None:
                yield threads, f"GB/s from {level}", number(rate / 1e9), "loads, one shared array"


def distances(roofline: dict[str, Any]) -> Iterator[Row]:
    for case in roofline["cases"]:
        active = f"{100 * case['activity']:.1f} %"
        yield (
            case["network"], case["engine"], f"{case['latents']}", active, f"{case['threads']}",
            number(case["measured_us"]["median"]), number(case["limit_us"]),
            f"{number(case['ratio'])} ×",
        )  # fmt: skip


def parts(roofline: dict[str, Any]) -> Iterator[Row]:
    """Phases of one thread, once for each circuit and kind of record."""
    threads = min(case["threads"] for case in roofline["cases"])
    for case in roofline["cases"]:
        if case["threads"] == threads and case["bar"] is not None:
            for part in case["phases"]:
                yield (
                    case["network"], case["engine"], part["name"], number(part["limit_us"]),
                    part["form"], part["bound_by"],
                )  # fmt: skip


# ------------------------------------------------------------------------- curves


def curve_rows(curves: dict[str, Any]) -> Iterator[Row]:
    for case in curves["cases"].values():
        place = case["place"]
        cells = [
            number(case["microseconds"][name]["median"]) if name in case["microseconds"] else "–"
            for name in curve_names(curves)
        ]
        yield (
            case["circuit"], f"{place['latents']}", f"{place['pixels']}", f"{place['batch']}",
            f"{place['iterations']}", f"{100 * case['activity']:.1f} %", f"{place['threads']}",
            *cells, number(case["limit"]["fast-bare"]), number(case["limit"]["fast"]),
        )  # fmt: skip


def curve_names(curves: dict[str, Any]) -> list[str]:
    names: dict[str, None] = {}
    for case in curves["cases"].values():
        names |= dict.fromkeys(case["microseconds"])
    return sorted(names)


def slope_rows(curves: dict[str, Any]) -> Iterator[Row]:
    for found in curves["slopes"]:
        first, last = found["from_to"]
        yield (
            found["circuit"], found["axis"], f"{first:g} to {last:g}", found["contender"],
            f"{found['slope']:.2f}", f"{found['at_the_end']:.2f}",
        )  # fmt: skip


def behind_rows(curves: dict[str, Any]) -> Iterator[Row]:
    for found in curves["behind"]:
        place = ", ".join(f"{name} {value:g}" for name, value in found["place"].items())
        ratio = f"{number(found['ratio'])} ×"
        yield found["circuit"], place, found["first"], found["contender"], ratio


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def source(content: dict[str, Any]) -> str:
    found = ", ".join(f"{k} {v}" for k, v in content["versions"].items() if v is not None)
    machine = content["machine"]
    load = machine.get("load_average")
    before = "" if load is None else f"; load average before the run {load[0]}"
    sets = ", ".join(machine.get("instruction_sets", [])) or "none that is told"
    return (
        f"{machine['processor']}, {machine['cores']} cores; instruction sets: {sets}{before}. "
        f"{found}.\n"
    )


COST_HEAD = ("network", "K", "batch", "active", "threads")
REVISION_HEAD = ("what", "this ms", "other ms", "ratio of the best", "median ratio")
PYTORCH_HEAD = ("model", "kind", "active", "`fast` µs", "eager µs", "compiled µs", "times as fast")
KINDS = {
    "byte_macs": "10⁹ products of bytes per second",
    "word_macs": "10⁹ products of 16 bits per second",
    "small_byte_macs": "10⁹ products of bytes below 128 per second",
    "byte_rows": "10⁹ products of rows of bytes, two at a time",
    "word_rows": "10⁹ products of rows of 16 bits, two at a time",
    "ops32": "10⁹ operations on 32 bits",
    "ops64": "10⁹ operations on 64 bits",
    "lookups": "10⁹ look-ups in a table",
    "philox": "10⁹ blocks of noise (16 words)",
    "bytes": "GB/s from L1",
}
LIMIT_HEAD = ("threads", "what", "rate", "instructions")
DISTANCE_HEAD = (
    "network", "engine", "K", "active", "threads", "measured µs", "limit µs", "measured / limit",
)  # fmt: skip
PART_HEAD = ("network", "engine", "phase", "limit µs", "form", "bound by")
CURVE_HEAD = ("circuit", "K", "M", "batch", "iterations", "active", "threads")
SLOPE_HEAD = ("circuit", "axis", "range", "contender", "slope", "at the end")
BEHIND_HEAD = ("circuit", "where", "first", "`fast`'s contender", "takes as long as the first")


def bar_rows(files: dict[str, Any]) -> Iterator[Row]:
    """Everything that has a bar, in the order of the sections."""
    yield from revision_bars(files["revision"])
    if files["pytorch"] is not None:
        yield from pytorch_bars(files["pytorch"])
    if files["roofline"] is not None:
        yield from roofline_bars(files["roofline"])
    if files["bench"] is not None:
        yield from bars(files["bench"], files["full"], files["evaluate"])


def page(chosen: argparse.Namespace) -> Iterator[str]:
    names = ("bench", "full", "pytorch", "roofline", "curves", "evaluate")
    files: dict[str, Any] = {name: read(getattr(chosen, name)) for name in names}
    files["revision"] = [read(path) for path in chosen.revision]
    given = [f for f in (*files["revision"], *(files[n] for n in names)) if f is not None]
    if not given:
        raise SystemExit("expected at least one file of figures; --help names them")
    yield f"# {chosen.title}\n"
    yield "Written by `benchmarks/performance_figures.py`; see [performance.md](performance.md).\n"
    found = list(bar_rows(files))
    if found:
        yield "## Bars\n"
        yield source(given[0])
        yield from table(("measure", "where", "figure", "bar", ""), found)
    for revision in files["revision"]:
        yield f"## Beside another revision, instructions: {limit_name(revision)}\n"
        yield source(revision)
        yield from table(REVISION_HEAD, revision_rows(revision))
    if files["pytorch"] is not None:
        yield "## Shipped models beside PyTorch: µs per image and iteration\n"
        yield source(files["pytorch"])
        yield from table(PYTORCH_HEAD, pytorch_rows(files["pytorch"]))
    for title, content in (("K = 512", files["bench"]), ("All sizes", files["full"])):
        if content is not None:
            yield f"## {title}: µs per image and iteration\n"
            yield source(content)
            yield f"In brackets: `{content['baseline']}` over the contender.\n"
            yield from table((*COST_HEAD, *content["engines"]), costs(content))
    yield from machine_sections(files["roofline"])
    if files["roofline"] is not None:
        yield from picture(chosen, "roofline.svg", "The limit of each phase, and measured times")
    yield from curve_sections(files["curves"])
    if files["curves"] is not None:
        yield from picture(chosen, "curves.svg", "Time per image and iteration as work grows")


def picture(chosen: argparse.Namespace, name: str, what: str) -> Iterator[str]:
    """A figure, where it stands beside the page."""
    if (chosen.out.parent / "figures" / name).exists():
        yield f"![{what}](figures/{name})\n"


def machine_sections(roofline: dict[str, Any] | None) -> Iterator[str]:
    if roofline is None:
        return
    yield "## Limits of the machine\n"
    yield source(roofline)
    yield from table(LIMIT_HEAD, limits(roofline))
    yield "## The engine against them, per image and iteration\n"
    yield from table(DISTANCE_HEAD, distances(roofline))
    yield "## What the limit of a shipped model is made of\n"
    yield from table(PART_HEAD, parts(roofline))


def curve_sections(curves: dict[str, Any] | None) -> Iterator[str]:
    if curves is None:
        return
    yield "## As work grows: µs per image and iteration\n"
    yield source(curves)
    head = (*CURVE_HEAD, *curve_names(curves), "limit, bare", "limit, recording")
    yield from table(head, curve_rows(curves))
    yield "## Slopes in logarithms\n"
    yield "1: in proportion to the axis. 0: not at all. At the end: of the last two points.\n"
    yield from table(SLOPE_HEAD, slope_rows(curves))
    yield "## Where `fast` is not the first\n"
    rows = list(behind_rows(curves))
    yield from table(BEHIND_HEAD, rows) if rows else ("Nowhere in these cases.\n",)


def read(path: Path | None) -> dict[str, Any] | None:
    return None if path is None else json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("bench", "full", "pytorch", "roofline", "curves", "evaluate"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--revision", type=Path, nargs="+", default=[])
    parser.add_argument("--title", default="Performance figures")
    parser.add_argument("--out", type=Path, default=Path("docs/performance_figures.md"))
    chosen = parser.parse_args()
    text = "\n".join(page(chosen))
    with atomic_path(chosen.out) as path:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
