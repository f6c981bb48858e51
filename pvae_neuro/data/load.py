"""``load_images``: read a data set by name, a NumPy file, or a folder of pictures."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pvae_neuro.data.images import Images, make_images
from pvae_neuro.data.numpy_files import SUFFIXES, read_numpy
from pvae_neuro.data.torchvision_sets import RESIZED_SETS, TORCHVISION_SETS, read_torchvision
from pvae_neuro.errors import InputError
from pvae_neuro.utils.suggest import suggest


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
        folder of images (:mod:`pvae_neuro.data.folder`). A name takes precedence over a folder of
        that name: write ``./mnist`` for the folder. See :func:`~pvae_neuro.data.make_images` for
        the range; an array ``range`` in an ``.npz`` declares it for all its parts.
    data_root : path-like
        Folder that holds torchvision's data sets. Nothing is ever downloaded.
    split : {"train", "test"}
        Which part.
    key : str, optional
        Array of an ``.npz`` to read; by default the one named ``split``, or ``images``, or the
        only one.
    size : int or (int, int), optional
        Height and width that images of a folder, or of CelebA (default 128), are cropped about
        their centre and resized to.
    limit : int, optional
        Read the first images only.
    seed : int
        Of the division of a folder that has no ``train`` and ``test`` folders.

    Raises
    ------
    InputError
        If the data are absent or unreadable, or hold no images, or the options do not fit.
    MissingDependencyError
        If torchvision, Pillow or SciPy is needed and not installed.
    """
    if split not in ("train", "test"):
        raise InputError(f"split: expected 'train' or 'test', got {split!r}")
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        raise InputError(f"limit: expected at least 1 image, got {limit}")
    name, path = dataset.lower(), Path(dataset)
    is_set, is_file = name in TORCHVISION_SETS, path.suffix in SUFFIXES
    if size is not None and (is_file or is_set) and name not in RESIZED_SETS:
        raise InputError(
            f"size: only images of a folder, or of {' or '.join(RESIZED_SETS)}, can be resized; "
            f"{dataset!r} is read as it is"
        )
    if is_set:
        images, labels = read_torchvision(name, Path(data_root), split, size, limit)
        return make_images(images, labels, name).take(limit)
    if is_file:
        values, given, declared = read_numpy(path, split, key)
        return _with_range(make_images(values, given, path.name), declared).take(limit)
    return _from_folder(dataset, split, size, limit, seed)


def _from_folder(
    dataset: str, split: str, size: int | tuple[int, int] | None, limit: int | None, seed: int
) -> Images:
    from pvae_neuro.data.folder import read_folder

    path = Path(dataset)
    if not path.is_dir():
        raise InputError(
            f"dataset {dataset!r}: expected the name of a data set, an existing folder of images, "
            f"or a .npy or .npz file{suggest(dataset, TORCHVISION_SETS)}"
        )
    read = read_folder(path, split, size, limit, seed)
    return make_images(read.values, None, path.resolve().name)


def _with_range(images: Images, declared: npt.NDArray[Any] | None) -> Images:
    """Replace the range that follows from the values by the one that a file declares."""
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
