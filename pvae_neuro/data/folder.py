"""A folder of pictures, and its division into a training part and a test part."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pvae_neuro.data.contents import PARTS
from pvae_neuro.data.images import COLOURS, Float32, check_size
from pvae_neuro.data.listing import left_out_text, list_pictures
from pvae_neuro.data.pictures import Picture, read_picture
from pvae_neuro.errors import InputError
from pvae_neuro.sim.noise import check_seed
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.progress import StageProgress, no_stages, stage_advance

TEST_FRACTION = 0.1
"""Fraction of the files kept for testing where a folder has no ``train`` and ``test``."""

# Integers below this part of white are rather classes, 0 and 1, or 12 bits in 16 than brightness.
_DIM = 16 / 255


@dataclass(frozen=True)
class Division:
    """The pictures of a folder, divided; each part is in natural order of names."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]

    how: str
    """What divides them, such as ``one file in 10, drawn by seed 0, is for testing``."""

    left_out: Counter[str]
    """Number of files that are in no part, by the reason."""

    @property
    def left_out_text(self) -> str:
        """What is left out, in words."""
        return left_out_text(self.left_out)


@dataclass
class Facts:
    """What is said about pictures that were read; as text, parts of a line."""

    depths: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, picture: Picture) -> None:
        """Count one more picture."""
        self.depths[picture.depth] += 1
        self.notes.update(picture.notes)

    def __str__(self) -> str:
        uniform = len(self.depths) == 1
        depths = [each if uniform else f"{each} ({n:,})" for each, n in self.depths.items()]
        return "; ".join(depths + [f"{note} ({count:,})" for note, count in self.notes.items()])


@dataclass(frozen=True, eq=False)
class FolderPictures:
    """Pictures of one size."""

    values: Float32 = field(repr=False)
    """[N, H, W], or [N, 3, H, W] if one of them is in colour; integers lie in [0, 1]."""

    about: str
    """One line: pictures read, depth, what was done to them, and what is left out."""

    @property
    def layout(self) -> str:
        """The axes of ``values``, one letter each."""
        return "NHW" if self.values.ndim == 3 else "NCHW"


def read_folder(
    folder: Path,
    split: str,
    size: int | tuple[int, int] | None = None,
    limit: int | None = None,
    seed: int = 0,
    scale: float | None = None,
    progress: StageProgress = no_stages,
    colours: bool = False,
) -> FolderPictures:
    """Read one part of a folder, in natural order of file names.

    Parameters
    ----------
    folder : Path
        Folder of pictures; subfolders and links are followed.
    split : {"train", "test", "all"}
        The parts are the folders ``train`` and ``test`` if they exist; otherwise one file in ten,
        drawn by ``seed``, is for testing. ``"all"`` reads every picture of the folder.
    size : int or (int, int), optional
        Height and width to crop and resize to. Without it all pictures must have one size.
    limit : int, optional
        Read the first pictures only.
    seed : int
        Of the draw.
    scale : float, optional
        The stored value that means 1, instead of the white of each picture's depth.
    progress : callable
        Told after each picture.
    colours : bool
        Give grey pictures three equal channels, even if none is in colour.

    Raises
    ------
    InputError
        If there are no pictures, one cannot be read, they differ in size, or all are so dark that
        ``scale`` must tell what their white is.
    """
    wanted = None if size is None else check_size(size)
    if split == "all":
        listing = list_pictures(folder)
        files, left_out, part = listing.files, listing.left_out, "all of the folder"
    else:
        division = split_pictures(folder, TEST_FRACTION, seed)
        files = division.train if split == "train" else division.test
        left_out, part = division.left_out, f"the {split} part ({division.how})"
    taken = files[:limit]
    read = read_pictures(taken, wanted, str(folder), scale, progress, colours)
    first = f"the first {len(taken):,} of " if len(taken) < len(files) else ""
    count = f"{first}{len(files):,} picture{'s' * (len(files) != 1)}"
    return FolderPictures(read.values, f"{count}, {part}; {read.about}; {left_out_text(left_out)}")


def read_pictures(
    files: Sequence[Path],
    size: tuple[int, int] | None,
    name: str,
    scale: float | None = None,
    progress: StageProgress = no_stages,
    colours: bool = False,
) -> FolderPictures:
    """Read pictures of one size; grey ones get three equal channels where one is in colour.

    With ``colours`` they get them in any case.

    Raises :class:`InputError` that names the first file of another size, and as
    :func:`read_folder`.
    """
    advance = stage_advance(progress, "reading pictures", len(files))
    pictures: list[Picture] = []
    largest = 0
    for path in files:
        picture = read_picture(path, size, scale)
        if pictures:
            _check_same_size(picture, pictures[0], path, files[0].name)
        needed = picture.values.nbytes * (COLOURS if colours and picture.values.ndim == 2 else 1)
        if needed > largest:
            # All of them, and the one array that they are put into.
            require_memory(2 * len(files) * needed, f"{name}: {len(files)} pictures")
            largest = needed
        pictures.append(picture)
        advance(1)
    if scale is None:
        _check_brightness(pictures, name)
    return _stacked(pictures, size, colours)


