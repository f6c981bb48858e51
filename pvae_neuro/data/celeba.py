"""CelebA: faces in colour, cropped about the centre and resized."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.data.cache import Arrays
from pvae_neuro.data.images import COLOURS
from pvae_neuro.data.pictures import crop_and_resize
from pvae_neuro.errors import InputError

CELEBA_SIZE = (128, 128)
"""Default height and width, those that the iP-VAE paper (Table 4) trains on."""

CELEBA_ATTRIBUTE = "Smiling"
"""The attribute that serves as label, 0 or 1; about half of the faces have it."""

# Bytes per value: one decoded, four as float32.
_BYTES = 5


def read_celeba(
    datasets: Any, root: Path, split: str, size: tuple[int, int], limit: int | None
) -> Arrays:
    """Read CelebA's aligned faces (178 x 218 pixels) as uint8 [N, 3, H, W].

    The largest centred rectangle with the proportions of ``size`` is cut out, a square of 178
    pixels for the default, and resized with antialiasing. How the paper crops is unverified.
    ``datasets`` is ``torchvision.datasets``.

    Raises :class:`InputError` if so many faces do not fit the memory of this machine.
    """
    faces = datasets.CelebA(str(root), split=split, download=False)
    count = len(faces) if limit is None else min(limit, len(faces))
    _check_memory(count, size)
    images = np.empty((count, COLOURS, *size), np.uint8)
    for i in range(count):
        face = crop_and_resize(faces[i][0].convert("RGB"), size)
        images[i] = np.asarray(face).transpose(2, 0, 1)
    labels = faces.attr[:count, faces.attr_names.index(CELEBA_ATTRIBUTE)]
    return images, labels.numpy().astype(np.int64)


def _check_memory(count: int, size: tuple[int, int]) -> None:
    needed = count * COLOURS * size[0] * size[1] * _BYTES
    memory = _memory()
    if memory is not None and needed > memory:
        raise InputError(
            f"celeba: {count} faces of {size[0]}x{size[1]} need {needed / 2**30:.0f} GiB, this "
            f"machine has {memory / 2**30:.0f}; give a smaller size or a limit"
        )


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
