"""Small float models with random weights, for tests that need one."""

from __future__ import annotations

import numpy as np

from pvae_neuro.saved.model_file import ModelConfig, SavedModel


def random_model(
    seed: int = 0, latents: int = 24, height: int = 6, width: int = 5, signed: bool = False
) -> SavedModel:
    """Localized non-negative dictionary: stable, and busy enough to test something."""
    rng = np.random.default_rng(seed)
    pixels = height * width
    config = ModelConfig(
        pixels=pixels,
        latents=latents,
        steps=8,
        beta=8.0,
        input_low=-1.0 if signed else 0.0,
        input_high=1.0,
        image_shape=(height, width),
    )
    dictionary = np.abs(rng.normal(0, 0.2, (pixels, latents))) * (
        rng.random((pixels, latents)) < 0.4
    )
    if signed:
        dictionary *= rng.choice([-1.0, 1.0], dictionary.shape)
    arrays = {
        "dictionary": dictionary.astype(np.float32),
        "log_sigma": rng.normal(-1.0, 0.1, pixels).astype(np.float32),
        "log_bias": np.full(latents, -3.0, np.float32),
        "log_step_size": np.array(-2.0, np.float32),
        "initial_potential": rng.uniform(-3.0, -1.0, latents).astype(np.float32),
    }
    return SavedModel(config, arrays)


def random_images(model: SavedModel, samples: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.15, (samples, model.config.latents))
    images = counts @ model.dictionary.T
    return np.clip(images, model.config.input_low, model.config.input_high).astype(np.float32)


def sound_model() -> SavedModel:
    """A model that explains its images, :func:`sound_images`; its integers stay near it."""
    rng = np.random.default_rng(0)
    pixels, latents = 30, 24
    config = ModelConfig(
        pixels=pixels, latents=latents, steps=8, beta=1.0, input_low=0.0, input_high=1.0,
        image_shape=(6, 5),
    )  # fmt: skip
    dictionary = np.zeros((pixels, latents))
    # Latents hardly overlap and spikes are small, so inference is calm.
    dictionary[range(latents), range(latents)] = 0.06 * rng.uniform(0.7, 1.3, latents)
    dictionary[range(latents, pixels), range(0, latents, 4)] = 0.03
    arrays = {
        "dictionary": dictionary.astype(np.float32),
        "log_sigma": np.full(pixels, -3.5, np.float32),
        "log_bias": np.zeros(latents, np.float32),
        "log_step_size": np.array(-4.0, np.float32),
        "initial_potential": np.full(latents, -1.0, np.float32),
    }
    return SavedModel(config, arrays)


def sound_images(samples: int, seed: int = 1) -> np.ndarray:
    """Images for :func:`sound_model`."""
    rng = np.random.default_rng(seed)
    shown = rng.random((samples, 24)) * (rng.random((samples, 24)) < 0.5)
    images = shown @ (sound_model().dictionary.T / 0.06)
    return np.clip(images, 0.0, 1.0).astype(np.float32)


SIDE = 8
# What a small model of a family needs beside the common settings to have a circuit of integers.
ARCHITECTURES: dict[str, dict[str, object]] = {
    "ipvae-mlp": {"hidden": (16,)},
    "ipvae-conv": {"channels": (4, 3)},
    "ipvae-hierarchical": {"upper": 6},
    "gpc-chain": {"above": (6, 4), "step_size": 0.02},
    "pvae-mlp": {"hidden": (16,)},
    "pvae-conv": {"channels": (4, 3)},
    "pc": {"hidden": (10, 10), "activation": "relu"},
    "ipc": {"hidden": (10, 10), "activation": "relu"},
}


def family_model(family: str, seed: int = 0, latents: int = 12, **changes: object) -> SavedModel:
    """An untrained model of any family, on images of 8 x 8 pixels, whose neurons are active."""
    import torch

    from pvae_neuro.models.registry import build_model

    settings = {
        "family": family, "pixels": SIDE * SIDE, "latents": latents, "image_shape": (SIDE, SIDE),
        "steps": 8, "beta": 0.1, "input_low": 0.0, "input_high": 1.0,
        "clamp": "hard", "clamp_u": 3.0, "clamp_du": 3.0,
        "architecture": ARCHITECTURES.get(family, {}), **changes,
    }  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    model = build_model(ModelConfig.model_validate(settings), generator, 0.1).to_saved()
    rng = np.random.default_rng(seed)
    for name, array in model.arrays.items():
        # Rates near one, and small steps: busy, and calm enough to stay near float.
        if name.endswith("initial_potential"):
            array[...] = rng.uniform(-2.0, 0.0, array.shape)
        if name.endswith("log_step_size"):
            array[...] = -3.0
    return model


def family_images(samples: int, seed: int = 1) -> np.ndarray:
    """Images for :func:`family_model`: a few rows and columns of any brightness."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.random((2, samples, SIDE)) * (rng.random((2, samples, SIDE)) < 0.3)
    return np.clip(rows[:, :, None] + columns[:, None], 0, 1).reshape(samples, -1).astype("float32")
