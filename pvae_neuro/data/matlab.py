"""Images in MATLAB's files (``.mat`` up to version 7), read by SciPy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.data.contents import Contents, Request
from pvae_neuro.errors import InputError, MissingDependencyError
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.optional import require
from pvae_neuro.utils.regular import check_regular

_HDF5 = b"\x89HDF\r\n\x1a\n"
# MATLAB 7.3 writes a text of its own in front.
_HDF5_PLACE = 512
_NUMBERS = (
    "double", "single", "logical",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)  # fmt: skip


def read_mat_file(path: Path, request: Request) -> Contents:
    """Images of a ``.mat`` file: the array ``key``, or the only one of two or more axes.

    Stacks of square images are in MATLAB's order, [H, W, N], and colours [H, W, 3, N], unless
    their shape fits [N, H, W] alone.

    Raises :class:`InputError` if the file is absent, damaged, of version 7.3, or holds no such
    array, and :class:`MissingDependencyError` if SciPy is not installed.
    """
    reader = require("scipy.io", "train", f"{path.name}: MATLAB's files")
    try:
        start = _start(path)
        if start[:8] == _HDF5 or start[_HDF5_PLACE : _HDF5_PLACE + 8] == _HDF5:
            raise InputError(
                f"{path}: is a MATLAB file of version 7.3 (HDF5), expected version 7 or older; "
                f"save it in MATLAB with save(..., '-v7'), or as .npy from Python with h5py"
            )
        listed = {name: (shape, kind) for name, shape, kind in reader.whosmat(str(path))}
        key = _choose(listed, request.key, path)
        shape = listed[key][0]
        # At most 8 bytes in the file, and 8 in memory, before they are float32.
        require_memory(20 * math.prod(shape), f"{path}: array {key!r} {list(shape)}")
        values = np.asarray(reader.loadmat(str(path), variable_names=[key])[key])
    except (InputError, MissingDependencyError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    # SciPy's reader meets damaged files with whatever its parts raise.
    except Exception as error:
        raise InputError(
            f"{path}: expected a MATLAB file, got something else or a damaged one "
            f"({' '.join(str(error).split())[:200] or type(error).__name__})"
        ) from error
    said = (f"array {key!r}",) if len(listed) > 1 else ()
    return Contents(values, layout=_layout(values.shape), said=said)


def _start(path: Path) -> bytes:
    check_regular(path)
    with path.open("rb") as file:
        return file.read(_HDF5_PLACE + 8)


def _choose(listed: dict[str, tuple[Any, str]], key: str | None, path: Path) -> str:
    numbers = [
        name for name, (shape, kind) in listed.items()
        if kind in _NUMBERS and len(shape) > 1 and min(shape) > 0 and sorted(shape)[-2] > 1
    ]  # fmt: skip
    chosen = key if key is not None else numbers[0] if len(numbers) == 1 else None
    if chosen not in listed or listed[chosen][1] not in _NUMBERS:
        found = {name: f"{kind} {list(shape)}" for name, (shape, kind) in listed.items()}
        raise InputError(
            f"{path}: no array {key or 'of images'!r}; it holds {found or 'nothing'}: choose one "
            f"by its key",
            remedy="key",
        )
    return chosen


def _layout(shape: tuple[int, ...]) -> str | None:
    if len(shape) == 4 and shape[2] in (1, 3):
        return "HWCN"
    return "HWN" if len(shape) == 3 and shape[0] == shape[1] else None
