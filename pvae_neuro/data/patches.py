"""Patches of photographs to train on, and held-out ones from other photographs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from pvae_neuro.data.folder import TEST_FRACTION, Facts, split_pictures
from pvae_neuro.data.images import Float32, natural_range
from pvae_neuro.data.pictures import read_picture, to_grey
from pvae_neuro.data.whitening import (
    CUTOFF,
    LARGEST_RADIUS,
    RADIUS_WORDS,
    normalize_contrast,
    normalize_local_contrast,
    whiten,
)
from pvae_neuro.errors import InputError
from pvae_neuro.sim.noise import check_seed, check_whole
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.progress import Advance, StageProgress, shown_stages, stage_advance
from pvae_neuro.utils.show import show

# A patch whose standard deviation is below this fraction of its photograph's is constant up to
# rounding.
_CONSTANT = 1e-5
# Pixels that are examined together while searching for patches of enough contrast.
_CHUNK_PIXELS = 2**20


@dataclass(frozen=True)
class PatchConfig:
    """How patches are cut out of photographs; :class:`InputError` for impossible values."""

    size: int = 16
    """Height and width of a patch, in pixels."""

    train: int = 40_000
    """Patches to train on, equally many from each photograph."""

    test: int = 5_000
    """Patches to test on."""

    whiten: bool = True
    """Whiten each photograph (:func:`~pvae_neuro.data.whitening.whiten`)."""

    cutoff: float = CUTOFF
    """Cut-off f0 of the whitening, relative to Nyquist."""

    contrast: Literal["none", "image", "local"] = "none"
    """After whitening: leave the contrast of a photograph as it is, give each photograph unit
    variance, or divide by its local standard deviation."""

    radius: float = 16.0
    """Of the window of ``"local"``, in pixels."""

    standardize: bool = False
    """Give every single patch zero mean and unit variance."""

    minimum_contrast: float = 0.0
    """Leave out patches whose standard deviation is below this fraction of their photograph's."""

    test_fraction: float = TEST_FRACTION
    """Fraction of the photographs to hold out where a folder has no ``train`` and ``test``."""

    dtype: Literal["auto", "float16", "float32"] = "auto"
    """Of the patches in a file; ``"auto"`` is float16 unless its range is too small for them."""

    seed: int = 0
    """Of the division of photographs, of positions and of the order."""

    def __post_init__(self) -> None:
        """Check every option."""
        check_seed(self.seed)
        for name, (lowest, highest) in _WHOLE.items():
            check_whole(name, getattr(self, name), lowest, highest)
        for name, (fits, expected) in _RULES.items():
            value = getattr(self, name)
            kind = type(getattr(PatchConfig, name))
            right = isinstance(value, Real if kind is float else kind)
            if not right or (kind is float and isinstance(value, bool)) or not fits(value):
                raise InputError(f"{name}: expected {expected}, got {show(value)}")


_CONTRASTS: dict[str, Callable[[Float32, PatchConfig], Float32]] = {
    "none": lambda grey, config: grey,
    "image": lambda grey, config: normalize_contrast(grey),
    "local": lambda grey, config: normalize_local_contrast(grey, config.radius),
}


# The largest photograph that is decoded has about 13,000 pixels on a side.
_WHOLE = {"size": (2, 10_000), "train": (1, 10**9), "test": (1, 10**9)}
_DTYPES = ("auto", "float16", "float32")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "whiten": (lambda value: True, "True or False"),
    "cutoff": (lambda value: 0.0 < value <= 1.0, "a part of the Nyquist frequency, in (0, 1]"),
    "contrast": (lambda value: value in _CONTRASTS, "'none', 'image' or 'local'"),
    "radius": (lambda value: 0.0 < value <= LARGEST_RADIUS, RADIUS_WORDS),
    "standardize": (lambda value: True, "True or False"),
    "minimum_contrast": (lambda value: 0.0 <= value < math.inf, "0 or more"),
    "test_fraction": (lambda value: 0.0 < value < 1.0, "a fraction between 0 and 1"),
    "dtype": (lambda value: value in _DTYPES, "'auto', 'float16' or 'float32'"),
}
# Values of which the largest lies in this range have, in float16, errors of at most 2^-11 of
# themselves, down to a thousandth of the largest.
_FLOAT16_RANGE = (2.0**-4, float(np.finfo(np.float16).max))


