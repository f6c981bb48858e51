"""CIFAR-10's batches, which are pickles: read through an allow-list, never unpickled freely.

torchvision unpickles them as they are. Here its list of files and checksums is used, so that damage
is noticed, and then an unpickler of our own that knows arrays of numbers and plain containers and
refuses everything else: a pickle that calls anything cannot be read, whatever its checksum.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.data.cache import Arrays
from pvae_neuro.errors import InputError

_SHAPE = (3, 32, 32)
# What pickles of arrays call to make an empty one; named by different modules in NumPy 1 and 2.
_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArraysOnly(pickle.Unpickler):
    """Reads numbers, text, bytes, lists, dictionaries and NumPy arrays of numbers."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")


def read_cifar10(datasets: Any, root: Path, train: bool) -> Arrays:
    """Read CIFAR-10.

    Parameters
    ----------
    datasets : module
        ``torchvision.datasets``, whose ``CIFAR10`` knows files and checksums.
    root : Path
        Folder that holds ``cifar-10-batches-py``.
    train : bool
        Training part or test part.

    Returns
    -------
    images : ndarray of uint8, [N, 3, 32, 32]
    labels : ndarray of int64, [N]

    Raises
    ------
    InputError
        If a file is absent, damaged, or asks to load what is not allowed.
    """
    kind = datasets.CIFAR10
    files = kind.train_list if train else kind.test_list
    batches = [_read(datasets, root / kind.base_folder / name, md5) for name, md5 in files]
    return np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])


def _read(datasets: Any, path: Path, md5: str) -> Arrays:
    if not datasets.utils.check_integrity(path, md5):
        raise FileNotFoundError(f"{path.name} is missing, or its MD5 sum is not {md5}")
    with path.open("rb") as file:
        return _arrays(load_arrays(file, path), path)


def load_arrays(file: Any, path: Path) -> Any:
    """Unpickle arrays of numbers and plain containers, and nothing else.

    Parameters
    ----------
    file : binary file
    path : Path
        Names it in the error message.

    Returns
    -------
    object
        Texts that Python 2 wrote come as ``bytes``.

    Raises
    ------
    InputError
        If it is no pickle, or asks for anything that is not allowed.
    """
    try:
        return _ArraysOnly(file, encoding="bytes").load()
    except (pickle.UnpicklingError, ValueError, EOFError, TypeError, LookupError) as error:
        raise InputError(f"{path}: cannot be read ({error}); get the data set again") from error


def _arrays(batch: Any, path: Path) -> Arrays:
    fields = batch if isinstance(batch, dict) else {}
    # The official files come from Python 2, whose texts are bytes here.
    data, labels = (fields.get(key.encode(), fields.get(key)) for key in ("data", "labels"))
    pixels = int(np.prod(_SHAPE))
    images: Any = data if isinstance(data, np.ndarray) else np.zeros(0)
    fits = images.dtype == np.uint8 and images.ndim == 2 and images.shape[1] == pixels
    if not fits or not isinstance(labels, list) or len(labels) != len(images):
        raise InputError(
            f"{path}: expected 'data', bytes [N, {pixels}], and a list of N 'labels'; "
            f"get the data set again"
        )
    return images.reshape(-1, *_SHAPE), np.array(labels, np.int64)
