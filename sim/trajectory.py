"""Arrays for full trajectories: in memory while small, on disk past a stated size."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pvae_neuro.errors import InputError

# A trajectory of 10,000 digits over 128 iterations takes 3.3 GB; few machines should hold that.
IN_MEMORY_BYTES = 512 << 20


def trajectory_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeroed array for a trajectory.

    Past ``IN_MEMORY_BYTES`` it is a memory map of a ``.npy`` file in the temporary folder. The file
    is unlinked as soon as it is open: it goes when the array goes, whatever happens to the process.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    ndarray

    Raises
    ------
    InputError
        If the temporary folder has no room for it.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    handle, name = tempfile.mkstemp(prefix="pvae-neuro-trajectory-", suffix=".npy")
    os.close(handle)
    path = Path(name)
    try:
        _check_room(path.parent, size)
        open_map: Any = np.lib.format.open_memmap
        return open_map(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    finally:
        path.unlink()


def _check_room(folder: Path, size: int) -> None:
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if free < size:
        raise InputError(
            f"full record: expected {size:,} bytes free in {folder}, got {free:,}; record "
            f"a summary, run fewer images or iterations, or set TMPDIR to a larger disk"
        )
