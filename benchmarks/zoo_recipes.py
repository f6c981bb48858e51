"""Which recipe trains the shipped model further: each continues from its weights for equal batches.

    python benchmarks/zoo_recipes.py --data-root data --work models

fine-tunes ``mnist`` for one pass over the training digits by each recipe (some six minutes of one
core), and prints errors and zeros of 500 test digits after 128 iterations, of floats and of both
integer networks. A stopped run goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pvae_neuro.data import load_images
from pvae_neuro.evaluation.evaluate import evaluate
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.experiments.shared.integers import CIRCUITS
from pvae_neuro.experiments.shared.summary import table_lines
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel, load_model
from pvae_neuro.training.train import TrainOptions, checkpoint_path, recipe, train
from pvae_neuro.zoo import load_pretrained

# Of the recipe "shipped": rates and first cost of activity with which it goes on.
SHARED: dict[str, Any] = {"learning_rate": 5e-4, "dictionary_rate": 0.26, "epochs": 1}
COST: dict[str, Any] = {"activity_cost": 2.9}
FREE: dict[str, Any] = {"activity_cost": 0.0, "target_zeros": None}
RECIPES: dict[str, dict[str, Any]] = {
    "one variance, cost of activity": COST,
    "one variance, β = 64": {**FREE, "beta": 64.0},
    "variance per pixel, cost of activity": {**COST, "isotropic": False},
    "variance per pixel, β = 16": {**FREE, "isotropic": False, "beta": 16.0},
    "variance per pixel, β = 64": {**FREE, "isotropic": False, "beta": 64.0},
}
DIGITS, STEPS, CALIBRATION = 500, 128, 256


def main() -> None:
    """Train by each recipe and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--work", required=True, type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    digits = load_images("mnist", options.data_root, "train")
    test = load_images("mnist", options.data_root, "test").pixels[:DIGITS]
    start = load_pretrained()
    rows = [["shipped", *figures(start, test, digits.pixels[:CALIBRATION])]]
    for number, (name, changes) in enumerate(RECIPES.items()):
        path = options.work / f"recipe-{number}.safetensors"
        if not path.exists():
            resume = checkpoint_path(path).exists()
            config = recipe(LINEAR_FAMILY, "shipped", **SHARED, **changes)
            train(digits, config, path, TrainOptions(resume=resume, start=start, device="cpu"))
        rows.append([name, *figures(load_model(path), test, digits.pixels[:CALIBRATION])])
    head = ["recipe", "MSE", "zeros", "R² within images", *(f"MSE, {c}" for c in CIRCUITS)]
    print("\n".join(table_lines(head, rows)))


def figures(model: SavedModel, test: Any, calibration: Any) -> list[str]:
    """MSE, zeros and R² of the float model, and MSE of the integers of each circuit."""
    trace = infer(model, test, STEPS, 0)
    found = [f"{trace.mse[-1]:.3f}", f"{trace.zeros[-1]:.4f}", f"{trace.r2[-1]:.4f}"]
    for circuit in CIRCUITS:
        network = quantize(model, calibration, QuantizeConfig(topology=circuit))
        found.append(f"{evaluate(network, test, steps=STEPS, seed=0).mse[-1]:.3f}")
    return found


if __name__ == "__main__":
    main()
