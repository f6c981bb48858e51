"""The model ``mnist`` and the digits that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.saved.model_file import SavedModel, load_model
from pvae_neuro.saved.shipped import SHIPPED, shipped_file

PRETRAINED = "mnist"
DIGITS_FILE = "digits.npz"


def pretrained_model_path() -> Path:
    """Where the shipped model lies: 512 latents, trained on the MNIST training set.

    A ``.safetensors`` file. Raises :class:`InputError` if this installation lacks it.
    """
    return shipped_file(SHIPPED[PRETRAINED].file)


def load_pretrained() -> SavedModel:
    """Read the shipped model ``mnist``; raise :class:`InputError` if this installation lacks it."""
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
    with np.load(shipped_file(DIGITS_FILE), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    if images.dtype == np.uint8:
        images = images / np.float32(255.0)
    return images.reshape(len(images), -1).astype(np.float32), labels.astype(np.int64)
