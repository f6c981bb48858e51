"""Decoded data sets, kept in the user's cache folder: torchvision alone takes seconds to import."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pvae_neuro.errors import InputError
from pvae_neuro.utils.files import atomic_path

CACHE_VARIABLE = "PVAE_NEURO_CACHE"
# A folder with more files than this is recognized by its subfolders.
MOST_FILES = 64
# More than this is decoded anew each time rather than left on the user's disk.
MOST_BYTES = 2**31

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def cached(name: str, source: Path, read: Callable[[], Arrays]) -> Arrays:
    """Return what ``read`` returned when the files in ``source`` were last as they are now.

    A cache that cannot be read or written is done without, and so it is for more than 2 GiB.

    Parameters
    ----------
    name : str
        Begins the name of the cache file; tells data set and part.
    source : Path
        The original file, or folder of files; another size, time or name makes another cache file.
    read : callable
        Returns images uint8 [N, ...] and labels int64 [N].

    Returns
    -------
    images : uint8 [N, ...]
    labels : int64 [N]
    """
    if not source.exists():
        return read()
    path = cache_folder() / f"{name}-{_fingerprint(source)}.npz"
    unreadable = suppress(OSError, ValueError, KeyError, zipfile.BadZipFile)
    with unreadable, np.load(path, allow_pickle=False) as kept:
        return kept["images"], kept["labels"]
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
    digest = hashlib.sha256(str(source.resolve()).encode())
    for entry in _entries(source):
        found = entry.stat()
        digest.update(f"{entry.name}/{found.st_size}/{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _entries(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
        return
    below = (path for path in source.rglob("*") if path.is_file())
    first = list(islice(below, MOST_FILES + 1))
    yield from sorted(first if len(first) <= MOST_FILES else source.iterdir())
