"""A folder of pictures, and its division into a training part and a test part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pvae_neuro.data.images import COLOURS, Float32, check_size
from pvae_neuro.data.pictures import list_pictures, read_picture
from pvae_neuro.errors import InputError
from pvae_neuro.sim.noise import check_seed

TEST_FRACTION = 0.1
"""Fraction of the files kept for testing where a folder has no ``train`` and ``test``."""

_PARTS = ("train", "test")


def read_folder(
    folder: Path,
    split: str,
    size: int | tuple[int, int] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Float32:
    """Read one part of a folder, in the order of file names: [N, H, W] or [N, 3, H, W].

    The parts are the folders ``train`` and ``test`` if they exist; otherwise one file in ten,
    drawn by ``seed``, is for testing. Without a size all files must have the same one. If one
    picture is in colour all are; grey ones then have three equal channels.

    Raises :class:`InputError` if there are no images or they differ in size.
    """
    train, test = split_pictures(folder, TEST_FRACTION, seed)
    files = {"train": train, "test": test}[split][:limit]
    wanted = None if size is None else check_size(size)
    return stack_pictures((read_picture(path, wanted) for path in files), files)


def split_pictures(
    folder: Path, test_fraction: float, seed: int, distinct: bool = False
) -> tuple[list[Path], list[Path]]:
    """Divide the pictures of a folder into a training part and a test part, each sorted by name.

    Parameters
    ----------
    folder
        If it has folders ``train`` and ``test``, they are the parts.
    test_fraction
        Fraction of the files to test on otherwise: at least one file, and one is left to train on.
    seed
        Of the draw.
    distinct
        Take only one of several files with the same bytes, so that no part holds a copy of what is
        in the other.

    Raises
    ------
    InputError
        If there are fewer than two pictures, only one of the two folders, or, with ``distinct``,
        copies of one file in both folders.
    """
    check_seed(seed)
    existing = [part for part in _PARTS if (folder / part).is_dir()]
    if len(existing) == 1:
        missing = next(part for part in _PARTS if part not in existing)
        raise InputError(
            f"{folder}: has a folder {existing[0]!r} but none named {missing!r}; add it, or put "
            f"all images into one folder to have them divided"
        )
    if existing:
        train, test = (list_pictures(folder / part) for part in _PARTS)
        return _without_copies(train, test) if distinct else (train, test)
    files = list_pictures(folder)
    if distinct:
        files = list(_by_content(files).values())
    if len(files) < 2:
        raise InputError(
            f"{folder}: expected at least 2 different images, one to train on and one to test on, "
            f"got 1"
        )
    return _draw(files, test_fraction, seed)


def _by_content(files: list[Path]) -> dict[bytes, Path]:
    """Files by the digest of their bytes; of several copies the first."""
    first: dict[bytes, Path] = {}
    for path in files:
        try:
            content = hashlib.sha256(path.read_bytes()).digest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        first.setdefault(content, path)
    return first


def _without_copies(train: list[Path], test: list[Path]) -> tuple[list[Path], list[Path]]:
    training, testing = _by_content(train), _by_content(test)
    both = next((content for content in training if content in testing), None)
    if both is not None:
        raise InputError(
            f"{testing[both]}: is a copy of {training[both]}; test images must not be among the "
            f"training images: remove one of them"
        )
    return list(training.values()), list(testing.values())


def _draw(files: list[Path], test_fraction: float, seed: int) -> tuple[list[Path], list[Path]]:
    count = min(max(1, round(test_fraction * len(files))), len(files) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(files))[:count].tolist())
    train = [path for i, path in enumerate(files) if i not in chosen]
    return train, [path for i, path in enumerate(files) if i in chosen]


def stack_pictures(pictures: Iterable[Float32], files: list[Path]) -> Float32:
    """Stack pictures [H, W] or [3, H, W] of one size; grey ones get three channels among colour.

    Raises :class:`InputError` that names the first file of another size.
    """
    stacked: list[Float32] = []
    for picture, path in zip(pictures, files, strict=True):
        if stacked and picture.shape[-2:] != stacked[0].shape[-2:]:
            (h, w), (height, width) = picture.shape[-2:], stacked[0].shape[-2:]
            raise InputError(
                f"{path}: expected {height}x{width} pixels (height x width) as in {files[0].name}, "
                f"got {h}x{w}; give a size to crop and resize all images to, or sort them out"
            )
        stacked.append(picture)
    colour = any(picture.ndim == 3 for picture in stacked)
    return np.stack([_in_colour(picture) for picture in stacked] if colour else stacked)


def _in_colour(picture: Float32) -> Float32:
    return np.stack([picture] * COLOURS) if picture.ndim == 2 else picture
