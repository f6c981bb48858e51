"""Read and write safetensors files, with this package's errors."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from pvae_neuro.errors import ModelFileError
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.utils.whole_file import read_whole

_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class TensorFile(NamedTuple):
    """What a safetensors file holds.

    Attributes
    ----------
    metadata : dict of str to str
        Empty if the file has none.
    arrays : dict of str to ndarray
        By name; bfloat16, which NumPy lacks, as the same numbers in float32.
    types : dict of str to str
        Type of each array in the file, such as ``bfloat16``.
    """

    metadata: dict[str, str]
    arrays: dict[str, npt.NDArray[Any]]
    types: dict[str, str]


def write_safetensors(
    path: str | os.PathLike[str], arrays: dict[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> None:
    """Write arrays and header metadata as a safetensors file, whole or not at all.

    Parameters
    ----------
    path : str or path-like
        Target; replaced if it exists.
    arrays : dict of str to ndarray
        By name.
    metadata : dict of str to str
        For the header.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind.
    """
    # safetensors writes raw memory, so strided views must be made contiguous first.
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data: bytes = save(whole, metadata=metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_safetensors(path: str | os.PathLike[str]) -> TensorFile:
    """Read header metadata and arrays of any safetensors file that holds floats alone.

    Parameters
    ----------
    path : str or path-like
        The file.

    Raises
    ------
    InputError
        If there is no such file, it cannot be read, or it needs more memory than the limit.
    ModelFileError
        If it is no whole safetensors file, or an array is of another type.
    """
    # Its bytes, those of its arrays, and arrays converted to float32.
    data = read_whole(path, "a saved model (.safetensors)", copies=4)
    try:
        found = deserialize(data)  # type: ignore[no-untyped-call]
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(
            f"{path}: expected a safetensors file, got something else or a damaged one ({error}); "
            f"save the model again with this package"
        ) from error
    arrays, types = {}, {}
    for name, tensor in found:
        types[name] = _type_of(name, tensor["dtype"], path)
        arrays[name] = _decoded(tensor["data"], types[name]).reshape(tensor["shape"])
    return TensorFile(metadata, arrays, types)


def _type_of(name: str, code: str, path: str | os.PathLike[str]) -> str:
    if code not in _TYPES:
        raise ModelFileError(
            f"{path}: array {name!r}: expected numbers of type {' or '.join(_TYPES)}, got {code}"
        )
    return _TYPES[code]


def _decoded(data: bytearray, kind: str) -> npt.NDArray[Any]:
    """Little-endian numbers. A bfloat16 is the upper half of a float32."""
    if kind == "bfloat16":
        upper = np.frombuffer(data, "<u2").astype(np.uint32)
        return (upper << np.uint32(16)).view(np.float32)
    return np.frombuffer(data, np.dtype(kind).newbyteorder("<")).astype(kind)
