"""Inference around a dictionary that stands still.

A dictionary that one family learned is lent to others: iterative Poisson inference trains its own
parameters around it, LCA takes its atoms at unit norm.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import torch

from pvae_neuro.data.images import Images
from pvae_neuro.experiments.context import Context
from pvae_neuro.experiments.latents import weights_digest
from pvae_neuro.experiments.trainings import EXACT
from pvae_neuro.models.registry import build_model, model_from_saved
from pvae_neuro.saved.model_file import Float32, ModelConfig, SavedModel, load_model
from pvae_neuro.training.config import TrainConfig
from pvae_neuro.training.train import TrainOptions, checkpoint_path, recipe, train

_HORIZON = 16
_STANDS_STILL = 1e-9
"""Share of the learning rate that leaves a dictionary where it is."""


def dictionary_of(model: SavedModel) -> Float32:
    """What each latent of a linear decoder adds to the reconstruction.

    Parameters
    ----------
    model : SavedModel
        Of any family with a linear decoder without bias.

    Returns
    -------
    float32 [M, K]
    """
    with torch.no_grad():
        atoms = model_from_saved(model).decode(torch.eye(model.config.latents))
    return np.ascontiguousarray(atoms.numpy().T)


def poisson_on(context: Context, images: Images, dictionary: Float32, beta: float) -> SavedModel:
    """Train iterative Poisson inference around a dictionary that stands still.

    Parameters
    ----------
    context : Context
    images : Images
    dictionary : float32 [M, K]
    beta : float
        Weight of the KL term.

    Returns
    -------
    SavedModel
        A linear iterative Poisson VAE with this very dictionary.
    """
    config = recipe(
        "ipvae-linear", latents=dictionary.shape[1], steps=_HORIZON, beta=beta, seed=context.seed,
        **EXACT, dictionary_rate=_STANDS_STILL, learning_rate=3e-2, batch_size=100,
        epochs=context.choose(2, 20),
    )  # fmt: skip
    start = _calm(_with_dictionary(_untrained(images, config), dictionary))
    digest = hashlib.sha256(
        f"{config.model_dump_json()} {weights_digest(start)} {images.name} {len(images.pixels)}"
        f" {context.quick}".encode()
    ).hexdigest()
    path = context.models / f"patches-poisson-on-pvae-b{beta:g}-{digest[:12]}.safetensors"
    if path.is_file():
        trained = load_model(path)
    else:
        options = TrainOptions(
            resume=checkpoint_path(path).exists(), start=start, console=context.console
        )
        trained = train(images, config, path, options)
    return _with_dictionary(trained, dictionary)


def _untrained(images: Images, config: TrainConfig) -> SavedModel:
    sizes = ModelConfig(
        family=config.model, pixels=images.pixels.shape[1], latents=config.latents,
        steps=config.steps, beta=config.beta, input_low=images.low, input_high=images.high,
        image_shape=images.image_shape,
    )  # fmt: skip
    return build_model(sizes, torch.Generator().manual_seed(config.seed)).to_saved()


def _with_dictionary(model: SavedModel, dictionary: Float32) -> SavedModel:
    return replace(model, arrays={**model.arrays, "dictionary": dictionary})


def _calm(model: SavedModel) -> SavedModel:
    """Begin with steps that no eigenvalue of ΦᵀΦ makes swing; training finds better ones."""
    largest = float(np.linalg.norm(model.dictionary, ord=2)) ** 2
    step = np.array(-np.log(max(largest, 1.0)), np.float32)
    return replace(model, arrays={**model.arrays, "log_step_size": step})


def lca_on(dictionary: Float32, penalty: float) -> SavedModel:
    """Sparse coding by LCA with a given dictionary, its atoms scaled to unit norm.

    Parameters
    ----------
    dictionary : float32 [M, K]
        Atoms of norm zero stay out of use.
    penalty : float
        λ.

    Returns
    -------
    SavedModel
    """
    norms = np.linalg.norm(dictionary, axis=0)
    atoms = (dictionary / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    # Above twice the inverse of this the membranes swing; half of that leaves room.
    largest = float(np.linalg.norm(atoms, ord=2)) ** 2
    config = ModelConfig(
        family="lca", pixels=len(atoms), latents=atoms.shape[1], steps=1, beta=1.0,
        input_low=-1.0, input_high=1.0,
        architecture={"lambda_": penalty, "step": min(0.1, 1.0 / largest)},
    )  # fmt: skip
    return SavedModel(config, {"dictionary": atoms})