def _stacked(
    pictures: list[Picture], size: tuple[int, int] | None, colours: bool
) -> FolderPictures:
    facts = Facts()
    if size is not None:
        facts.notes[f"cropped about the centre and resized to {size[0]}x{size[1]}"] = len(pictures)
    for picture in pictures:
        facts.add(picture)
    planes = [picture.values for picture in pictures]
    grey = sum(plane.ndim == 2 for plane in planes)
    if grey and (colours or grey < len(planes)):
        why = "the model takes colours" if colours else "others are in colour"
        facts.notes[f"grey, repeated in three channels as {why}"] = grey
        planes = [_in_colour(plane) for plane in planes]
    return FolderPictures(np.stack(planes), str(facts))


def split_pictures(
    folder: Path, test_fraction: float, seed: int, distinct: bool = False
) -> Division:
    """Divide the pictures of a folder into a training part and a test part.

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
    existing = [part for part in PARTS if (folder / part).is_dir()]
    if len(existing) == 1:
        missing = next(part for part in PARTS if part not in existing)
        raise InputError(
            f"{folder}: has a folder {existing[0]!r} but none named {missing!r}; add it, or put "
            f"all images into one folder to have them divided"
        )
    if existing:
        return _given_parts(folder, distinct)
    listing = list_pictures(folder)
    files, left_out = list(listing.files), listing.left_out
    if distinct:
        files = _without_copies(files, left_out)
    if len(files) < 2:
        raise InputError(
            f"{folder}: expected at least 2 different images, one to train on and one to test on, "
            f"got 1"
        )
    train, test = _draw(files, test_fraction, seed)
    how = f"{len(test):,} of {len(files):,} files, drawn by seed {seed}, are for testing"
    return Division(train, test, how, left_out)


def _given_parts(folder: Path, distinct: bool) -> Division:
    train, test = (list_pictures(folder / part) for part in PARTS)
    left_out = train.left_out + test.left_out
    whole = list_pictures(folder)
    others = len(whole.files) - len(train.files) - len(test.files)
    if others > 0:
        left_out["outside train/ and test/"] = others
    parts = [list(train.files), list(test.files)]
    if distinct:
        _check_apart(*parts)
        parts = [_without_copies(part, left_out) for part in parts]
    return Division(tuple(parts[0]), tuple(parts[1]), "folders train/ and test/", left_out)


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


def _without_copies(files: list[Path], left_out: Counter[str]) -> list[Path]:
    distinct = list(_by_content(files).values())
    if len(distinct) < len(files):
        left_out["copies of others"] += len(files) - len(distinct)
    return distinct


def _check_apart(train: list[Path], test: list[Path]) -> None:
    training, testing = _by_content(train), _by_content(test)
    both = next((content for content in training if content in testing), None)
    if both is not None:
        raise InputError(
            f"{testing[both]}: is a copy of {training[both]}; test images must not be among the "
            f"training images: remove one of them"
        )


def _draw(
    files: list[Path], test_fraction: float, seed: int
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    count = min(max(1, round(test_fraction * len(files))), len(files) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(files))[:count].tolist())
    train = tuple(path for i, path in enumerate(files) if i not in chosen)
    return train, tuple(path for i, path in enumerate(files) if i in chosen)


def _check_same_size(picture: Picture, first: Picture, path: Path, name: str) -> None:
    (h, w), (height, width) = picture.values.shape[-2:], first.values.shape[-2:]
    if (h, w) != (height, width):
        raise InputError(
            f"{path}: expected {height}x{width} pixels (height x width) as in {name}, "
            f"got {h}x{w}; give a size to crop and resize all images to, or sort them out",
            remedy="size",
        )


def _check_brightness(pictures: list[Picture], name: str) -> None:
    """Refuse pictures that are all nearly black, whose white is hardly that of their depth."""
    brightest = max(picture.brightness for picture in pictures)
    if brightest <= _DIM:
        raise InputError(
            f"{name}: the brightest pixel of {len(pictures):,} pictures has {brightest:.2%} of the "
            f"white of its depth ({pictures[0].depth}); expected more than {_DIM:.1%}, so the "
            f"scale must be told: the stored value that means white, such as 1 or 4095",
            remedy="scale",
        )


def _in_colour(picture: Float32) -> Float32:
    return np.stack([picture] * COLOURS) if picture.ndim == 2 else picture
