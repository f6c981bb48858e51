"""Read and write safetensors files, with this package's errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.utils.files import atomic_path


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
    data = save(whole, metadata=metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_safetensors(
    path: str | os.PathLike[str],
) -> tuple[dict[str, str], dict[str, npt.NDArray[Any]]]:
    """Read header metadata and arrays of any safetensors file.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    metadata : dict of str to str
        Empty if the file has none.
    arrays : dict of str to ndarray
        By name.

    Raises
    ------
    InputError
        If there is no such file or it cannot be read.
    ModelFileError
        If it is no whole safetensors file.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; expected a saved model (.safetensors)")
    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in names}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{path}: expected a safetensors file, got something else or a damaged one ({error}); "
            f"save the model again with this package"
        ) from error
