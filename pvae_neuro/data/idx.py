"""IDX files, the format of MNIST, plain or compressed by gzip."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.contents import Arrays, Contents, Request
from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.whole_file import check_regular

IDX_ENDINGS = ("-ubyte", ".idx", "-ubyte.gz", ".idx.gz")

# Third byte of a file: the type of its numbers, the largest byte first.
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 1 << 20
_SPELLINGS = ("{0}-{1}-idx{2}-ubyte", "{0}-{1}.idx{2}-ubyte")


def read_idx(path: Path) -> npt.NDArray[Any]:
    """The array in an IDX file.

    Raises :class:`InputError` if the file is absent, damaged or no IDX file, or exceeds the limit
    of memory.
    """
    try:
        return _load(path)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise InputError(
            f"{path}: expected an IDX file, got something else or a damaged one ({error})"
        ) from error


def read_idx_file(path: Path, request: Request) -> Contents:
    """Images of one IDX file, given by its path."""
    return Contents(read_idx(path))


def read_idx_set(folder: Path, prefix: str) -> Arrays:
    """Images and labels of one part of a data set, as files named ``<prefix>-images-idx3-ubyte``.

    Raises what reading a damaged or absent file does, and :class:`ValueError` if they do not belong
    together.
    """
    images, labels = (
        _load(_find(folder, prefix, kind, axes)) for kind, axes in (("images", 3), ("labels", 1))
    )
    fits = images.ndim == 3 and labels.ndim == 1 and len(images) == len(labels)
    if not fits or images.dtype != np.uint8 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{prefix}-images and -labels: expected bytes [N, H, W] and N labels, got "
            f"{images.dtype} {list(images.shape)} and {labels.dtype} {list(labels.shape)}"
        )
    return images, labels.astype(np.int64)


def _find(folder: Path, prefix: str, kind: str, axes: int) -> Path:
    names = [spelling.format(prefix, kind, axes) for spelling in _SPELLINGS]
    places = [folder / f"{name}{ending}" for ending in ("", ".gz") for name in names]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{names[0]} is missing")
    return found


def _load(path: Path) -> npt.NDArray[Any]:
    check_regular(path)
    with _open(path) as file:
        return _parse(file, path)


def _open(path: Path) -> Any:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _parse(file: IO[bytes], path: Path) -> npt.NDArray[Any]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or not start[3]:
        raise ValueError(f"it begins with {start!r}")
    shape = tuple(int.from_bytes(file.read(4), "big") for _ in range(start[3]))
    dtype = np.dtype(_TYPES[start[2]])
    count = math.prod(shape)
    # As they are, and as float32.
    require_memory(count * (dtype.itemsize + 4), f"{path}: {list(shape)}")
    if path.suffix.lower() == ".gz":
        values = np.frombuffer(_read(file, count * dtype.itemsize), dtype)
    else:
        values = np.fromfile(file, dtype, count)
    if len(values) < count or file.read(1):
        raise ValueError(f"{path.name} has not the length of {list(shape)}")
    return values.reshape(shape)


def _read(file: IO[bytes], length: int) -> bytes:
    """Up to ``length`` bytes, cut to whole numbers; never more than was asked for."""
    parts = []
    while length > 0 and (part := file.read(min(length, _CHUNK))):
        parts.append(part)
        length -= len(part)
    return b"".join(parts) if length == 0 else b""
