"""Images in NumPy's own files, ``.npy`` and ``.npz``; pickled objects are refused."""

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
    """What a file held."""

    values: npt.NDArray[Any]
    """Images, as they are."""

    labels: npt.NDArray[Any] | None

    declared: npt.NDArray[Any] | None
    """The array ``range`` of an ``.npz``: lowest and highest value of all its parts."""


def read_numpy(path: Path, split: str, key: str | None) -> Contents:
    """Read one part: the array ``key`` of an ``.npz``, or the one that ``split`` names.

    Raises :class:`InputError` if the file is absent or damaged, holds objects, or no such array.
    """
    # Opened here, because numpy.load leaves its own handle open when a file is damaged.
    with _readable(path), path.open("rb") as file:
        data = np.load(file, allow_pickle=False)
        if isinstance(data, np.ndarray):
            return Contents(data, None, None)
        with data:
            chosen = _choose_key(data.files, split, key, path)
            label_keys = [k.format(split=split) for k in _LABEL_KEYS]
            label_key = next((k for k in label_keys if k in data.files), None)
            declared = data[_RANGE_KEY] if _RANGE_KEY in data.files else None
            return Contents(data[chosen], data[label_key] if label_key else None, declared)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
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
