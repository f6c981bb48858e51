"""Shapes and types that all of :mod:`pvae_neuro.data` speaks of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.errors import InputError

Float32 = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

ImageShape = tuple[int, int] | tuple[int, int, int]
"""(H, W) of a grey image, or (C, H, W) of one in colour; pixels are flattened in that order."""

COLOURS = 3


def image_shape_of(batch: tuple[int, ...], name: str) -> ImageShape | None:
    """Shape of one image in a batch; one channel counts as grey.

    Parameters
    ----------
    batch : tuple of int
        [N, M], [N, H, W] or [N, C, H, W] with C 1 or 3.
    name : str
        Names the batch in the error message.

    Returns
    -------
    tuple of int or None
        (H, W) or (3, H, W); None for [N, M].

    Raises
    ------
    InputError
        If it is none of these.
    """
    if len(batch) == 2:
        return None
    if len(batch) == 3:
        return batch[1], batch[2]
    if len(batch) == 4 and batch[1] == 1:
        return batch[2], batch[3]
    if len(batch) == 4 and batch[1] == COLOURS:
        return COLOURS, batch[2], batch[3]
    last = len(batch) == 4 and batch[3] in (1, COLOURS)
    hint = "; channels come first here: images.transpose(0, 3, 1, 2)" if last else ""
    raise InputError(
        f"{name}: expected shape [N, M], [N, H, W] or [N, C, H, W] with C 1 or 3, "
        f"got {list(batch)}{hint}"
    )


def to_planes(pixels: Float32, shape: ImageShape | None, name: str) -> Float32:
    """Unflatten images into planes, one for each channel.

    Parameters
    ----------
    pixels : ndarray of float32, [N, M]
    shape : tuple of int or None
        (H, W) or (C, H, W).
    name : str
        Names the images in the error message.

    Returns
    -------
    ndarray of float32, [N, C, H, W]
        C is 1 for (H, W). A view where possible.

    Raises
    ------
    InputError
        If there is no shape, or it does not hold M pixels.
    """
    if shape is None:
        raise InputError(
            f"{name}: expected images with a height and a width, got flat inputs of "
            f"{pixels.shape[1]} pixels; store them as [N, H, W]"
        )
    if int(np.prod(shape)) != pixels.shape[1]:
        raise InputError(f"{name}: shape {shape} does not hold {pixels.shape[1]} pixels")
    channels = shape if len(shape) == 3 else (1, *shape)
    return pixels.reshape(len(pixels), *channels)


def check_size(size: int | tuple[int, int], name: str = "size") -> tuple[int, int]:
    """(H, W) from one number for squares or from two.

    Raises
    ------
    InputError
        If it is anything else than one or two whole numbers of at least 1.
    """
    pair: Any = (size, size) if isinstance(size, int | np.integer) else size
    whole = isinstance(pair, tuple | list) and all(isinstance(s, int | np.integer) for s in pair)
    if not whole or len(pair) != 2 or min(pair) < 1 or isinstance(size, bool):
        raise InputError(f"{name}: expected pixels, one whole number or (H, W), got {size!r}")
    return int(pair[0]), int(pair[1])


def check_seed(seed: int) -> int:
    """Refuse what is no seed.

    Raises
    ------
    InputError
        If it is no whole number in [0, 2^64).
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise InputError(f"seed: expected a whole number from 0 to 2^64 - 1, got {seed!r}")
    return int(seed)
