"""The model and the digits that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.saved.model_file import SavedModel, load_model

MODEL_FILE = "mnist_k512.safetensors"
DIGITS_FILE = "digits.npz"


def pretrained_model_path() -> Path:
    """Where the shipped model lies: 512 latents, trained on the MNIST training set.

    A ``.safetensors`` file. Raises :class:`InputError` if this installation lacks it.
    """
    return _asset(MODEL_FILE)


def load_pretrained() -> SavedModel:
    """Read the shipped model.

    Raises
    ------
    InputError
        If this installation lacks it.
    MissingDependencyError
        If safetensors is not installed.
    """
    return load_model(pretrained_model_path())


def sample_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read the shipped digits: 100 images of the MNIST test set.

    Returns
    -------
    images : float32 [100, 784]
        In [0, 1].
    labels : int64 [100]

    Raises
    ------
    InputError
        If this installation lacks them.
    """
    with np.load(_asset(DIGITS_FILE), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    if images.dtype == np.uint8:
        images = images / np.float32(255.0)
    return images.reshape(len(images), -1).astype(np.float32), labels.astype(np.int64)


def _asset(name: str) -> Path:
    path = Path(__file__).parent / name
    if not path.is_file():
        raise InputError(
            f"the shipped file {name} is missing from {path.parent}; install pvae-neuro again, "
            f"or give a model and inputs of your own"
        )
    return path
