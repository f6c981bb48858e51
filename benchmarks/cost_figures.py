"""Every figure of docs/cost.md, from one command.

    python benchmarks/cost_figures.py [--samples 100] [--plain 1]

First the counts of all shipped circuits against those that ``tests/counted_plainly.py`` makes of
the definition, step by step; then what ``mnist`` costs in both topologies, and the levers, on the
shipped digits. Writes ``docs/figures/cost.json`` and the tables of docs/cost.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import pvae_neuro as pn
from pvae_neuro.cost import cost_of, error_variables
from pvae_neuro.cost.counts import QUANTITIES
from pvae_neuro.cost.levers import Levers
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.placement import place
from pvae_neuro.saved.shipped import SHIPPED
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.utils.json_text import json_text

ROOT = Path(__file__).parents[1]
PAGE, FIGURES = ROOT / "docs/cost.md", ROOT / "docs/figures/cost.json"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
# Iterations of the comparison, and of the figures.
PLAIN_STEPS, SHORT, LONG = 8, 32, 128
BOARD = "oheo-gulch"
ZONES, SHARES, SEEDS = (64, 128, 256), (0.1,), (0, 1, 2)
Row = dict[str, Any]


def differing(network: IntegerNetwork, images: np.ndarray) -> Row:
    """Counts that differ from plain ones, of each image, iteration and population."""
    sys.path.insert(0, str(ROOT / "tests"))
    from counted_plainly import counted

    cost = cost_of(network, images, steps=PLAIN_STEPS, seed=0, progress=False)
    plain, _ = counted(network, images, PLAIN_STEPS, 0)
    compared = wrong = 0
    for number, quantity in enumerate(QUANTITIES):
        for sample in range(len(images)):
            pairs = [
                (
                    by[number],
                    sum(plain[sample, step, p.name, quantity] for p in network.populations),
                )
                for step, by in enumerate((*cost.by_iteration[sample], cost.final[sample]))
            ]
            pairs += [
                (
                    cost.of_core(core)[sample, number],
                    sum(plain[sample, step, core, quantity] for step in range(PLAIN_STEPS)),
                )
                for core in cost.cores
            ]
            compared += len(pairs)
            wrong += sum(int(ours) != theirs for ours, theirs in pairs)
    return {"compared": compared, "differing": wrong}


def measured(network: IntegerNetwork, digits: np.ndarray, until: bool) -> Row:
    """Costs at both lengths, and the levers over all seeds."""
    found: Row = {}
    for steps in (SHORT, LONG):
        row = cost_of(network, digits, steps=steps, progress=False).to_dict()
        row["chips"] = {chip: _bands(figures) for chip, figures in row["chips"].items()}
        left_out = ("by_iteration", "quantities", "engine", "cores", "image")
        found[str(steps)] = {name: row[name] for name in row if name not in left_out}
    placed = cost_of(
        network, digits, steps=SHORT, cores=place(network, BOARD), progress=False
    ).to_dict()
    found["placed"] = {
        "board": BOARD,
        "cores": len(placed["cores"]),
        "iteration": placed["iteration"],
        "chips": {chip: _bands(figures) for chip, figures in placed["chips"].items()},
        "busiest": max(core["synops"]["mean"] for core in placed["cores"].values()),
    }
    late = cost_of(network, digits, steps=LONG, progress=False)
    found["late"] = {q: float(late[q][:, LONG // 2 :].mean()) for q in QUANTITIES}
    rows: dict[tuple[str, float], list[Row]] = {}
    zones = ZONES if error_variables(network) else ()
    levers = Levers(network, LONG, until, zones, SHARES)
    for seed in SEEDS:
        cost = cost_of(network, digits, steps=LONG, seed=seed, progress=False)
        for lever in levers.pull(cost, digits, progress=False):
            rows.setdefault((lever.name, lever.setting), []).append(lever.to_dict())
    found["levers"] = [_mean(name, setting, of) for (name, setting), of in rows.items()]
    return found


def _bands(figures: Row) -> Row:
    return {name: value for name, value in figures.items() if name != "coefficients"}


def _mean(name: str, setting: float, rows: list[Row]) -> Row:
    """A lever over seeds: means, and the standard error of the mean price over images and seeds."""
    price = [row["mse_percent"] for row in rows]
    # Images are the same with all seeds, so their errors do not average out.
    error = float(np.mean([row["error"] for row in rows]))
    return {
        "name": name,
        "setting": setting,
        "seeds": len(rows),
        "iterations": float(np.mean([row["iterations"] for row in rows])),
        "ratio": {q: float(np.mean([row["ratio"][q] for row in rows])) for q in rows[0]["ratio"]},
        "mse_percent": float(np.mean(price)),
        "error": error,
        "reached": None if rows[0]["reached"] is None else float(rows[0]["reached"]),
        "factor": rows[0]["factor"],
    }


def circuits() -> dict[str, IntegerNetwork]:
    """Every circuit of every shipped model, in integers."""
    digits = pn.sample_digits()[0]
    found = {}
    for name in SHIPPED:
        model = pn.load_model(name)
        for topology in topologies(model.config.family):
            config = pn.QuantizeConfig(topology=topology)
            found[f"{name} {topology}"] = pn.quantize(model, digits, config)
    return found


def tables(result: Row) -> str:
    """What the page shows."""
    lines = ["| circuit | counts compared | differ |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {row['compared']:,} | {row['differing']} |"
        for name, row in result["plain"].items()
    ]
    lines += ["", "| `mnist`, means per image and iteration | lateral, 0–31 | lateral, 64–127 | "
              "predictive, 0–31 | predictive, 64–127 |", "|---|---:|---:|---:|---:|"]  # fmt: skip
    both = [result["mnist"][t] for t in ("lateral", "predictive")]
    for quantity in QUANTITIES:
        values = [v for row in both for v in (
            row[str(SHORT)]["iteration"][quantity]["mean"], row["late"][quantity],
        )]  # fmt: skip
        lines.append(f"| {quantity} | " + " | ".join(f"{v:,.0f}" for v in values) + " |")
    lines += ["", "| 32 iterations | lateral | predictive |", "|---|---:|---:|"]
    short = [row[str(SHORT)] for row in both]
    for title, value in (
        ("spread of messages over images, 5 % to 95 %", lambda r: _range(r, "messages")),
        ("spread of operations", lambda r: _range(r, "operations")),
        ("draws that leave early", lambda r: _percent(r["sampler"], "left_first", "left_second")),
        ("operations of a draw", lambda r: f"{r['sampler']['operations']:.1f}"),
        ("of these multiplications", lambda r: f"{r['sampler']['multiplications']:.1f}"),
        ("Footprint, bytes", lambda r: f"{r['neurobench']['Footprint']:,}"),
        ("ConnectionSparsity", lambda r: f"{r['neurobench']['ConnectionSparsity']:.3f}"),
        ("ActivationSparsity", lambda r: f"{r['neurobench']['ActivationSparsity']:.3f}"),
        *(
            (f"{name}, per image", lambda r, n=name: _synaptic(r, n))
            for name in ("Effective_MACs", "Effective_ACs", "Dense")
        ),
    ):
        lines.append(f"| {title} | " + " | ".join(value(row) for row in short) + " |")
    lines += ["", f"| 32 iterations on {BOARD}, per iteration | lateral | predictive |",
              "|---|---:|---:|"]  # fmt: skip
    placed = [row["placed"] for row in both]
    for title, value in (
        ("cores", lambda r: f"{r['cores']}"),
        ("packets", lambda r: f"{r['iteration']['packets']['mean']:,.0f}"),
        ("synops of the busiest core", lambda r: f"{r['busiest']:,.0f}"),
        ("Loihi 2, time", lambda r: _band(r["chips"]["loihi2"]["seconds"], "µs")),
        ("Loihi 2, dynamic energy", lambda r: _band(r["chips"]["loihi2"]["dynamic_joules"], "µJ")),
        ("Loihi 2, static energy", lambda r: _band(r["chips"]["loihi2"]["static_joules"], "µJ")),
        (
            "Loihi 1 constants, dynamic energy",
            lambda r: _band(r["chips"]["loihi1"]["dynamic_joules"], "µJ"),
        ),
    ):
        lines.append(f"| {title} | " + " | ".join(value(row) for row in placed) + " |")
    lines += ["", "| lever, 128 iterations | iterations | spikes | messages | synops | operations "
              "| MSE |", "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for topology in ("lateral", "predictive"):
        for lever in result["mnist"][topology]["levers"]:
            lines.append(_lever(topology, lever))
    return "\n".join(lines)


def _band(band: dict[str, float] | None, unit: str) -> str:
    return (
        "no source"
        if band is None
        else f"{1e6 * band['low']:.3g} to {1e6 * band['high']:.3g} {unit}"
    )


def _range(row: Row, quantity: str) -> str:
    spread = row["iteration"][quantity]
    return f"{spread['p5']:,.0f} to {spread['p95']:,.0f}"


def _percent(row: Row, *names: str) -> str:
    return f"{100 * sum(row[name] for name in names):.1f} %"


def _synaptic(row: Row, name: str) -> str:
    return f"{row['neurobench']['SynapticOperations'][name]:,.0f}"


def _lever(topology: str, lever: Row) -> str:
    name = {
        "until": "until settled",
        "dead_zone": f"dead zone {lever['setting']:g}",
        "activity": f"activity {lever['setting']:g}, by the leak",
    }[lever["name"]]
    ratios = (
        f"{100 * (lever['ratio'][q] - 1):+.1f} %"
        for q in ("spikes", "messages", "synops", "operations")
    )
    price = f"{lever['mse_percent']:+.2f} ± {lever['error']:.2f} %"
    return f"| {topology}: {name} | {lever['iterations']:.1f} | {' | '.join(ratios)} | {price} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--plain", type=int, default=1, help="digits that are counted plainly")
    options = parser.parse_args()
    digits = pn.sample_digits()[0][: options.samples]
    result: Row = {"samples": len(digits), "seeds": len(SEEDS), "plain": {}, "mnist": {}}
    networks = circuits()
    for name, network in networks.items():
        result["plain"][name] = differing(network, digits[: options.plain])
        print(name, result["plain"][name], flush=True)
    for topology in ("lateral", "predictive"):
        row = measured(networks[f"mnist {topology}"], digits, until=True)
        result["mnist"][topology] = row
        print(topology, json.dumps(row["levers"]), flush=True)
    with atomic_path(FIGURES) as temporary:
        temporary.write_text(json_text(result), encoding="utf-8")
    if PAGE.exists():
        text = PAGE.read_text("utf-8")
        head, tail = text.split(BEGIN)[0], text.split(END)[1]
        with atomic_path(PAGE) as temporary:
            temporary.write_text(f"{head}{BEGIN}\n{tables(result)}\n{END}{tail}", encoding="utf-8")
    if any(row["differing"] for row in result["plain"].values()):
        raise SystemExit("counts differ")


if __name__ == "__main__":
    main()
