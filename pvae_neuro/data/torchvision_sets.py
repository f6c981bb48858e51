"""Data sets that torchvision reads from a folder; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.data.cache import Arrays, cached
from pvae_neuro.data.celeba import CELEBA_SIZE, read_celeba
from pvae_neuro.data.cifar import read_cifar10
from pvae_neuro.data.images import check_size
from pvae_neuro.errors import InputError, MissingDependencyError
from pvae_neuro.utils.optional import require

_OMNIGLOT_SIDE = 28
# What torchvision's readers raise on files that are absent, cut short or wrong.
_UNREADABLE = (
    RuntimeError, OSError, ValueError, TypeError, LookupError, AssertionError, EOFError,
)  # fmt: skip


@dataclass(frozen=True)
class _Request:
    """The part of a set to read; only sets that are resized heed size and limit."""

    root: Path
    split: str
    size: tuple[int, int] | None
    limit: int | None


@dataclass(frozen=True)
class _Set:
    """One data set."""

    kind: str
    """Class in ``torchvision.datasets``."""

    source: str
    """File or folder below the data root; ``{split}`` stands for the part."""

    read: Callable[[Any, _Request], Arrays]
    """Takes ``torchvision.datasets`` and a request."""

    arguments: str = ""
    """What the class takes beside the folder, as in a line that downloads the set."""

    size: tuple[int, int] | None = None
    """Height and width by default, for sets whose images are resized as they are read."""


def _read_idx(kind: str, **options: Any) -> Callable[[Any, _Request], Arrays]:
    """Reader of a set in the file format of MNIST."""

    def read(datasets: Any, asked: _Request) -> Arrays:
        # Old versions kept a pickled copy beside the files and would unpickle it: never look there.
        members = {"_check_legacy_exist": lambda self: False}
        safe = type(kind, (getattr(datasets, kind),), members)
        files = safe(str(asked.root), train=asked.split == "train", download=False, **options)
        return files.data.numpy(), files.targets.numpy().astype(np.int64)

    return read


def _read_emnist(datasets: Any, asked: _Request) -> Arrays:
    images, labels = _read_idx("EMNIST", split="balanced")(datasets, asked)
    # The files hold every letter transposed.
    return images.transpose(0, 2, 1), labels


def _read_omniglot(datasets: Any, asked: _Request) -> Arrays:
    # The background set serves for training, the evaluation set for testing.
    characters = datasets.Omniglot(
        str(asked.root), background=asked.split == "train", download=False
    )
    size = (_OMNIGLOT_SIDE, _OMNIGLOT_SIDE)
    # Drawn black on white at 105 x 105: resized with antialiasing (2 is bilinear) and inverted.
    images = [255 - np.asarray(image.convert("L").resize(size, 2)) for image, _ in characters]
    return np.stack(images).astype(np.uint8), np.array([y for _, y in characters], np.int64)


def _read_svhn(datasets: Any, asked: _Request) -> Arrays:
    require("scipy.io", "train", "data set 'svhn'")
    digits = datasets.SVHN(str(asked.root), split=asked.split, download=False)
    return np.ascontiguousarray(digits.data), np.asarray(digits.labels, np.int64)


def _read_cifar10(datasets: Any, asked: _Request) -> Arrays:
    return read_cifar10(datasets, asked.root, asked.split)


def _read_celeba(datasets: Any, asked: _Request) -> Arrays:
    return read_celeba(datasets, asked.root, asked.split, asked.size or CELEBA_SIZE, asked.limit)


_SETS = {
    "mnist": _Set("MNIST", "MNIST/raw", _read_idx("MNIST")),
    "fashion-mnist": _Set("FashionMNIST", "FashionMNIST/raw", _read_idx("FashionMNIST")),
    "emnist": _Set("EMNIST", "EMNIST/raw", _read_emnist, ", split='balanced'"),
    "kmnist": _Set("KMNIST", "KMNIST/raw", _read_idx("KMNIST")),
    "omniglot": _Set("Omniglot", "omniglot-py", _read_omniglot),
    "svhn": _Set("SVHN", "{split}_32x32.mat", _read_svhn, ", split='{split}'"),
    "cifar10": _Set("CIFAR10", "cifar-10-batches-py", _read_cifar10),
    "celeba": _Set("CelebA", "celeba", _read_celeba, size=CELEBA_SIZE),
}

TORCHVISION_SETS = tuple(_SETS)
"""Names that :func:`read_torchvision` knows."""

RESIZED_SETS = tuple(name for name, each in _SETS.items() if each.size)
"""Those whose images are resized as they are read."""


def read_torchvision(
    name: str,
    root: Path,
    split: str,
    size: int | tuple[int, int] | None = None,
    limit: int | None = None,
) -> Arrays:
    """Read one of torchvision's data sets, through a cache of decoded images.

    EMNIST is its ``balanced`` split of 47 classes. Only CelebA heeds size and limit; the other sets
    are read whole. Images are uint8 [N, H, W] or [N, 3, H, W], ink bright; labels are classes,
    for CelebA whether a face smiles.

    Raises :class:`InputError` if the data are absent or damaged, and
    :class:`MissingDependencyError` if torchvision is not installed, or SciPy, which reads SVHN.
    """
    default = _SETS[name].size
    wanted = default if size is None else check_size(size)
    asked = _Request(root, split, wanted, limit)
    title = f"{name}-{split}"
    if default is not None and wanted is not None:
        title += f"-{wanted[0]}x{wanted[1]}-{limit or 'all'}"
    return cached(title, root / _source(name, split), lambda: _read(name, asked))


def _source(name: str, split: str) -> str:
    return _SETS[name].source.format(split=split)


def _read(name: str, asked: _Request) -> Arrays:
    datasets = require("torchvision.datasets", "train", f"data set {name!r}")
    try:
        return _SETS[name].read(datasets, asked)
    except (InputError, MissingDependencyError):
        raise
    except _UNREADABLE as error:
        raise InputError(_how_to_get(name, asked, error)) from error


def _how_to_get(name: str, asked: _Request, error: BaseException) -> str:
    kind, arguments = _SETS[name].kind, _SETS[name].arguments.format(split=asked.split)
    root = asked.root
    found = (root / _source(name, asked.split)).exists()
    what = f"files below {root} are incomplete or damaged" if found else f"not found below {root}"
    # torchvision advises to pass download=True, which is of no use on the command line.
    reason = f" ({error})" if found and "download=True" not in str(error) and str(error) else ""
    return (
        f"data set {name!r}: {what}{reason}; expected torchvision's layout. Give the right "
        f'data folder, or download the set once with: python -c "from torchvision.datasets '
        f"import {kind}; {kind}('{root}'{arguments}, download=True)\""
    )
