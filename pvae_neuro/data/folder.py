"""A folder of images, and its division into a training part and a test part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pvae_neuro.data.arrays import COLOURS, Float32, check_size
from pvae_neuro.data.pictures import list_pictures, read_picture
from pvae_neuro.errors import InputError

TEST_FRACTION = 0.1
"""Share of the files that is kept for testing where the folder does not say."""

_PARTS = ("train", "test")


def read_folder(
    folder: Path,
    split: str,
    size: int | tuple[int, int] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Float32:
    """Read the images of one part of a folder.

    Parameters
    ----------
    folder : Path
        PNG, JPEG, TIFF or BMP files, in subfolders too. With folders ``train`` and ``test`` in
        it, these are the parts; otherwise one file in ten, drawn by ``seed``, is for testing.
    split : {"train", "test"}
        Which part.
    size : int or (int, int), optional
        Height and width to crop and resize to. Without it all files must have one size.
    limit : int, optional
        Read the first ones only.
    seed : int
        Of the division.

    Returns
    -------
    ndarray of float32, [N, H, W] or [N, 3, H, W]
        Within [0, 1] (see :func:`~pvae_neuro.data.pictures.read_picture`), in the order of their
        names. In colour if one of them is; grey ones then have three equal channels.

    Raises
    ------
    InputError
        If there are no images, or they differ in size: the first that differs is named.
    EngineUnavailableError
        If Pillow is not installed.
    """
    train, test = split_pictures(folder, TEST_FRACTION, seed)
    files = (train if split == "train" else test)[:limit]
    wanted = None if size is None else check_size(size)
    return stack_pictures((read_picture(path, wanted) for path in files), files)


def split_pictures(
    folder: Path, test_fraction: float, seed: int, distinct: bool = False
) -> tuple[list[Path], list[Path]]:
    """Divide the picture files of a folder into a training part and a test part.

    Parameters
    ----------
    folder : Path
        Its folders ``train`` and ``test``, if both are there, are the parts.
    test_fraction : float
        Share of the files to test on otherwise; at least one file, and one is left to train on.
    seed : int
        Of the draw.
    distinct : bool
        Take one of several files with the same bytes, so that no part holds a copy of what is in
        the other.

    Returns
    -------
    train, test : list of Path
        Each in the order of names.

    Raises
    ------
    InputError
        If there are no pictures, a single one, only one of the two folders, or, with
        ``distinct``, copies of one file in both folders.
    """
    there = [part for part in _PARTS if (folder / part).is_dir()]
    if len(there) == 1:
        missing = next(part for part in _PARTS if part not in there)
        raise InputError(
            f"{folder}: has a folder {there[0]!r} but none named {missing!r}; add it, or put all "
            f"images into one folder to have them divided"
        )
    if there:
        parts = [list_pictures(folder / part) for part in _PARTS]
        return _without_copies(*parts) if distinct else (parts[0], parts[1])
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
    """Files by the digest of their bytes; of copies the first."""
    first: dict[bytes, Path] = {}
    for path in files:
        try:
            digest = hashlib.sha256(path.read_bytes()).digest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        first.setdefault(digest, path)
    return first


def _without_copies(train: list[Path], test: list[Path]) -> tuple[list[Path], list[Path]]:
    training, testing = _by_content(train), _by_content(test)
    both = next((digest for digest in training if digest in testing), None)
    if both is not None:
        raise InputError(
            f"{testing[both]}: is a copy of {training[both]}; what is tested on must not be "
            f"trained on: remove one of them"
        )
    return list(training.values()), list(testing.values())


def _draw(files: list[Path], test_fraction: float, seed: int) -> tuple[list[Path], list[Path]]:
    count = min(max(1, round(test_fraction * len(files))), len(files) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(files))[:count].tolist())
    train = [path for place, path in enumerate(files) if place not in chosen]
    return train, [path for place, path in enumerate(files) if place in chosen]


def stack_pictures(pictures: Iterable[Float32], files: list[Path]) -> Float32:
    """Put pictures of one size into one array.

    Parameters
    ----------
    pictures : iterable of ndarray of float32
        [H, W] or [3, H, W] each.
    files : list of Path
        Their names, for the error message.

    Returns
    -------
    ndarray of float32, [N, H, W] or [N, 3, H, W]

    Raises
    ------
    InputError
        Names the first whose size differs from that of the first file.
    """
    read: list[Float32] = []
    for picture, path in zip(pictures, files, strict=True):
        if read and picture.shape[-2:] != read[0].shape[-2:]:
            (h, w), (height, width) = picture.shape[-2:], read[0].shape[-2:]
            raise InputError(
                f"{path}: expected {height}x{width} pixels (height x width) as in {files[0].name}, "
                f"got {h}x{w}; give a size to crop and resize all images to, or sort them out"
            )
        read.append(picture)
    colour = any(picture.ndim == 3 for picture in read)
    return np.stack([_in_colour(picture) for picture in read] if colour else read)


def _in_colour(picture: Float32) -> Float32:
    return np.stack([picture] * COLOURS) if picture.ndim == 2 else picture
