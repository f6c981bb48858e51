"""Train the models that come with the package, apart from ``mnist``, from MNIST's training digits.

``python benchmarks/train_zoo.py mnist-mlp --data-root data --work models`` writes
``models/mnist-mlp.safetensors`` and says how long it took. A run that was stopped goes on from its
checkpoint. Stages follow one another; each starts from the weights of the one before.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pvae_neuro.data import load_images
from pvae_neuro.models.registry import build_model, model_from_saved
from pvae_neuro.saved.activity import KEY
from pvae_neuro.saved.model_file import SavedModel, load_model, save_model
from pvae_neuro.training.firing import IMAGES, firing
from pvae_neuro.training.train import TrainOptions, checkpoint_path, recipe, train
from pvae_neuro.zoo import load_pretrained

# Bounds within which integers with counts up to 63 compute.
BOUNDS = {"clamp": "hard", "clamp_u": 3.65, "clamp_du": 3.65, "isotropic": True}
ACTIVITY = {"activity_cost": 1.0, "target_zeros": 0.848}

STAGES: dict[str, tuple[dict[str, Any], ...]] = {
    "mnist-mlp": (
        {
            "model": "ipvae-mlp", "latents": 512, "architecture": {"hidden": (512,)},
            "steps": 8, "windows": 8, "batch_size": 200, "beta": 4.0, "epochs": 1,
            "learning_rate": 1e-3, **BOUNDS, **ACTIVITY,
        },
        # Zeros still rise beyond the 64 iterations of training: hence a lower target.
        {
            "model": "ipvae-mlp", "latents": 512, "architecture": {"hidden": (512,)},
            "steps": 8, "windows": 8, "batch_size": 200, "beta": 4.0, "epochs": 1,
            "learning_rate": 5e-4, **BOUNDS, **ACTIVITY, "target_zeros": 0.825,
        },
    ),
    "mnist-conv": (
        {
            "model": "ipvae-conv", "latents": 128, "architecture": {"channels": (32, 16)},
            "steps": 8, "windows": 6, "batch_size": 100, "beta": 2.0, "epochs": 1,
            "learning_rate": 3e-3, **BOUNDS,
        },
    ),
    "mnist-hierarchical": (
        {
            "model": "ipvae-hierarchical", "latents": 256, "architecture": {"upper": 64},
            "batch_size": 200, "epochs": 2, **BOUNDS,
        },
    ),
    "mnist-pvae": (
        {
            "model": "pvae-mlp", "latents": 128,
            "architecture": {"hidden": (256,), "estimator": "exact"}, "batch_size": 100,
            "learning_rate": 1e-2, "beta": 0.03, "beta_anneal": 0.2, "epochs": 40,
            "clamp": "hard", "clamp_u": 3.65,
        },
    ),
    "mnist-lca": (
        {
            "model": "lca", "latents": 784, "beta": 0.1, "steps": 100, "batch_size": 200,
            "epochs": 6,
        },
    ),
}  # fmt: skip

# Set after training, which takes the largest step that is stable: one that is a shift.
AFTERWARDS: dict[str, dict[str, Any]] = {"mnist-lca": {"architecture": {"step": 2.0**-7}}}


def linear_start(name: str, settings: dict[str, Any]) -> SavedModel | None:
    """Weights with which an MLP computes as ``mnist`` does: hidden unit i carries latent i."""
    if settings["model"] != "ipvae-mlp":
        return None
    linear = load_pretrained()
    config = linear.config.model_copy(
        update={"family": "ipvae-mlp", "architecture": settings["architecture"]}
    )
    model = build_model(config)
    bias = 0.25
    dictionary = linear.arrays["dictionary"]
    arrays = {
        "log_sigma": linear.arrays["log_sigma"],
        "decoder.layers.0.weight": np.eye(config.latents, dtype=np.float32),
        "decoder.layers.0.bias": np.full(config.latents, bias, np.float32),
        "decoder.layers.2.weight": dictionary,
        "decoder.layers.2.bias": -bias * dictionary.sum(1),
        **{f"potentials.{n}": linear.arrays[n] for n in
           ("log_bias", "log_step_size", "initial_potential")},
    }  # fmt: skip
    model.load_arrays(arrays, name)
    return model.to_saved()


def changed(saved: SavedModel, settings: dict[str, Any], pixels: np.ndarray) -> SavedModel:
    """A trained model of other settings, with its activity on the training digits."""
    model = replace(saved, config=saved.config.model_copy(update=settings))
    activity = firing(model_from_saved(model), torch.from_numpy(pixels[:IMAGES]))
    training = {**model.config.training, KEY: activity}
    return replace(model, config=model.config.model_copy(update={"training": training}))


def main() -> None:
    """Train one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(STAGES))
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--scratch", action="store_true", help="from random weights")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    images = load_images("mnist", options.data_root, "train")
    saved: SavedModel | None = None
    began = time.process_time()
    for number, settings in enumerate(STAGES[options.name]):
        last = number == len(STAGES[options.name]) - 1
        path = options.work / f"{options.name}{'' if last else f'-{number}'}.safetensors"
        if path.exists():
            saved = load_model(path)
            continue
        start = saved or (None if options.scratch else linear_start(options.name, settings))
        resume = checkpoint_path(path).exists()
        run = TrainOptions(resume=resume, start=start, device="cpu")
        config = recipe(settings["model"], **{k: v for k, v in settings.items() if k != "model"})
        saved = train(images, config, path, run)
        if last and options.name in AFTERWARDS:
            save_model(changed(saved, AFTERWARDS[options.name], images.pixels), path)
    print(f"{options.name}: {(time.process_time() - began) / 60:.1f} CPU minutes")


if __name__ == "__main__":
    main()
