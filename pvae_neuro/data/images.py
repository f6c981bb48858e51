"""Read images from wherever they are, and scale them into their declared range."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.arrays import Float32, ImageShape, Labels, check_seed, image_shape_of
from pvae_neuro.data.checks import check_finite, check_images, to_float32
from pvae_neuro.data.folder import read_folder
from pvae_neuro.data.numpy_files import SUFFIXES, read_numpy
from pvae_neuro.data.torchvision_sets import TORCHVISION_SETS, read_torchvision
from pvae_neuro.errors import InputError
from pvae_neuro.utils.suggest import suggest

__all__ = ["Images", "check_images", "load_images", "make_images"]

_SIZED = ("celeba",)


@dataclass(frozen=True, eq=False)
class Images:
    """A set of images, flattened.

    Attributes
    ----------
    pixels : ndarray of float32, [N, M]
        One image per row, within ``[low, high]``.
    labels : ndarray of int64, [N], optional
        Classes.
    image_shape : tuple of int, optional
        (H, W) of a grey image or (C, H, W) of one in colour; their product is M, and pixels are
        flattened in that order.
    low, high : float
        Declared range of the values.
    name : str
        Where the images came from.
    """

    pixels: Float32
    labels: Labels | None
    image_shape: ImageShape | None
    low: float
    high: float
    name: str


def load_images(
    dataset: str,
    data_root: str | os.PathLike[str] = "data",
    split: str = "train",
    key: str | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Images:
    """Read a data set by name, or images from a NumPy file or a folder.

    Parameters
    ----------
    dataset : str
        One of :data:`~pvae_neuro.data.torchvision_sets.TORCHVISION_SETS`; or a path to an
        ``.npy`` or ``.npz`` file that holds [N, M], [N, H, W] or [N, C, H, W] with C 1 or 3; or a
        folder of images (:mod:`pvae_neuro.data.folder`). A name goes before a folder of the same
        name: write ``./mnist`` for the folder. Bytes are divided by 255. Values that fit [0, 1]
        declare that range, others ``[-m, m]``, m the largest size; an array ``range`` in an
        ``.npz`` declares it for all its parts.
    data_root : path-like
        Folder that holds torchvision's data sets. Nothing is ever downloaded.
    split : {"train", "test"}
        Which part.
    key : str, optional
        Array of an ``.npz`` to read; by default the one named ``split``, or ``images``, or the
        only one.
    size : int or (int, int), optional
        Height and width in pixels that images of a folder, or of CelebA (default 128), are
        cropped about their centre and resized to.
    limit : int, optional
        Read the first images only.
    seed : int
        Of the split of a folder that has no ``train`` and ``test`` folders.

    Returns
    -------
    Images
        Flattened and scaled.

    Raises
    ------
    InputError
        If the data are absent or unreadable, or hold no images, or the options do not fit.
    EngineUnavailableError
        If torchvision, Pillow or SciPy is needed and not installed.
    """
    _check_options(split, limit)
    name, path = dataset.lower(), Path(dataset)
    known = name in TORCHVISION_SETS
    folder = not known and path.suffix not in SUFFIXES
    if size is not None and not (folder or name in _SIZED):
        raise InputError(
            f"size: expected a folder of images or {_SIZED[0]}, which are resized as they are "
            f"read; {dataset!r} is read as it is"
        )
    if known:
        images, labels = read_torchvision(name, Path(data_root), split == "train", size, limit)
        return _first(make_images(images, labels, name), limit)
    if folder:
        return _from_folder(dataset, split, size, limit, check_seed(seed))
    values, given, declared = read_numpy(path, split, key)
    return _first(_with_range(make_images(values, given, path.name), declared), limit)


def make_images(
    values: npt.NDArray[Any], labels: npt.NDArray[Any] | None = None, name: str = "images"
) -> Images:
    """Images from arrays: flattened, bytes divided by 255, range declared by their values.

    Parameters
    ----------
    values : ndarray
        [N, M], [N, H, W] or [N, C, H, W] with C 1 or 3.
    labels : ndarray of integers, [N], optional
    name : str
        Where they came from.

    Returns
    -------
    Images

    Raises
    ------
    InputError
        If they are no images, or not one label for each.
    """
    if values.ndim not in (2, 3, 4) or values.size == 0 or values.dtype.kind not in "fiub":
        raise InputError(
            f"{name}: expected numbers of shape [N, M], [N, H, W] or [N, C, H, W], got "
            f"{values.dtype} {list(values.shape)}"
        )
    shape = image_shape_of(values.shape, name)
    pixels = to_float32(values.reshape(len(values), -1))
    if values.dtype == np.uint8:
        pixels /= np.float32(255)
    check_finite(pixels)
    low, high = _declared_range(pixels)
    return Images(pixels, _check_labels(labels, len(pixels), name), shape, low, high, name)


def _check_options(split: str, limit: int | None) -> None:
    if split not in ("train", "test"):
        raise InputError(f"split: expected 'train' or 'test', got {split!r}")
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        raise InputError(f"limit: expected at least 1 image, got {limit}")


def _from_folder(
    dataset: str, split: str, size: int | tuple[int, int] | None, limit: int | None, seed: int
) -> Images:
    path = Path(dataset)
    if not path.is_dir():
        raise InputError(
            f"dataset {dataset!r}: expected the name of a data set, an existing folder of images, "
            f"or a .npy or .npz file{suggest(dataset, TORCHVISION_SETS)}"
        )
    return make_images(read_folder(path, split, size, limit, seed), None, path.resolve().name)


def _first(images: Images, limit: int | None) -> Images:
    if limit is None or limit >= len(images.pixels):
        return images
    labels = None if images.labels is None else images.labels[:limit]
    return replace(images, pixels=images.pixels[:limit].copy(), labels=labels)


def _with_range(images: Images, declared: npt.NDArray[Any] | None) -> Images:
    """Put the range that a file declares in the place of the one that its values have."""
    if declared is None:
        return images
    lowest, highest = float(images.pixels.min()), float(images.pixels.max())
    numbers = declared.shape == (2,) and declared.dtype.kind in "fiu"
    low, high = declared.tolist() if numbers else (0.0, 0.0)
    if not (low < high and low <= lowest <= highest <= high):
        raise InputError(
            f"{images.name}: its array 'range' must be [low, high] around all values, here "
            f"[{lowest:g}, {highest:g}], got {declared.tolist()}"
        )
    return replace(images, low=float(low), high=float(high))


def _declared_range(pixels: Float32) -> tuple[float, float]:
    lowest, highest = float(pixels.min()), float(pixels.max())
    if lowest >= 0.0 and highest <= 1.0:
        return 0.0, 1.0
    size = max(-lowest, highest)
    return -size, size


def _check_labels(labels: npt.NDArray[Any] | None, count: int, name: str) -> Labels | None:
    if labels is None:
        return None
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{name}: expected {count} integer labels, one per image, got {labels.dtype} "
            f"{list(labels.shape)}"
        )
    return labels.astype(np.int64)