@dataclass(frozen=True, eq=False, repr=False)
class PatchSet:
    """Patches of photographs, in random order."""

    train: Float32
    """[N, size, size]."""

    test: Float32

    train_photograph: npt.NDArray[np.int32]
    """[N], index in ``photographs`` of the one that each patch was cut from; no photograph gives
    patches to both parts."""

    test_photograph: npt.NDArray[np.int32]

    photographs: tuple[str, ...]
    """Names, relative to the folder."""

    scale: float
    """What values were divided by to give the training patches unit variance, or 1."""

    config: PatchConfig

    about: str
    """One line: photographs read, their depth, what was left out, and the type in a file."""

    @property
    def dtype(self) -> str:
        """Type of the patches in a file: float16 or float32."""
        return _stored_type(self.config, *self._extremes())

    @property
    def value_range(self) -> tuple[float, float]:
        """[0, 1] if all values lie there once stored, else [-m, m], m the largest magnitude."""
        kind = np.dtype(self.dtype).type
        lowest, highest = self._extremes()
        return natural_range(float(kind(lowest)), float(kind(highest)))

    def _extremes(self) -> tuple[float, float]:
        parts = (self.train, self.test)
        return min(float(p.min()) for p in parts), max(float(p.max()) for p in parts)

    def __repr__(self) -> str:
        count, test, side = len(self.train), len(self.test), self.config.size
        return f"PatchSet({count:,} to train on, {test:,} to test on, {side}x{side} pixels)"


@checked
def extract_patches(
    folder: str | os.PathLike[str],
    config: PatchConfig | None = None,
    progress: StageProgress | bool | None = None,
) -> PatchSet:
    """Cut patches out of a folder of photographs (any pictures; subfolders too).

    Photographs are divided before anything is cut, by folders ``train`` and ``test`` or by the
    seed: one that gives held-out patches gives none to train on. Files with the same bytes count as
    one photograph. Each is turned to grey, whitened and normalized whole; positions are drawn
    without replacement. If the photographs were whitened or normalized, all patches are divided by
    one number that gives the training patches unit variance; otherwise they stay in [0, 1].

    ``progress`` is told of photographs; True shows a bar, False nothing, and by default a terminal
    shows a bar and a notebook a line now and then.

    Raises :class:`InputError` if a photograph is unreadable, constant, smaller than a patch, in
    both parts, or has too few patches of enough contrast, if there is not enough memory, or values
    exceed float16 where that is asked for, and :class:`MissingDependencyError` without Pillow.
    """
    config = config or PatchConfig()
    root = user_path(folder)
    total = config.train + config.test
    # The patches, each part of them in order of photographs, and those divided by one number.
    require_memory(3 * 4 * total * config.size**2, f"{total:,} patches")
    division = split_pictures(root, config.test_fraction, config.seed, distinct=True)
    parts = (division.train, division.test)
    files = division.train + division.test
    facts = Facts()
    with shown_stages(progress) as tell:
        advance = stage_advance(tell, "photographs", len(files))
        (train, train_source), (test, test_source) = (
            _cut_part(part, total, first, config, facts, advance)
            for part, total, first in zip(
                parts, (config.train, config.test), (0, len(parts[0])), strict=True
            )
        )
    scale = _scale(train, config)
    names = tuple(path.relative_to(root).as_posix() for path in files)
    train, test = train / np.float32(scale), test / np.float32(scale)
    lowest, highest = min(train.min(), test.min()), max(train.max(), test.max())
    about = (
        f"{len(files):,} photographs, {division.how}; {facts}; {division.left_out_text}; stored as "
        f"{_stored_type(config, float(lowest), float(highest))}"
    )
    return PatchSet(train, test, train_source, test_source, names, scale, config, about)


