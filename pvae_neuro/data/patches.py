"""Patches of photographs to train on, and held-out ones from other photographs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from pvae_neuro.data.arrays import Float32
from pvae_neuro.data.folder import split_pictures
from pvae_neuro.data.patch_config import PatchConfig
from pvae_neuro.data.pictures import read_picture, to_grey
from pvae_neuro.data.whitening import normalize_contrast, normalize_local_contrast, whiten
from pvae_neuro.errors import InputError
from pvae_neuro.utils.files import atomic_path

__all__ = ["PatchConfig", "PatchSet", "extract_patches", "prepare_photograph", "save_patches"]

Progress = Callable[[str, int, int], None]

# Below this part of its photograph's deviation a patch is constant but for rounding.
_CONSTANT = 1e-5
# Pixels looked at together while searching for contrast.
_CHUNK_PIXELS = 2**20


@dataclass(frozen=True, eq=False)
class PatchSet:
    """Patches of photographs.

    Attributes
    ----------
    train, test : ndarray of float32, [N, size, size]
        In random order.
    train_photograph, test_photograph : ndarray of int32, [N]
        Place in ``photographs`` of the one that each patch was cut from; no photograph is in both.
    photographs : tuple of str
        Names, relative to the folder.
    scale : float
        What values were divided by, so that the training patches have unit variance; 1 where they
        were left as they were.
    config : PatchConfig
    """

    train: Float32
    test: Float32
    train_photograph: npt.NDArray[np.int32]
    test_photograph: npt.NDArray[np.int32]
    photographs: tuple[str, ...]
    scale: float
    config: PatchConfig

    @property
    def value_range(self) -> tuple[float, float]:
        """[0, 1] if all values lie there, else [-m, m] with m the largest size, once stored."""
        parts = [part.astype(self.config.dtype) for part in (self.train, self.test)]
        lowest = min(float(part.min()) for part in parts)
        highest = max(float(part.max()) for part in parts)
        size = max(-lowest, highest)
        return (0.0, 1.0) if lowest >= 0.0 and highest <= 1.0 else (-size, size)


def extract_patches(
    folder: str | os.PathLike[str],
    config: PatchConfig | None = None,
    progress: Progress | None = None,
) -> PatchSet:
    """Cut patches out of a folder of photographs.

    Photographs are divided before anything is cut: one that gives held-out patches gives none to
    train on. Files with the same bytes count as one photograph. Each is turned to grey, whitened
    and normalized whole; positions are drawn without replacement, so no patch comes twice. If the
    photographs were whitened or normalized, all patches are divided by one number that gives the
    training patches unit variance; without either they stay in [0, 1].

    Parameters
    ----------
    folder : path-like
        PNG, JPEG, TIFF or BMP files of any sizes, in subfolders too; folders ``train`` and
        ``test`` in it are the two parts.
    config : PatchConfig, optional
    progress : callable, optional
        Takes (stage, photographs done, photographs in all).

    Returns
    -------
    PatchSet

    Raises
    ------
    InputError
        If a photograph is unreadable, constant, smaller than a patch, in both parts, or has too
        few patches of enough contrast.
    EngineUnavailableError
        If Pillow is not installed.
    """
    config = config or PatchConfig()
    root = Path(folder)
    parts = split_pictures(root, config.test_fraction, config.seed, distinct=True)
    files = [path for part in parts for path in part]
    cut: list[Float32] = []
    sources: list[npt.NDArray[np.int32]] = []
    for part, total, first in zip(
        parts, (config.train, config.test), (0, len(parts[0])), strict=True
    ):
        patches, source = _cut_part(part, total, first, config, _counted(progress, first, files))
        cut.append(patches)
        sources.append(source)
    scale = _scale(cut[0], config)
    names = tuple(path.relative_to(root).as_posix() for path in files)
    train, test = (part / np.float32(scale) for part in cut)
    return PatchSet(train, test, sources[0], sources[1], names, scale, config)


def save_patches(patches: PatchSet, path: str | os.PathLike[str]) -> None:
    """Write patches to an ``.npz``, whole or not at all.

    Arrays ``train`` and ``test`` [N, size, size], ``range`` [2] (declared for both),
    ``train_photograph`` and ``test_photograph`` [N], ``photographs`` (names), ``scale`` and
    ``config`` (JSON). :func:`~pvae_neuro.data.load_images` reads it.

    Parameters
    ----------
    patches : PatchSet
    path : path-like
        Ends in ``.npz``.

    Raises
    ------
    InputError
        If it ends otherwise or cannot be written.
    """
    if Path(path).suffix != ".npz":
        raise InputError(f"{path}: expected a name that ends in .npz")
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            train=patches.train.astype(patches.config.dtype),
            test=patches.test.astype(patches.config.dtype),
            range=np.array(patches.value_range),
            train_photograph=patches.train_photograph,
            test_photograph=patches.test_photograph,
            photographs=np.array(patches.photographs),
            scale=np.float64(patches.scale),
            config=np.array(json.dumps(asdict(patches.config))),
        )


def prepare_photograph(picture: Float32, config: PatchConfig) -> Float32:
    """Turn a photograph to grey, whiten it and normalize its contrast, as configured.

    Parameters
    ----------
    picture : ndarray of float32, [H, W] or [3, H, W]
    config : PatchConfig

    Returns
    -------
    ndarray of float32, [H, W]
    """
    grey = to_grey(picture)
    if config.whiten:
        grey = whiten(grey, config.cutoff)
    if config.contrast == "image":
        return normalize_contrast(grey)
    if config.contrast == "local":
        return normalize_local_contrast(grey, config.radius)
    return grey


def _counted(progress: Progress | None, first: int, files: list[Path]) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if progress is not None:
            progress("photographs", first + done, len(files))

    return tell


def _cut_part(
    files: list[Path], total: int, first: int, config: PatchConfig, tell: Callable[[int], None]
) -> tuple[Float32, npt.NDArray[np.int32]]:
    cut = []
    shares = [len(share) for share in np.array_split(np.arange(total), len(files))]
    for place, (path, share) in enumerate(zip(files, shares, strict=True)):
        if share:
            rng = np.random.default_rng([config.seed, first + place])
            cut.append(_cut_photograph(path, share, config, rng))
        tell(place + 1)
    source = np.repeat(np.arange(first, first + len(files), dtype=np.int32), shares)
    order = np.random.default_rng([config.seed, first, total]).permutation(total)
    return np.concatenate(cut)[order], source[order]


def _cut_photograph(
    path: Path, count: int, config: PatchConfig, rng: np.random.Generator
) -> Float32:
    picture = read_picture(path)
    side = config.size
    if min(picture.shape[-2:]) < side:
        height, width = picture.shape[-2:]
        raise InputError(
            f"{path}: expected at least {side}x{side} pixels, the size of a patch, "
            f"got {height}x{width}; leave it out or take smaller patches"
        )
    if picture.min() == picture.max():
        raise InputError(f"{path}: is constant, and has no contrast to whiten; leave it out")
    prepared = prepare_photograph(picture, config)
    windows = sliding_window_view(prepared, (side, side))
    lowest = max(config.minimum_contrast, _CONSTANT if config.standardize else 0.0)
    found = _search(windows, count, lowest * float(prepared.std()), rng)
    if len(found) < count:
        raise InputError(
            f"{path}: expected {count} patches of {side}x{side} pixels with enough contrast, "
            f"found {len(found)}; take fewer patches, a lower minimum contrast, or more photographs"
        )
    return _standardize(found) if config.standardize else found


def _search(
    windows: npt.NDArray[Any], count: int, lowest: float, rng: np.random.Generator
) -> Float32:
    """The first ``count`` patches, at positions in random order, that have enough contrast."""
    rows, columns, height, width = windows.shape
    chunk = max(16, _CHUNK_PIXELS // (height * width))
    positions = rng.permutation(rows * columns)
    found: list[Float32] = []
    missing = count
    for start in range(0, len(positions), chunk):
        row, column = np.divmod(positions[start : start + chunk], columns)
        patches = windows[row, column]
        kept = patches[patches.std(axis=(1, 2)) >= lowest][:missing]
        found.append(kept)
        missing -= len(kept)
        if missing == 0:
            break
    return np.concatenate(found)


def _standardize(patches: Float32) -> Float32:
    centred = patches - patches.mean(axis=(1, 2), keepdims=True)
    return centred / centred.std(axis=(1, 2), keepdims=True)


def _scale(train: Float32, config: PatchConfig) -> float:
    if config.standardize or (config.contrast == "none" and not config.whiten):
        return 1.0
    return float(train.std(dtype=np.float64)) or 1.0
