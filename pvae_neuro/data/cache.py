"""A cache of decoded data sets in the user's cache folder: importing torchvision takes seconds."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pvae_neuro.errors import InputError
from pvae_neuro.utils.digest import digest
from pvae_neuro.utils.files import atomic_path

CACHE_VARIABLE = "PVAE_NEURO_CACHE"
# A folder with more files than this is recognized by its subfolders only.
MOST_FILES = 64
# Larger sets are decoded anew each time, so that they do not fill the user's disk.
MOST_BYTES = 2**31

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""Images [N, ...] and labels [N]."""


def cached(name: str, source: Path, read: Callable[[], Arrays]) -> Arrays:
    """What ``read`` returns, from the cache while the files in ``source`` stay the same.

    ``name`` begins the name of the cache file; size and time of the files end it. A cache that
    cannot be read or written is ignored.
    """
    if not source.exists():
        return read()
    path = cache_folder() / f"{name}-{_fingerprint(source)}.npz"
    unreadable = suppress(OSError, ValueError, KeyError, zipfile.BadZipFile)
    with unreadable, np.load(path, allow_pickle=False) as stored:
        return stored["images"], stored["labels"]
    images, labels = read()
    if images.nbytes <= MOST_BYTES:
        with suppress(InputError), atomic_path(path) as temporary:
            np.savez(temporary, images=images, labels=labels)
    return images, labels


def cache_folder() -> Path:
    """``$PVAE_NEURO_CACHE``, or ``pvae-neuro`` in the system's folder for caches."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pvae-neuro"


def _fingerprint(source: Path) -> str:
    lines = [str(source.resolve())]
    for entry in _entries(source):
        status = entry.stat()
        lines.append(f"{entry.name}/{status.st_size}/{status.st_mtime_ns}\n")
    return digest(*lines)[:16]


def _entries(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
        return
    files = (path for path in source.rglob("*") if path.is_file())
    first = list(islice(files, MOST_FILES + 1))
    yield from sorted(first if len(first) <= MOST_FILES else source.iterdir())
