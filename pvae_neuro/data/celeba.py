"""CelebA: faces in colour, cropped about the centre and resized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.data.contents import Arrays
from pvae_neuro.data.images import COLOURS
from pvae_neuro.data.pictures import crop_and_resize
from pvae_neuro.utils.memory import require_memory

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

    Raises :class:`InputError` if so many faces exceed the limit of memory.
    """
    faces = datasets.CelebA(str(root), split=split, download=False)
    count = len(faces) if limit is None else min(limit, len(faces))
    needed = count * COLOURS * size[0] * size[1] * _BYTES
    require_memory(needed, f"celeba: {count:,} faces of {size[0]}x{size[1]}")
    images = np.empty((count, COLOURS, *size), np.uint8)
    for i in range(count):
        face = crop_and_resize(faces[i][0].convert("RGB"), size)
        images[i] = np.asarray(face).transpose(2, 0, 1)
    labels = faces.attr[:count, faces.attr_names.index(CELEBA_ATTRIBUTE)]
    return images, labels.numpy().astype(np.int64)
