"""Data sets that torchvision reads from a folder; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.data.cache import Arrays, cached
from pvae_neuro.errors import EngineUnavailableError, InputError

TORCHVISION_SETS = ("mnist", "fashion-mnist", "emnist", "omniglot")
"""Names that :func:`read_torchvision` knows."""

_CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "emnist": "EMNIST"}
# Where torchvision keeps the files.
_FOLDERS = {name: f"{kind}/raw" for name, kind in _CLASSES.items()} | {"omniglot": "omniglot-py"}
_OMNIGLOT_SIDE = 28


def read_torchvision(name: str, root: Path, train: bool) -> Arrays:
    """Read one of torchvision's data sets, through a cache of decoded images.

    Parameters
    ----------
    name : str
        One of :data:`TORCHVISION_SETS`.
    root : Path
        Folder in torchvision's own layout.
    train : bool
        Training part or test part (Omniglot: background or evaluation set).

    Returns
    -------
    images : ndarray of uint8, [N, 28, 28]
        Ink bright.
    labels : ndarray of int64, [N]
        Classes.

    Raises
    ------
    InputError
        If the data are not there.
    EngineUnavailableError
        If torchvision is not installed.
    """
    part = "train" if train else "test"
    return cached(f"{name}-{part}", root / _FOLDERS[name], lambda: _read(name, root, train))


def _read(name: str, root: Path, train: bool) -> Arrays:
    try:
        import torchvision
    except ImportError as error:
        raise EngineUnavailableError(
            f"data set {name!r} needs torchvision: pip install 'pvae-neuro[train]'"
        ) from error
    datasets = torchvision.datasets
    try:
        if name == "omniglot":
            return _read_omniglot(datasets.Omniglot(str(root), background=train, download=False))
        options = {"split": "balanced"} if name == "emnist" else {}
        dataset = getattr(datasets, _CLASSES[name])(
            str(root), train=train, download=False, **options
        )
    except (RuntimeError, OSError) as error:
        raise InputError(_how_to_get(name, root)) from error
    images = dataset.data.numpy()
    # EMNIST's files hold every letter transposed.
    if name == "emnist":
        images = images.transpose(0, 2, 1)
    return images, dataset.targets.numpy().astype(np.int64)


def _read_omniglot(dataset: Any) -> Arrays:
    size = (_OMNIGLOT_SIDE, _OMNIGLOT_SIDE)
    # Drawn black on white at 105 x 105: made small with antialiasing, and the ink bright.
    images = [255 - np.asarray(image.convert("L").resize(size, 2)) for image, _ in dataset]
    return np.stack(images).astype(np.uint8), np.array([label for _, label in dataset], np.int64)


def _how_to_get(name: str, root: Path) -> str:
    call = "Omniglot" if name == "omniglot" else _CLASSES[name]
    extra = ", split='balanced'" if name == "emnist" else ""
    return (
        f"data set {name!r}: not found below {root}; expected torchvision's layout. Give the right "
        f'folder (--data-root), or download it once with: python -c "from torchvision.datasets '
        f"import {call}; {call}('{root}'{extra}, download=True)\""
    )
