"""Times the engine ``fast`` against float PyTorch iterations of the shipped models, in turns.

Usage::

    python benchmarks/fast_against_pytorch.py [--model mnist mnist-mlp mnist-conv]
        [--batch 256] [--threads 2] [--repeats 7] [--input x.npy] [--cpu] [--json out.json]

Models are names of shipped ones, or files. Both advance the digits that come with the package, or
images of the input, repeated to fill the batch, by 128 iterations a call.

*Bare*, nothing is recorded: beside ``fast`` stands the float update of the same circuit with the
fewest operations, written by hand and without autograd, eager and by ``torch.compile``. *Recorded*,
``fast`` gives the squared error of every iteration and PyTorch the reconstruction, likelihood and
divergence of its own, eager and compiled. Ratios are formed within a turn, against the faster of
the two. ``--cpu`` takes the processor's time instead of the clock's, with one thread each, for a
machine that others use too.
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

import pvae_neuro as pn
from pvae_neuro.bench.cases import Case, available_cores, latents_of
from pvae_neuro.bench.run import CaseResult, choose_contenders, run_bench
from pvae_neuro.bench.timing import Rules
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.sim.engine import fastest_engine

STEPS = 128
# The engine's contender, then PyTorch's.
KINDS = {
    "bare": ("fast-bare", ("pytorch-bare", "pytorch-bare-compiled")),
    "recorded": ("fast", ("pytorch", "pytorch-compiled")),
}
# How many times as fast, at least, at this batch.
BAR_BATCH = 256
BARS = {
    ("mnist", "lateral", "bare"): 12.0,
    ("mnist", "predictive", "bare"): 4.0,
    ("mnist", "lateral", "recorded"): 25.0,
    ("mnist", "predictive", "recorded"): 8.0,
    ("mnist-mlp", "predictive", "bare"): 3.0,
    ("mnist-conv", "predictive", "bare"): 2.0,
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["mnist", "mnist-mlp", "mnist-conv"])
    parser.add_argument("--input", type=Path, help="images, float [N, M] in a .npy file")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def cases(chosen: argparse.Namespace) -> Iterator[tuple[str, str, Case]]:
    """The models in all their circuits."""
    digits = pn.sample_digits()[0] if chosen.input is None else np.load(chosen.input)
    flat = digits.reshape(len(digits), -1).astype(np.float32)
    images = np.resize(flat, (chosen.batch, flat.shape[1]))
    for name in chosen.model:
        model = pn.load_model(name)
        for circuit in topologies(model.config.family):
            network = pn.quantize(model, flat[:64], pn.QuantizeConfig(topology=circuit))
            recording = fastest_engine(network).run(
                network, images[:8], chosen.steps, 0, progress=False
            )
            share = float(recording.active.mean()) / latents_of(network)
            case = Case(network, images, model, share, chosen.threads, f"{name} {circuit}")
            yield name, circuit, case


def compared(name: str, circuit: str, kind: str, found: CaseResult) -> dict[str, Any] | None:
    """The ratio to the faster of PyTorch's contenders; None without any."""
    engine, others = KINDS[kind]
    mine = found.measurement(engine)
    timed = [m for other in others if (m := found.measurement(other)) is not None]
    if mine is None or not timed:
        return None
    bar = BARS.get((name, circuit, kind)) if len(found.case.images) == BAR_BATCH else None
    faster = min(timed, key=lambda m: m.microseconds.median)
    # Measured as time of the engine over time of the contender.
    times = {k: 1.0 / getattr(faster.ratio, q) for k, q in _QUARTILES.items()}
    return {
        "model": name,
        "circuit": circuit,
        "kind": kind,
        "batch": len(found.case.images),
        "threads": found.case.threads,
        "activity": found.case.activity,
        "microseconds": {m.engine: asdict(m.microseconds) for m in (mine, *timed)},
        "faster": faster.engine,
        "times_as_fast": times,
        "bar": bar,
        "skipped": found.skipped,
    }


_QUARTILES = {"median": "median", "q25": "q75", "q75": "q25"}


def show(row: dict[str, Any]) -> None:
    """Print a row beside its bar."""
    costs = ", ".join(f"{k} {v['median']:.2f}" for k, v in row["microseconds"].items())
    ratio, bar = row["times_as_fast"], row["bar"]
    verdict = "reached" if bar is not None and ratio["median"] >= bar else "missed"
    print(
        f"{row['model']} {row['circuit']}, {row['kind']}, {100 * row['activity']:.0f} % active: "
        f"{costs} us; fast is {ratio['median']:.2f} ({ratio['q25']:.2f} to {ratio['q75']:.2f}) "
        f"times as fast as {row['faster']}"
        + ("" if bar is None else f" (at least {bar:g}: {verdict})"),
        flush=True,
    )
    for other, why in row["skipped"].items():
        print(f"    left out: {other}: {why}")


def main() -> None:
    """Run the comparison and print it."""
    chosen = options()
    if chosen.cpu:
        chosen.threads = 1
    rules = Rules(chosen.repeats, chosen.steps, limit_seconds=60.0, cpu=chosen.cpu)
    before, rows, missing = machine(), [], {}
    for name, circuit, case in cases(chosen):
        for kind in chosen.kinds:
            engine, others = KINDS[kind]
            result = run_bench([case], choose_contenders((engine, *others)), rules, baseline=engine)
            missing |= result.skipped
            row = compared(name, circuit, kind, result.cases[0])
            if row is None:
                print(f"{name} {circuit}, {kind}: {result.cases[0].skipped or result.skipped}")
                continue
            rows.append(row)
            show(row)
    for other, why in missing.items():
        print(f"left out: {other}: {why}")
    if chosen.json:
        content = {
            "machine": before,
            "versions": versions(),
            "rules": asdict(rules),
            "skipped": missing,
            "rows": rows,
        }
        chosen.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
