"""Images in MATLAB's files of version 5 to 7 (``.mat``), read with NumPy alone.

SciPy's reader ends the whole process on some damaged files, and knows no limit of memory.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.contents import Contents, Request
from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.whole_file import read_whole

_HEADER = 128
# The mark of the order of bytes, behind the version of the format.
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_PLACES = (0, 512)
_MATRIX, _COMPRESSED = 14, 15
# Numbers as they are stored, by the type of an element: often narrower than their class.
_STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_OTHERS = {1: "cell", 2: "struct", 3: "object", 4: "text", 5: "sparse"}
_IS_COMPLEX, _IS_LOGICAL = 0x800, 0x200
_MOST_AXES, _LONGEST_NAME = 32, 1 << 10
_CHUNK = 1 << 20


def read_mat_file(path: Path, request: Request) -> Contents:
    """Images of a ``.mat`` file: the array ``key``, or the only one of two or more axes.

    Stacks of square images are in MATLAB's order, [H, W, N], and colours [H, W, 3, N], unless
    their shape fits [N, H, W] alone.

    Raises :class:`InputError` if the file is absent, damaged, of another version, or holds no such
    array, or if it exceeds the limit of memory.
    """
    data = read_whole(path, "a MATLAB file", copies=1)
    try:
        variables = {each.name: each for each in _variables(data, path)}
        chosen = _choose(variables, request.key, path)
        # As stored, as its class and as float32.
        require_memory(20 * math.prod(chosen.shape), f"{path}: {chosen}")
        values = chosen.read()
    except InputError:
        raise
    except (ValueError, OverflowError, struct.error, zlib.error) as error:
        raise InputError(
            f"{path}: expected a MATLAB file, got something else or a damaged one ({error})"
        ) from error
    said = (f"array {chosen.name!r}",) if len(variables) > 1 else ()
    return Contents(values, layout=_layout(values.shape), said=said)


class _Bytes(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Inflated:
    """Compressed bytes, unpacked only as far as they are read."""

    def __init__(self, data: bytes) -> None:
        self._stream, self._rest = zlib.decompressobj(), data

    def read(self, size: int, /) -> bytes:
        parts = []
        while size > 0:
            part = self._stream.decompress(self._rest, min(size, _CHUNK))
            self._rest = self._stream.unconsumed_tail
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class _Variable(NamedTuple):
    """A variable of a file, up to its values."""

    name: str
    kind: str
    """Type of NumPy for real numbers; another word for all else."""
    shape: tuple[int, ...]
    stream: _Bytes
    order: str

    def __str__(self) -> str:
        return f"array {self.name!r}, {self.kind} {list(self.shape)}"

    @property
    def is_numbers(self) -> bool:
        return self.kind in _CLASSES.values() or self.kind == "?"

    def read(self) -> npt.NDArray[Any]:
        """Its numbers; once."""
        stored, size, short = _tag(self.stream, self.order)
        dtype = np.dtype(self.order + _STORED[stored]) if stored in _STORED else None
        if dtype is None or size != math.prod(self.shape) * dtype.itemsize:
            raise ValueError(f"{self}: {size} bytes of type {stored}")
        data = short if short is not None else _exactly(self.stream, size)
        values = np.frombuffer(data, dtype).astype(self.kind)
        return values.reshape(self.shape, order="F")


def _variables(data: bytes, path: Path) -> Iterator[_Variable]:
    """The named variables of a file."""
    if any(data[place : place + len(_HDF5)] == _HDF5 for place in _HDF5_PLACES):
        raise InputError(
            f"{path}: is a MATLAB file of version 7.3 (HDF5), expected version 5 to 7; save it in "
            f"MATLAB with save(..., '-v7'), or as .npy from Python with h5py"
        )
    order = _ORDERS.get(data[_HEADER - 4 : _HEADER])
    if order is None:
        raise ValueError("it has not the header of version 5 to 7")
    place = _HEADER
    while place < len(data):
        kind, size = struct.unpack_from(order + "II", data, place)
        body = data[place + 8 : place + 8 + size]
        if len(body) < size:
            raise ValueError(f"it ends after {len(body)} of {size} bytes of a variable")
        place += 8 + size
        stream: _Bytes = BytesIO(body)
        if kind == _COMPRESSED:
            stream = _Inflated(body)
            kind, _, _ = _tag(stream, order)
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} where a variable should be")
        variable = _start(stream, order)
        # Objects leave a part without a name.
        if variable.name:
            yield variable


def _start(stream: _Bytes, order: str) -> _Variable:
    """A variable from its flags, axes and name."""
    flags = struct.unpack(order + "II", _small(stream, order, 8))[0]
    axes = _small(stream, order, 4 * _MOST_AXES)
    shape = struct.unpack(f"{order}{len(axes) // 4}i", axes)
    name = _small(stream, order, _LONGEST_NAME).decode("latin-1")
    number = flags & 0xFF
    kind = _CLASSES.get(number, _OTHERS.get(number, f"class {number}"))
    kind = "?" if number in _CLASSES and flags & _IS_LOGICAL else kind
    kind = "complex" if flags & _IS_COMPLEX else kind
    if min(shape, default=0) < 0:
        raise ValueError(f"{name!r} has the shape {list(shape)}")
    return _Variable(name, kind, shape, stream, order)


def _tag(stream: _Bytes, order: str) -> tuple[int, int, bytes | None]:
    """Type and size of the next element, and its bytes where they are within the tag."""
    tag = _exactly(stream, 8)
    first, second = struct.unpack(order + "II", tag)
    short = first >> 16
    return (first & 0xFFFF, short, tag[4 : 4 + short]) if short else (first, second, None)


def _small(stream: _Bytes, order: str, most: int) -> bytes:
    """An element of at most some bytes, with its padding."""
    _, size, short = _tag(stream, order)
    if size > most:
        raise ValueError(f"{size} bytes where at most {most} are expected")
    return short if short is not None else _exactly(stream, size + -size % 8)[:size]


def _exactly(stream: _Bytes, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ValueError(f"it ends after {len(data)} of {size} bytes")
    return data


def _choose(variables: dict[str, _Variable], key: str | None, path: Path) -> _Variable:
    # MATLAB's single numbers and lists have two axes too.
    images = [
        each
        for each in variables.values()
        if each.is_numbers and sum(side > 1 for side in each.shape) > 1
    ]
    if key is None and len(images) == 1:
        return images[0]
    if key is None or key not in variables or not variables[key].is_numbers:
        found = ", ".join(str(each) for each in variables.values()) or "nothing"
        raise InputError(
            f"{path}: no array {'of images' if key is None else key!r}; it holds {found}: choose "
            f"one of numbers by its key",
            remedy="key",
        )
    return variables[key]


def _layout(shape: tuple[int, ...]) -> str | None:
    if len(shape) == 4 and shape[2] in (1, 3):
        return "HWCN"
    return "HWN" if len(shape) == 3 and shape[0] == shape[1] else None
