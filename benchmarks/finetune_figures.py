"""Figures of fine-tuning that docs/narrow.md quotes, from one command.

    python benchmarks/finetune_figures.py --data-root DATA

Models are tuned on training digits, and measured on the 10,000 test digits with three seeds of the
random words; the float model runs under the same words. Each row of
``docs/figures/finetune.json`` is kept as soon as it is measured, so a run that was stopped goes on;
remove a row to measure it again. Tuned models are kept in ``--work``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import pvae_neuro as pn
from pvae_neuro.data import load_images
from pvae_neuro.utils.files import atomic_path

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
SHORT, LONG = 32, 128
# Of calibration; rounding together takes counts of those beyond the first 128.
CALIBRATION = 320
BITS = (4, 3, 8)
LATENTS = 512
# By whose counts weights are rounded together, and the readout is fitted.
IMAGES = 20_000
Row = dict[str, Any]


def rounded(bits: int, **options: bool) -> pn.QuantizeConfig:
    return pn.QuantizeConfig("predictive", weight_bits=bits, **options)


def figures(subject: Any, test: np.ndarray, seed: int) -> Row:
    """Squared error, zeros and mean count after 32 and 128 iterations."""
    found = pn.evaluate(subject, test, steps=LONG, seed=seed, progress=False)
    at = {
        str(steps): {n: float(getattr(found, n)[steps - 1]) for n in ("mse", "zeros")}
        for steps in (SHORT, LONG)
    }
    return {**at, "mean": float(found.spikes[0]) / (LONG * LATENTS), "images": len(test)}


class Table:
    """Rows that are kept as they come."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.rows: dict[str, Row] = json.loads(out.read_text()) if out.exists() else {}

    def row(self, key: str, measure: Callable[[], Row]) -> Row:
        """A row as it is kept, or measured now."""
        if key not in self.rows:
            start = time.perf_counter()
            found = measure()
            self.rows[key] = {**found, "seconds": round(time.perf_counter() - start, 1)}
            print(f"{key}: {json.dumps(self.rows[key])}", flush=True)
            self.out.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.out) as temporary:
                temporary.write_text(json.dumps(self.rows, indent=1) + "\n")
        return self.rows[key]


def tuned(
    bits: int, updates: int, train: np.ndarray, work: Path, table: Table, key: str
) -> pn.SavedModel:
    """The tuned model: as it is kept, or tuned now."""
    path = work / f"{key}.safetensors"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        config = pn.FinetuneConfig(updates=updates, fitted_images=IMAGES)
        quantization = rounded(bits, latent_units=True)
        start = time.perf_counter()
        result = pn.finetune(
            pn.load_model("mnist"), train, path, quantization, config, progress=False
        )
        minutes = (time.perf_counter() - start) / 60
        table.row(
            f"{key}/tuning",
            lambda: {
                "minutes": round(minutes, 2), "before": result.loss(result.before),
                "after": result.loss(result.after), "images": result.images,
            },
        )  # fmt: skip
    return pn.load_model(path)


def integers(model: pn.SavedModel, config: pn.QuantizeConfig, train: np.ndarray) -> Any:
    return pn.quantize(model, train[:CALIBRATION], config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/figures/finetune.json")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/finetune")
    parser.add_argument("--only", action="append", help="rows that begin so; repeat for several")
    options = parser.parse_args()
    train, test = (load_images("mnist", options.data_root, s).pixels for s in ("train", "test"))
    table, model = Table(options.out), pn.load_model("mnist")
    subjects: dict[str, Callable[[], Any]] = {"float": lambda: model}
    for bits in BITS:
        subjects[f"{bits} bits"] = partial(integers, model, rounded(bits), train)
        together = rounded(bits, latent_units=True, compensate=True)
        subjects[f"{bits} bits, together"] = partial(integers, model, together, train)
        subjects[f"{bits} bits, tuned"] = partial(
            lambda bits: integers(
                tuned(bits, 0, train, options.work, table, f"mnist-{bits}"),
                rounded(bits, latent_units=True),
                train,
            ),
            bits,
        )
    for name, made in subjects.items():
        if options.only and not any(name.startswith(each) for each in options.only):
            continue
        subject = None
        for seed in SEEDS:
            if f"{name}/{seed}" not in table.rows:
                subject = subject if subject is not None else made()
                table.row(f"{name}/{seed}", partial(figures, subject, test, seed))
    print("\n".join(lines(table.rows, list(subjects))))


def lines(rows: dict[str, Row], names: list[str]) -> list[str]:
    """The table in Markdown; loss is the mean over seeds of the difference from float."""
    found = [
        "| weights | MSE, 32 iterations | MSE, 128 | against float | zeros, 128 | mean count |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        seeds = [s for s in SEEDS if f"{name}/{s}" in rows and f"float/{s}" in rows]
        if not seeds:
            continue

        def mean(steps: int, figure: str, name: str = name, seeds: list[int] = seeds) -> float:
            return float(np.mean([rows[f"{name}/{s}"][str(steps)][figure] for s in seeds]))

        losses = [
            100 * (rows[f"{name}/{s}"][str(LONG)]["mse"] / rows[f"float/{s}"][str(LONG)]["mse"] - 1)
            for s in seeds
        ]
        found.append(
            f"| {name} | {mean(SHORT, 'mse'):.3f} | {mean(LONG, 'mse'):.3f} | "
            f"{np.mean(losses):+.2f} % | {100 * mean(LONG, 'zeros'):.2f} % | "
            f"{np.mean([rows[f'{name}/{s}']['mean'] for s in seeds]):.3f} |"
        )
    return found


if __name__ == "__main__":
    main()