@checked
def save_patches(patches: PatchSet, path: str | os.PathLike[str]) -> None:
    """Write patches to an ``.npz``, whole or not at all; :func:`load_images` reads it.

    Arrays ``train`` and ``test`` [N, size, size], ``range`` [2] (declared for both),
    ``train_photograph`` and ``test_photograph`` [N], ``photographs`` (names), ``scale`` and
    ``config`` (JSON).
    """
    target = user_path(path)
    if target.suffix != ".npz":
        raise InputError(f"{path}: expected a name that ends in .npz")
    with atomic_path(target) as temporary:
        np.savez(
            temporary,
            train=patches.train.astype(patches.dtype),
            test=patches.test.astype(patches.dtype),
            range=np.array(patches.value_range),
            train_photograph=patches.train_photograph,
            test_photograph=patches.test_photograph,
            photographs=np.array(patches.photographs),
            scale=np.float64(patches.scale),
            config=np.array(json.dumps(asdict(patches.config))),
        )


def _stored_type(config: PatchConfig, lowest: float, highest: float) -> str:
    """The type of a file; :class:`InputError` if float16 is asked for and would be infinite."""
    largest = max(-lowest, highest)
    smallest, limit = _FLOAT16_RANGE
    if config.dtype == "float16" and largest > limit:
        raise InputError(
            f"dtype: expected float32 or auto for values from {lowest:g} to {highest:g}, got "
            f"float16, which ends at {limit:g}"
        )
    chosen = "float16" if smallest <= largest <= limit else "float32"
    return chosen if config.dtype == "auto" else config.dtype


def _prepare(picture: Float32, config: PatchConfig) -> Float32:
    """Turn a photograph to grey, whiten it and normalize its contrast, as configured."""
    grey = to_grey(picture)
    if config.whiten:
        grey = whiten(grey, config.cutoff)
    return _CONTRASTS[config.contrast](grey, config)


def _cut_part(
    files: tuple[Path, ...],
    total: int,
    first: int,
    config: PatchConfig,
    facts: Facts,
    advance: Advance,
) -> tuple[Float32, npt.NDArray[np.int32]]:
    """``total`` patches of the photographs ``first``, ``first + 1``, …, and their numbers."""
    cut = []
    counts = [len(each) for each in np.array_split(np.arange(total), len(files))]
    for number, (path, count) in enumerate(zip(files, counts, strict=True), first):
        if count:
            rng = np.random.default_rng([config.seed, number])
            cut.append(_cut_photograph(path, count, config, facts, rng))
        advance(1)
    source = np.repeat(np.arange(first, first + len(files), dtype=np.int32), counts)
    order = np.random.default_rng([config.seed, first, total]).permutation(total)
    return np.concatenate(cut)[order], source[order]


def _cut_photograph(
    path: Path, count: int, config: PatchConfig, facts: Facts, rng: np.random.Generator
) -> Float32:
    read = read_picture(path)
    facts.add(read)
    picture = read.values
    side = config.size
    if min(picture.shape[-2:]) < side:
        height, width = picture.shape[-2:]
        raise InputError(
            f"{path}: expected at least {side}x{side} pixels, the size of a patch, "
            f"got {height}x{width}; leave it out or take smaller patches"
        )
    if picture.min() == picture.max():
        raise InputError(f"{path}: is constant, and has no contrast to whiten; leave it out")
    prepared = _prepare(picture, config)
    if not np.isfinite(prepared).all() or prepared.min() == prepared.max():
        raise InputError(
            f"{path}: whitening and contrast leave nothing of it (values from {picture.min():g} to "
            f"{picture.max():g}); leave it out, or take another cut-off"
        )
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
        chosen = patches[patches.std(axis=(1, 2)) >= lowest][:missing]
        found.append(chosen)
        missing -= len(chosen)
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
