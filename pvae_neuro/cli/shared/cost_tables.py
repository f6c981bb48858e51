"""Tables of the verb ``cost``, made of its JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isnan
from typing import TYPE_CHECKING, Any

from pvae_neuro.cli.shared.support import plain_table

if TYPE_CHECKING:
    from rich.table import Table

# Cores that a table shows; JSON has all.
_MOST_CORES = 20
# Relative distance from an activity target at which it was not reached.
_MISSED = 0.1
_SHOWN = ("messages", "packets", "synops", "synops_nonzero", "updates", "operations", "state_reads")


def cost_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """Counts, cores, names of NeuroBench, time and energy."""
    yield _counts(result)
    yield _cores(result)
    yield _draws(result)
    yield _neurobench(result["neurobench"])
    yield _chips(result["chips"])


def _counts(result: Mapping[str, Any]) -> Table:
    title = (
        f"{result['topology']}: {result['samples']} images, {result['steps']} iterations, seed "
        f"{result['seed']}, {result['time_steps_per_iteration']} time steps an iteration"
    )
    table = plain_table(
        title, "per image and iteration", "mean", "5 %", "median", "95 % of images",
        "an image in all", right=(1, 2, 3, 4, 5),
    )  # fmt: skip
    for name in result["quantities"]:
        spread, whole = result["iteration"][name], result["image"][name]
        cells = (_count(spread[key]) for key in ("mean", "p5", "p50", "p95"))
        table.add_row(name, *cells, _count(whole["mean"]))
    return table


def _cores(result: Mapping[str, Any]) -> Table:
    cores = result["cores"]
    board = result["board"]
    where = "each population, not placed" if board is None else board["name"]
    table = plain_table(
        f"by core, means per iteration: {where}",
        "core", *_SHOWN, right=tuple(range(1, len(_SHOWN) + 1)),
    )  # fmt: skip
    busiest = sorted(cores, key=lambda core: -cores[core]["synops"]["mean"])
    for core in busiest[:_MOST_CORES]:
        table.add_row(core, *(_count(cores[core][name]["mean"]) for name in _SHOWN))
    if len(busiest) > _MOST_CORES:
        table.add_row(f"and {len(busiest) - _MOST_CORES} less busy", *("" for _ in _SHOWN))
    return table


def _draws(result: Mapping[str, Any]) -> Table:
    table = plain_table("word operations per iteration", "kind", "number", right=(1,))
    for kind, number in sorted(result["operations"].items(), key=lambda item: -item[1]):
        table.add_row(kind, _count(number))
    sampler = result["sampler"]
    if sampler is not None:
        table.add_section()
        table.add_row("draws", _count(sampler["draws"]))
        left = 100 * (sampler["left_first"] + sampler["left_second"])
        table.add_row("of these left early", f"{left:.1f} %")
        table.add_row("operations of a draw", f"{sampler['operations']:.1f}")
        table.add_row("passes of a draw", f"{sampler['passes']:.2f}")
    return table


def _neurobench(found: Mapping[str, Any]) -> Table:
    table = plain_table("by the names of NeuroBench, per image", "metric", "value", right=(1,))
    for name, value in found.items():
        for inner, number in value.items() if isinstance(value, dict) else [("", value)]:
            shown = "no connection" if number is None else f"{number:,.4g}"
            if number is not None and number >= 1000:
                shown = f"{number:,.0f}"
            table.add_row(f"{name} {inner}".strip(), shown)
    return table


def _chips(chips: Mapping[str, Any]) -> Table:
    table = plain_table(
        "per iteration, by published coefficients; not measured", "chip", "time",
        "dynamic energy", "static energy", "sources",
    )  # fmt: skip
    for chip in chips.values():
        table.add_row(
            chip["title"], _band(chip["seconds"], 1e6, "µs"),
            _band(chip["dynamic_joules"], 1e6, "µJ"), _band(chip["static_joules"], 1e6, "µJ"),
            "; ".join(dict.fromkeys(c["source"] for c in chip["coefficients"])),
        )  # fmt: skip
    return table


def _band(band: Mapping[str, float] | None, scale: float, unit: str) -> str:
    if band is None:
        return "no source"
    low, high = (_count(scale * band[end]) for end in ("low", "high"))
    return f"{low} to {high} {unit}"


def lever_table(result: Mapping[str, Any]) -> Table:
    """What each lever saves, and its price."""
    table = plain_table(
        "levers: what is left of an image, and the price", "lever", "iterations", "spikes",
        "messages", "synops", "operations", "MSE", "± standard error", right=tuple(range(1, 8)),
    )  # fmt: skip
    for lever in result["levers"]:
        ratio = lever["ratio"]
        shares = (
            f"{100 * ratio[name]:.1f} %" if name in ratio else "–"
            for name in ("spikes", "messages", "synops", "operations")
        )
        table.add_row(
            _lever(lever), f"{lever['iterations']:.1f}", *shares,
            _percent(lever["mse_percent"], "+"), _percent(lever["error"]),
        )  # fmt: skip
    return table


def _percent(value: float, sign: str = "") -> str:
    return "–" if isnan(value) else f"{value:{sign}.2f} %"


def _lever(lever: Mapping[str, Any]) -> str:
    name, setting = lever["name"], lever["setting"]
    if name == "until":
        return f"until settled over {setting:g} iterations"
    if name == "dead_zone":
        return f"dead zone {setting:,}"
    missed = " at best" if abs(lever["reached"] / setting - 1) > _MISSED else ""
    return f"activity {setting:g}: {lever['reached']:.3f}{missed}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
