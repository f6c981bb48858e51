"""Arrays in NumPy's files, read under a limit of memory; pickled objects are refused."""

from __future__ import annotations

import math
import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.whole_file import check_regular

_CHUNK = 1 << 20
_ENDING = ".npy"
# Without types in NumPy.
_format: Any = np.lib.format
_HEADERS = {(1, 0): _format.read_array_header_1_0, (2, 0): _format.read_array_header_2_0}


class Header(NamedTuple):
    """What an array is, before it is read."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy(path: Path, mapped: bool = False) -> npt.NDArray[Any]:
    """The array of an ``.npy`` file, in memory or as a memory map."""
    with _readable(path), path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        header = _read_header(file)
        left = length - file.tell()
        if not mapped or not header.size:
            return _read_values(file, header, left, str(path))
        _check_length(header, left)
        order: Any = "F" if header.fortran else "C"
        return np.memmap(file, header.dtype, "r", file.tell(), header.shape, order)


class Archive:
    """An ``.npz`` file, open for reading."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive = archive
        self._path = path
        members = {info.filename: info for info in archive.infolist()}
        self._members = {
            name[: -len(_ENDING)]: info for name, info in members.items() if name.endswith(_ENDING)
        }

    @property
    def keys(self) -> list[str]:
        """Names of the arrays; other members are none."""
        return list(self._members)

    def header(self, key: str) -> Header:
        """Shape and type of an array."""
        with _readable(self._path, key), self._archive.open(self._members[key]) as file:
            return _read_header(file)

    def read(self, key: str) -> npt.NDArray[Any]:
        """An array, whole."""
        member = self._members[key]
        with _readable(self._path, key), self._archive.open(member) as file:
            header = _read_header(file)
            left = member.file_size - file.tell()
            return _read_values(file, header, left, f"{self._path}: array {key!r}")


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an ``.npz`` file.

    Raises :class:`InputError`, as reading its arrays does, if it is absent or damaged, holds
    objects, or exceeds the limit of memory.
    """
    with _readable(path), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        yield Archive(archive, path)


def _read_header(file: IO[bytes]) -> Header:
    version = _format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the format holds records")
    with warnings.catch_warnings():
        # Files that Python 2 wrote are read with a warning; what matters is checked below.
        warnings.simplefilter("ignore")
        header = Header(*_HEADERS[version](file))
    # Text, such as the names of files, passes here, and is refused where images are wanted.
    if header.dtype.hasobject or min(header.shape, default=0) < 0:
        raise ValueError(f"{header.dtype} {list(header.shape)}")
    return header


def _read_values(file: IO[bytes], header: Header, left: int, what: str) -> npt.NDArray[Any]:
    shape, size = list(header.shape), header.size
    # As they are, and as float32.
    require_memory(size + 4 * math.prod(shape), f"{what}: {header.dtype} {_short(shape)}")
    _check_length(header, left)
    buffer = bytearray(size)
    done = 0
    while done < size:
        part = file.read(min(_CHUNK, size - done))
        if not part:
            raise EOFError(f"it ends after {done} of {size} bytes")
        buffer[done : done + len(part)] = part
        done += len(part)
    file.read(1)  # The end of a member, where its checksum is compared.
    order: Any = "F" if header.fortran else "C"
    return np.frombuffer(buffer, header.dtype).reshape(header.shape, order=order)


def _check_length(header: Header, left: int) -> None:
    if header.size != left:
        raise ValueError(
            f"{header.size} bytes of {header.dtype} {list(header.shape)} were written, {left} are "
            f"there"
        )


def _short(shape: list[int]) -> str:
    text = str(shape)
    return text if len(text) <= 60 else f"of {len(shape)} axes"


@contextmanager
def _readable(path: Path, key: str | None = None) -> Iterator[None]:
    try:
        if key is None:
            check_regular(path)
        yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    # A damaged archive makes its readers raise anything.
    except Exception as error:
        where = "" if key is None else f" in its array {key!r}"
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{path}: expected a NumPy file of plain numbers, got something else or a damaged "
            f"one{where} ({reason}); write it with numpy.save or numpy.savez"
        ) from error
