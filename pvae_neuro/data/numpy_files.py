"""Images in NumPy's own files, ``.npy`` and ``.npz``; nothing pickled is read."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pvae_neuro.errors import InputError

SUFFIXES = (".npy", ".npz")
_LABEL_KEYS = ("labels", "{split}_labels", "y", "y_{split}")
_RANGE_KEY = "range"


class Contents(NamedTuple):
    """What a file held.

    Attributes
    ----------
    values : ndarray
        Images, as they are.
    labels : ndarray or None
    declared : ndarray or None
        The array ``range`` of an ``.npz``: lowest and highest value of all its parts.
    """

    values: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None
    declared: npt.NDArray[Any] | None


def read_numpy(path: Path, split: str, key: str | None) -> Contents:
    """Read the images of one part.

    Parameters
    ----------
    path : Path
        An ``.npy`` file, which has one part only, or an ``.npz``.
    split : {"train", "test"}
        Part, where an ``.npz`` names its arrays so.
    key : str or None
        The array of an ``.npz`` to read instead.

    Returns
    -------
    Contents

    Raises
    ------
    InputError
        If the file is absent or damaged, holds objects, or no such array.
    """
    # Opened here, because numpy.load leaves its own handle open when a file is damaged.
    with _readable(path), path.open("rb") as file:
        data = np.load(file, allow_pickle=False)
        if isinstance(data, np.ndarray):
            return Contents(data, None, None)
        with data:
            chosen = _choose_key(data.files, split, key, path)
            named = [k.format(split=split) for k in _LABEL_KEYS]
            found = next((k for k in named if k in data.files), None)
            declared = data[_RANGE_KEY] if _RANGE_KEY in data.files else None
            return Contents(data[chosen], data[found] if found else None, declared)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: expected a NumPy file of plain numbers, got something else or a damaged one "
            f"({error}); write it with numpy.save or numpy.savez"
        ) from error


def _choose_key(keys: list[str], split: str, key: str | None, path: Path) -> str:
    if key is None:
        named = [k for k in (split, f"{split}_images", "images") if k in keys]
        key = named[0] if named else keys[0] if len(keys) == 1 else None
    if key is None or key not in keys:
        wanted = "images" if key is None else key
        raise InputError(f"{path}: no array {wanted!r}; it holds {keys}: choose one by its key")
    return key
