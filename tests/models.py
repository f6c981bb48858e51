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
