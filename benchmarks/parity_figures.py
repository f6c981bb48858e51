"""Every figure of parity and accuracy that the README quotes, from one command.

    python benchmarks/parity_figures.py --data-root DATA --out docs/figures
    python benchmarks/parity_figures.py --data-root DATA --out docs/figures \
        --model natural.safetensors --dataset DATA/natural16_whitened.npz --name natural --short

writes OUT/<name>.json and OUT/<name>.md. With --short the 10,000-image and 1,000-iteration runs are
left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import pvae_neuro as pn
from pvae_neuro.data import load_images
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.verification.verify import ParityReport, verify

SEEDS = (0, 1, 2)
STEPS = 32
EXACT_SAMPLES, LAVA_SAMPLES, FLOAT_SAMPLES = 64, 8, 500
LONG_STEPS, LONG_SAMPLES = 1000, 200


def exactness(network: pn.IntegerNetwork, images: np.ndarray) -> list[dict[str, Any]]:
    """Differing integers of every pair of engines, per seed."""
    rows = []
    for seed in SEEDS:
        runs = [
            (EXACT_SAMPLES, ("reference", "fast", "onnx")),
            (LAVA_SAMPLES, ("reference", "fast", "onnx", "lava")),
        ]
        for samples, engines in runs:
            report = verify(
                network, None, images[:samples], steps=STEPS, seed=seed, engines=engines
            )
            rows += [{"seed": seed, "samples": samples, **pair.to_dict()} for pair in report.pairs]
    return rows


def near_float(report: ParityReport) -> dict[str, Any]:
    """Figures of tier 2 without the curves."""
    if report.float_result is None:
        raise SystemExit("no float result")
    values = report.float_result.to_dict()
    return {k: v for k, v in values.items() if not k.endswith("by_iteration")}


def evaluated(
    model: pn.SavedModel, network: pn.IntegerNetwork, images: np.ndarray, steps: int
) -> dict[str, Any]:
    """MSE of both after ``steps``, and their relative difference."""
    by_float, by_integer = (pn.evaluate(m, images, steps=steps) for m in (model, network))
    points = sorted({p for p in (16, 32, 128, steps) if p <= steps})
    return {
        "samples": len(images),
        "steps": steps,
        "mse_float": {p: float(by_float.mse[p - 1]) for p in points},
        "mse_integer": {p: float(by_integer.mse[p - 1]) for p in points},
        "zeros_float": {p: float(by_float.zeros[p - 1]) for p in points},
        "zeros_integer": {p: float(by_integer.zeros[p - 1]) for p in points},
        "mse_difference_percent": float(100 * (by_integer.mse[-1] / by_float.mse[-1] - 1)),
    }


def measure(
    model: pn.SavedModel, calibration: np.ndarray, test: np.ndarray, short: bool
) -> dict[str, Any]:
    """Return all figures of a model, by topology."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for topology in ("lateral", "predictive"):
            start = time.perf_counter()
            path = Path(folder) / f"{topology}.onnx"
            network = pn.export_model(
                model, path, calibration, pn.QuantizeConfig(topology=topology)
            ).network
            report = verify(
                network,
                model,
                test[:FLOAT_SAMPLES],
                steps=STEPS,
                engines=[pn.fastest_engine(network)],
            )
            figures: dict[str, Any] = {
                "exactness": exactness(network, test),
                "float": near_float(report),
                "total_variation": report.total_variation,
                "max_count": max(p.sampler.max_count for p in network.drawing),
                "choices": {c.name: c.value for c in network.choices},
            }
            if not short:
                figures["all_images"] = evaluated(model, network, test, 128)
                if topology == "lateral":
                    figures["long"] = evaluated(model, network, test[:LONG_SAMPLES], LONG_STEPS)
            figures["seconds"] = time.perf_counter() - start
            found[topology] = figures
            print(f"{topology}: {figures['seconds']:.0f} s", flush=True)
    return found


def markdown(name: str, found: dict[str, Any]) -> str:
    """One table, a column per topology."""
    rows = [
        ("differing integers, all engine pairs and seeds", _differing),
        ("integers compared", _compared),
        ("MSE, float → integer, 500 images, 32 iterations", _mse),
        ("zeros, float → integer", _zeros),
        ("counts that agree", lambda f: f"{100 * f['float']['count_agreement']:.2f} %"),
        ("all test images, 128 iterations", lambda f: _long(f.get("all_images"))),
        (f"{LONG_SAMPLES} images, 1,000 iterations", lambda f: _long(f.get("long"))),
        ("sampler, total variation", lambda f: f"{f['total_variation']:.1e}"),
        ("largest count", lambda f: f"{f['max_count']}"),
    ]
    lines = [f"| {name} | lateral | predictive |", "|---|---|---|"]
    for label, cell in rows:
        lines.append(f"| {label} | {cell(found['lateral'])} | {cell(found['predictive'])} |")
    return "\n".join(lines) + "\n"


def _differing(figures: dict[str, Any]) -> str:
    return str(sum(row["differing_integers"] for row in figures["exactness"]))


def _compared(figures: dict[str, Any]) -> str:
    return f"{sum(row['compared_integers'] for row in figures['exactness']):,}"


def _mse(figures: dict[str, Any]) -> str:
    f = figures["float"]
    percent = f["mse_difference_percent"]
    return f"{f['mse_float']:.3f} → {f['mse_integer']:.3f} ({percent:+.2f} %)"


def _zeros(figures: dict[str, Any]) -> str:
    f = figures["float"]
    points = f["zeros_difference_points"]
    return f"{f['zeros_float']:.4f} → {f['zeros_integer']:.4f} ({points:+.2f} points)"


def _long(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return "–"
    last = figures["steps"]
    before, after = figures["mse_float"][last], figures["mse_integer"][last]
    return f"{before:.3f} → {after:.3f} ({figures['mse_difference_percent']:+.2f} %)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--model", help="default: the shipped model")
    parser.add_argument("--name", default="mnist")
    parser.add_argument("--out", default="docs/figures")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    model = pn.load_model(options.model) if options.model else pn.load_pretrained()
    train, test = (load_images(options.dataset, options.data_root, s) for s in ("train", "test"))
    found = measure(model, train.pixels[:64], test.pixels, options.short)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for suffix, text in (
        ("json", json.dumps(found, indent=1)),
        ("md", markdown(options.name, found)),
    ):
        with atomic_path(out / f"{options.name}.{suffix}") as temporary:
            temporary.write_text(text + "\n" * (suffix == "json"))
    print(markdown(options.name, found))


if __name__ == "__main__":
    main()
