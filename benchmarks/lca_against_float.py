"""How much PSNR the integers of the locally competitive algorithm lose against real numbers.

``python benchmarks/lca_against_float.py --data-root data`` runs 100 test digits for 1,024
iterations with a step of 1/128, as a published solver for Loihi 2 was measured, in real numbers and
in integers, by both circuits and at three thresholds. It prints a table and writes it as JSON. PSNR
is ``10 log10(1 / mean squared error per pixel)``; zeros are the share of coefficients that are 0.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.data import load_images
from pvae_neuro.exporters.certify import certify
from pvae_neuro.exporters.lowerings import lowering_of, topologies
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.saved.model_file import SavedModel, load_model
from pvae_neuro.sim.engine import fastest_engine

STEP, ITERATIONS, DIGITS, CALIBRATION = 2.0**-7, 1024, 100, 64
THRESHOLDS = (0.1, 0.02, 0.005)


def at(model: SavedModel, threshold: float) -> SavedModel:
    """The same dictionary at another threshold, with the step of the measurement."""
    architecture = {**model.config.architecture, "step": STEP, "lambda_": 1.0}
    update = {"beta": threshold, "architecture": architecture}
    return replace(model, config=model.config.model_copy(update=update))


def psnr(error: Any, pixels: int) -> float:
    """Of a squared error summed over pixels, mean over images."""
    return float(10 * np.log10(pixels / error))


def measure(model: SavedModel, topology: str, digits: Any, calibration: Any) -> dict[str, Any]:
    """Figures of one circuit, in real numbers and in integers."""
    network = quantize(model, calibration, QuantizeConfig(topology=topology))
    certify(network)  # Raises where a word is not proved to have 24 bits.
    recording = fastest_engine(network).run(network, digits, ITERATIONS, progress=False)
    circuit = lowering_of(topology, "lca").circuit(model)
    *_, last = circuit.run(digits, {}, ITERATIONS)
    error = np.square(digits - circuit.reconstruct(last)).sum(1).mean()
    figures = psnr(error, digits.shape[1]), psnr(recording.mse[-1], digits.shape[1])
    zeros = [100 * float((each == 0).mean()) for each in (last["latents.a"], recording.inferred)]
    names = ("unit of latents.m", "unit of errors.m")
    return {
        "threshold": model.config.beta,
        "circuit": topology,
        "float_db": figures[0],
        "integer_db": figures[1],
        "float_zeros": zeros[0],
        "integer_zeros": zeros[1],
        "saturated": int((np.abs(recording.inferred) == network.largest_code).sum()),
        "units": {c.name: c.value for c in network.choices if c.name in names},
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--model", default="mnist-lca")
    parser.add_argument("--output", type=Path, default=Path("docs/figures/lca.json"))
    options = parser.parse_args()
    model = load_model(options.model)
    digits = load_images("mnist", options.data_root, "test").pixels[:DIGITS]
    calibration = load_images("mnist", options.data_root, "train").pixels[:CALIBRATION]
    print(
        "| threshold | circuit | float | integers | difference | zeros |\n|---|---|---|---|---|---|"
    )
    rows = []
    for threshold in THRESHOLDS:
        for topology in topologies("lca"):
            r = measure(at(model, threshold), topology, digits, calibration)
            rows.append(r)
            print(
                f"| {threshold:g} | {topology} | {r['float_db']:.2f} dB | {r['integer_db']:.2f} dB "
                f"| {r['integer_db'] - r['float_db']:+.3f} dB | {r['float_zeros']:.1f} %, "
                f"{r['integer_zeros']:.1f} % |",
                flush=True,
            )
    options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
