"""CIFAR-10, whose files are pickles, without running any code that they ask for.

torchvision unpickles them as they are. Here its list of files and checksums is used to notice
damage, and then an unpickler that builds arrays of numbers and plain containers and refuses
everything else, whatever the checksum.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.data.contents import Arrays
from pvae_neuro.errors import InputError

_SHAPE = (3, 32, 32)
# The function that makes an empty array when one is unpickled. NumPy 1 and 2 name its module
# differently.
_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")


def read_cifar10(datasets: Any, root: Path, split: str) -> Arrays:
    """Read CIFAR-10 as uint8 [N, 3, 32, 32]; ``datasets`` is ``torchvision.datasets``.

    Raises :class:`InputError` if a file is damaged or asks to load what is not allowed, and
    :class:`FileNotFoundError` if one is absent or changed.
    """
    kind = datasets.CIFAR10
    files = {"train": kind.train_list, "test": kind.test_list}[split]
    batches = [_read(datasets, root / kind.base_folder / name, md5) for name, md5 in files]
    return np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])


def _read(datasets: Any, path: Path, md5: str) -> Arrays:
    if not datasets.utils.check_integrity(path, md5):
        raise FileNotFoundError(f"{path.name} is missing, or its MD5 sum is not {md5}")
    try:
        with path.open("rb") as file:
            # Texts that Python 2 wrote come as bytes.
            batch = _ArraysOnly(file, encoding="bytes").load()
    except (pickle.UnpicklingError, ValueError, EOFError, TypeError, LookupError) as error:
        raise InputError(f"{path}: cannot be read ({error}); get the data set again") from error
    return _arrays(batch, path)


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
