"""Images in NumPy's own files, ``.npy`` and ``.npz``: which array is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.archive import Archive, open_archive, read_npy
from pvae_neuro.data.contents import PARTS, Contents, Request
from pvae_neuro.errors import InputError

# How the arrays of a part are named: ours, Keras', MedMNIST's and others'.
_OF_PART = ("{}", "{}_images", "x_{}", "X_{}", "images_{}", "{}_x", "{}_X", "{}_data")
_WHOLE = ("images", "data", "x", "X")
_LABELS_OF_PART = ("{}_labels", "y_{}", "Y_{}", "labels_{}", "{}_y", "{}_target", "{}_targets")
_LABELS = ("labels", "label", "y", "Y", "target", "targets")
_RANGE = "range"


def read_npy_file(path: Path, request: Request) -> Contents:
    """Images of an ``.npy`` file, which has no parts."""
    return Contents(read_npy(path, mapped=request.stream))


def read_npz_file(path: Path, request: Request) -> Contents:
    """Images of an ``.npz`` file: the array that is asked for, or the one that its name tells.

    Raises :class:`InputError` if the file is absent or damaged, holds objects, or no such array,
    or if only the other part is there.
    """
    with open_archive(path) as archive:
        parts = _choose(archive, request, path)
        values = [archive.read(key) for key in parts.values()]
        labels, said = _read_labels(archive, parts, [len(v) if v.ndim else 0 for v in values])
        declared = archive.read(_RANGE) if _RANGE in archive.keys else None
    named = " and ".join(repr(key) for key in parts.values())
    part = next(iter(parts)) if len(parts) == 1 else ""
    said = f"array {named}", *said
    return Contents(_join(values, path), labels, declared, said=said, part=part or "all")


def _choose(archive: Archive, request: Request, path: Path) -> dict[str, str]:
    """Arrays to read, by the part that each is; the part is empty where there are none."""
    keys = archive.keys
    if request.key is not None:
        if request.key not in keys:
            raise _no_array(path, request.key, keys)
        part = next((p for p in PARTS for n in _OF_PART if n.format(p) == request.key), "")
        return {part: request.key}
    parts = {part: key for part in PARTS if (key := _first(keys, _OF_PART, part))}
    wanted = request.split or ("test" if parts else "all")
    if wanted == "all" and parts:
        return parts
    if wanted in parts:
        return {wanted: parts[wanted]}
    whole = _first(keys, _WHOLE)
    if whole is not None:
        return {"": whole}
    if parts:
        ((other, key),) = parts.items()
        raise InputError(
            f"{path}: expected images of the part {wanted!r}, got {other!r} images alone (array "
            f"{key!r}); ask for the split {other!r}, or for an array by its key",
            remedy="split",
        )
    images = [key for key in keys if _may_be_images(archive, key)]
    if len(images) != 1:
        raise _no_array(path, "images", keys)
    return {"": images[0]}


def _first(keys: list[str], names: tuple[str, ...], part: str = "") -> str | None:
    return next((name for name in (n.format(part) for n in names) if name in keys), None)


def _may_be_images(archive: Archive, key: str) -> bool:
    if key in _LABELS or key == _RANGE:
        return False
    header = archive.header(key)
    return header.dtype.kind in "fiub" and len(header.shape) > 1


def _read_labels(
    archive: Archive, parts: dict[str, str], counts: list[int]
) -> tuple[npt.NDArray[Any] | None, tuple[str, ...]]:
    """Labels of all parts, or None and why: labels that do not fit are left out."""
    found = []
    for part, count in zip(parts, counts, strict=True):
        key = _first(archive.keys, _LABELS_OF_PART, part) if part else None
        key = key or _first(archive.keys, _LABELS)
        if key is None or key in parts.values():
            return None, ()
        header = archive.header(key)
        if header.dtype.kind not in "iu" or header.shape not in ((count,), (count, 1)):
            kind = f"{header.dtype} {list(header.shape)}"
            return None, (f"labels {key!r} are left out, {kind} for {count:,} images",)
        found.append(archive.read(key).reshape(count))
    return np.concatenate(found), ()


def _join(values: list[npt.NDArray[Any]], path: Path) -> npt.NDArray[Any]:
    if len(values) == 1:
        return values[0]
    kinds = {f"{each.dtype} [N, {', '.join(map(str, each.shape[1:]))}]" for each in values}
    if len(kinds) > 1:
        raise InputError(f"{path}: its parts differ, {' and '.join(sorted(kinds))}; ask for one")
    return np.concatenate(values)


def _no_array(path: Path, wanted: str, keys: list[str]) -> InputError:
    return InputError(
        f"{path}: no array {wanted!r}; it holds {keys or 'no arrays'}: choose one by its key",
        remedy="key",
    )
