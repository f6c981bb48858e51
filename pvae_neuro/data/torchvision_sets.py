"""Data sets that torchvision reads from a folder; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.data.arrays import check_size
from pvae_neuro.data.cache import Arrays, cached
from pvae_neuro.data.celeba import CELEBA_SIZE, read_celeba
from pvae_neuro.data.cifar import read_cifar10
from pvae_neuro.errors import EngineUnavailableError, InputError

# Digits, clothes, letters and kana in the file format of MNIST.
_IDX = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "emnist": "EMNIST", "kmnist": "KMNIST"}
_CLASSES = _IDX | {"omniglot": "Omniglot", "svhn": "SVHN", "cifar10": "CIFAR10", "celeba": "CelebA"}

TORCHVISION_SETS = tuple(_CLASSES)
"""Names that :func:`read_torchvision` knows."""

# Where torchvision keeps the files.
_SOURCES = {name: f"{kind}/raw" for name, kind in _IDX.items()} | {
    "omniglot": "omniglot-py",
    "svhn": "{part}_32x32.mat",
    "cifar10": "cifar-10-batches-py",
    "celeba": "celeba",
}
# What its classes need to be told beside the folder.
_ARGUMENTS = {"emnist": ", split='balanced'", "svhn": ", split='{part}'"}
_OMNIGLOT_SIDE = 28
# All that torchvision's readers were seen to raise on files that are absent, cut short or wrong.
_UNREADABLE = (
    RuntimeError, OSError, ValueError, TypeError, LookupError, AssertionError, EOFError,
)  # fmt: skip


def read_torchvision(
    name: str,
    root: Path,
    train: bool,
    size: int | tuple[int, int] | None = None,
    limit: int | None = None,
) -> Arrays:
    """Read one of torchvision's data sets, through a cache of decoded images.

    Parameters
    ----------
    name : str
        One of :data:`TORCHVISION_SETS`. EMNIST is its ``balanced`` split of 47 classes.
    root : Path
        Folder in torchvision's own layout.
    train : bool
        Training part or test part (Omniglot: background or evaluation set).
    size : int or (int, int), optional
        Height and width of CelebA's faces (default 128); of no use for the others.
    limit : int, optional
        Read no more of CelebA's faces; the other sets are read whole.

    Returns
    -------
    images : ndarray of uint8, [N, H, W] or [N, 3, H, W]
        Ink bright.
    labels : ndarray of int64, [N]
        Classes; for CelebA, whether a face smiles.

    Raises
    ------
    InputError
        If the data are not there, or damaged.
    EngineUnavailableError
        If torchvision is not installed, or SciPy, which reads SVHN.
    """
    part = "train" if train else "test"
    source = root / _SOURCES[name].format(part=part)
    if name != "celeba":
        return cached(f"{name}-{part}", source, lambda: _read(name, root, part))
    pair = CELEBA_SIZE if size is None else check_size(size)
    title = f"celeba-{part}-{pair[0]}x{pair[1]}-{limit or 'all'}"
    return cached(title, source, lambda: _read(name, root, part, pair, limit))


def _read(
    name: str,
    root: Path,
    part: str,
    size: tuple[int, int] = CELEBA_SIZE,
    limit: int | None = None,
) -> Arrays:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise EngineUnavailableError(
            f"data set {name!r} needs torchvision: pip install 'pvae-neuro[train]'"
        ) from error
    train = part == "train"
    try:
        if name == "celeba":
            return read_celeba(datasets, root, train, size, limit)
        if name == "cifar10":
            return read_cifar10(datasets, root, train)
        if name == "svhn":
            return _read_svhn(datasets.SVHN(str(root), split=part, download=False))
        if name == "omniglot":
            return _read_omniglot(datasets.Omniglot(str(root), background=train, download=False))
        return _read_idx(name, getattr(datasets, _CLASSES[name]), root, train)
    except InputError:
        raise
    except ImportError as error:
        raise EngineUnavailableError(
            f"data set {name!r} needs SciPy ({error}): pip install 'pvae-neuro[train]'"
        ) from error
    except _UNREADABLE as error:
        raise InputError(_how_to_get(name, root, part, error)) from error


def _read_idx(name: str, kind: Any, root: Path, train: bool) -> Arrays:
    # Old versions kept a pickled copy beside the files, and would unpickle it: never look there.
    members = {"_check_legacy_exist": lambda self: False}
    options = {"split": "balanced"} if name == "emnist" else {}
    files = type(kind.__name__, (kind,), members)(str(root), train=train, download=False, **options)
    images = files.data.numpy()
    # EMNIST's files hold every letter transposed.
    if name == "emnist":
        images = images.transpose(0, 2, 1)
    return images, files.targets.numpy().astype(np.int64)


def _read_omniglot(dataset: Any) -> Arrays:
    size = (_OMNIGLOT_SIDE, _OMNIGLOT_SIDE)
    # Drawn black on white at 105 x 105: made small with antialiasing, and the ink bright.
    images = [255 - np.asarray(image.convert("L").resize(size, 2)) for image, _ in dataset]
    return np.stack(images).astype(np.uint8), np.array([label for _, label in dataset], np.int64)


def _read_svhn(dataset: Any) -> Arrays:
    return np.ascontiguousarray(dataset.data), np.asarray(dataset.labels, np.int64)


def _how_to_get(name: str, root: Path, part: str, error: BaseException) -> str:
    call = _CLASSES[name]
    extra = _ARGUMENTS.get(name, "").format(part=part)
    there = (root / _SOURCES[name].format(part=part)).exists()
    # torchvision's own advice, to pass download=True, is of no use to who types a command.
    what = f"files below {root} are incomplete or damaged" if there else f"not found below {root}"
    reason = f" ({error})" if there and "download=True" not in str(error) and str(error) else ""
    return (
        f"data set {name!r}: {what}{reason}; expected torchvision's layout. Give the right "
        f'folder (--data-root), or download it once with: python -c "from torchvision.datasets '
        f"import {call}; {call}('{root}'{extra}, download=True)\""
    )
