"""Recordings of event cameras in the format of N-MNIST, as counts of events per pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.contents import Contents, Request
from pvae_neuro.data.listing import natural_order
from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.whole_file import read_whole

EVENT_ENDING = ".bin"

_SIDE = 34
_BYTES = 5
# Rows of this number mark an overflow of the clock.
_OVERFLOW = 240
_PARTS = {"train": ("Train", "train"), "test": ("Test", "test")}


def count_events(path: Path) -> npt.NDArray[np.int64]:
    """Events of both polarities by pixel, [34, 34].

    An event has five bytes: column, row, and a bit of polarity before 23 bits of time.

    Raises :class:`InputError` if the file cannot be read or holds something else.
    """
    # Columns and rows are numbers of eight bytes each.
    data = read_whole(path, "a recording of N-MNIST", copies=6)
    events = np.frombuffer(data, np.uint8)[: len(data) // _BYTES * _BYTES].reshape(-1, _BYTES)
    column, row = events[:, 0].astype(np.int64), events[:, 1].astype(np.int64)
    seen = row != _OVERFLOW
    column, row = column[seen], row[seen]
    if not data or len(data) % _BYTES or max(column.max(initial=0), row.max(initial=0)) >= _SIDE:
        raise InputError(
            f"{path}: expected events of N-MNIST, {_BYTES} bytes each, within {_SIDE}x{_SIDE} "
            f"pixels; got something else"
        )
    return np.bincount(row * _SIDE + column, minlength=_SIDE**2).reshape(_SIDE, _SIDE)


def read_event_file(path: Path, request: Request) -> Contents:
    """The counts of one recording, as a set of one image."""
    return Contents(count_events(path)[None])


def holds_events(folder: Path) -> bool:
    """Whether a folder, or one of its parts, has folders of recordings named by their digit."""
    places = ("", *(f"{name}/" for names in _PARTS.values() for name in names))
    return any(any(folder.glob(f"{place}[0-9]/*{EVENT_ENDING}")) for place in places)


def read_event_folder(folder: Path, request: Request) -> Contents:
    """Recordings below ``Train`` and ``Test``, in folders named by their class.

    Raises :class:`InputError` if there are none, or a class is no number.
    """
    parts = {
        split: place
        for split, names in _PARTS.items()
        for place in (folder / name for name in names)
        if place.is_dir()
    }
    wanted = request.split or ("test" if parts else "all")
    if parts and wanted != "all" and wanted not in parts:
        raise InputError(f"{folder}: has no part {wanted!r}, got {sorted(parts)}", remedy="split")
    places = [parts[wanted]] if wanted in parts else list(parts.values()) or [folder]
    files = [file for place in places for file in _listed(place)]
    total = len(files)
    files = files[: request.limit]
    # Counts, and the same as float32.
    require_memory(12 * _SIDE**2 * len(files), f"{folder}: {len(files):,} recordings")
    counts = np.stack([count_events(file) for file in files])
    named = all(file.parent.name.isdigit() for file in files)
    labels = np.array([int(file.parent.name) for file in files], np.int64) if named else None
    part = wanted if wanted in parts else "all"
    which = f"the part {wanted!r}" if wanted in parts else "all recordings"
    said = (f"{which}, {len(files):,} of {total:,} recordings",)
    return Contents(counts, labels, said=said, part=part)


def _listed(place: Path) -> list[Path]:
    files: list[Any] = [path for path in place.rglob(f"*{EVENT_ENDING}") if path.is_file()]
    if not files:
        raise InputError(f"{place}: expected recordings that end in {EVENT_ENDING}, found none")
    return sorted(files, key=lambda path: natural_order(path.relative_to(place)))
