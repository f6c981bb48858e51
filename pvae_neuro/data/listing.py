"""Which files of a folder are pictures, in which order, and what is left out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pvae_neuro.data.pictures import picture_suffixes
from pvae_neuro.errors import InputError

# A message names so many endings; the others are counted together.
_NAMED = 5


@dataclass(frozen=True)
class Listing:
    """The pictures below a folder."""

    files: tuple[Path, ...]
    """In natural order of their relative names: ``frame_2.png`` comes before ``frame_10.png``."""

    left_out: Counter[str]
    """Number of files (or folders) that are left out, by the reason."""


def list_pictures(folder: Path) -> Listing:
    """Pictures below a folder, by their endings; links are followed.

    Raises :class:`InputError` if the folder is absent, cannot be read, or holds no pictures.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder of images")
    suffixes = picture_suffixes()
    files: list[Path] = []
    left_out: Counter[str] = Counter()
    for path in _walk(folder, left_out):
        reason = _unfit(path, suffixes)
        if reason:
            left_out[reason] += 1
        else:
            files.append(path)
    if not files:
        found = f"; found {_ranked(left_out)}" if left_out else ""
        raise InputError(
            f"{folder}: holds no images; expected files that end in {', '.join(suffixes)}{found}"
        )
    files.sort(key=lambda path: natural_order(path.relative_to(folder)))
    return Listing(tuple(files), left_out)


def natural_order(relative: Path) -> list[list[str | int]]:
    """Sort key of a relative path: digits count as numbers, and an ending comes last."""
    parts = (*relative.parent.parts, relative.stem, relative.suffix, relative.name)
    # Equal numbers may be spelled differently (1 and 01): the name itself decides then.
    return [*(_numbers(part) for part in parts[:-1]), [parts[-1]]]


def left_out_text(left_out: Counter[str]) -> str:
    """What is left out, in words."""
    return f"left out: {_ranked(left_out)}" if left_out else "no file left out"


def _ranked(left_out: Counter[str]) -> str:
    """Reasons with their counts, the most frequent first, as in ``.txt (3), hidden (1)``."""
    ranked = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{reason} ({count:,})" for reason, count in ranked[:_NAMED]]
    rest = sum(count for _, count in ranked[_NAMED:])
    return ", ".join([*named, f"others ({rest:,})"] if rest else named)


def _numbers(text: str) -> list[str | int]:
    # The split alternates between text and digits, so that like is compared with like.
    parts = re.split("([0-9]+)", text)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _walk(folder: Path, left_out: Counter[str]) -> Iterator[Path]:
    """All files below a folder; each folder is entered once, whatever links lead to it."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error

    entered = {_identity(folder)}
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        entering = []
        for name in sorted(folders):
            identity = _identity(Path(place) / name)
            if name.startswith("."):
                left_out["hidden folders"] += 1
            elif identity in entered:
                left_out["links to folders read already"] += 1
            else:
                entering.append(name)
                entered.add(identity)
        folders[:] = entering
        yield from (Path(place) / name for name in files)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _unfit(path: Path, suffixes: tuple[str, ...]) -> str:
    """Why a file is no picture; empty if it is one."""
    if path.name.startswith("."):
        return "hidden"
    if path.suffix.lower() not in suffixes:
        return path.suffix.lower() or "without an ending"
    if not path.exists():
        return "broken links"
    return "" if path.is_file() else "no regular files"
