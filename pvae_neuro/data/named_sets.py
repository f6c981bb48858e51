"""Data sets known by name, read from files in torchvision's layout; nothing is downloaded.

Those in the format of MNIST need NumPy alone, the others torchvision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.data.celeba import CELEBA_SIZE, read_celeba
from pvae_neuro.data.cifar import read_cifar10
from pvae_neuro.data.contents import PARTS, Arrays, Contents, Request
from pvae_neuro.data.idx import read_idx_set
from pvae_neuro.errors import InputError, MissingDependencyError
from pvae_neuro.utils.optional import require

_OMNIGLOT_SIDE = 28


@dataclass(frozen=True)
class _Part:
    """The part of a set to read; only sets that are resized heed size and limit."""

    root: Path
    split: str
    size: tuple[int, int] | None
    limit: int | None


@dataclass(frozen=True)
class _Set:
    """One data set."""

    kind: str
    """Class in ``torchvision.datasets`` that downloads it."""

    source: str
    """File or folder below the data root; ``{split}`` stands for the part."""

    read: Callable[[_Part], Arrays]

    arguments: str = ""
    """What the class takes beside the folder, as in a line that downloads the set."""

    size: tuple[int, int] | None = None
    """Height and width by default, for sets whose images are resized as they are read."""


def _read_idx(source: str, train: str = "train", test: str = "t10k") -> Callable[[_Part], Arrays]:
    """Reader of a set in the format of MNIST, given how the names of its files begin."""

    def read(asked: _Part) -> Arrays:
        prefix = {"train": train, "test": test}[asked.split]
        return read_idx_set(asked.root / source, prefix)

    return read


def _read_emnist(asked: _Part) -> Arrays:
    prefixes = (f"emnist-balanced-{split}" for split in PARTS)
    images, labels = _read_idx("EMNIST/raw", *prefixes)(asked)
    # The files hold every letter transposed.
    return images.transpose(0, 2, 1), labels


def _datasets(name: str) -> Any:
    return require("torchvision.datasets", "train", f"data set {name!r}")


def _read_omniglot(asked: _Part) -> Arrays:
    # The background set serves for training, the evaluation set for testing.
    characters = _datasets("omniglot").Omniglot(
        str(asked.root), background=asked.split == "train", download=False
    )
    size = (_OMNIGLOT_SIDE, _OMNIGLOT_SIDE)
    # Drawn black on white at 105 x 105: resized with antialiasing (2 is bilinear) and inverted.
    images = [255 - np.asarray(image.convert("L").resize(size, 2)) for image, _ in characters]
    return np.stack(images).astype(np.uint8), np.array([y for _, y in characters], np.int64)


def _read_svhn(asked: _Part) -> Arrays:
    require("scipy.io", "train", "data set 'svhn'")
    digits = _datasets("svhn").SVHN(str(asked.root), split=asked.split, download=False)
    return np.ascontiguousarray(digits.data), np.asarray(digits.labels, np.int64)


def _read_cifar10(asked: _Part) -> Arrays:
    return read_cifar10(_datasets("cifar10"), asked.root, asked.split)


def _read_celeba(asked: _Part) -> Arrays:
    size = asked.size or CELEBA_SIZE
    return read_celeba(_datasets("celeba"), asked.root, asked.split, size, asked.limit)


_SETS = {
    "mnist": _Set("MNIST", "MNIST/raw", _read_idx("MNIST/raw")),
    "fashion-mnist": _Set("FashionMNIST", "FashionMNIST/raw", _read_idx("FashionMNIST/raw")),
    "emnist": _Set("EMNIST", "EMNIST/raw", _read_emnist, ", split='balanced'"),
    "kmnist": _Set("KMNIST", "KMNIST/raw", _read_idx("KMNIST/raw")),
    "omniglot": _Set("Omniglot", "omniglot-py", _read_omniglot),
    "svhn": _Set("SVHN", "{split}_32x32.mat", _read_svhn, ", split='{split}'"),
    "cifar10": _Set("CIFAR10", "cifar-10-batches-py", _read_cifar10),
    "celeba": _Set("CelebA", "celeba", _read_celeba, size=CELEBA_SIZE),
}

NAMED_SETS = tuple(_SETS)
"""Names that :func:`read_named_set` knows."""

RESIZED_SETS = tuple(name for name, each in _SETS.items() if each.size)
"""Those whose images are resized as they are read."""


def read_named_set(name: str, root: Path, request: Request) -> Contents:
    """Read a part of a data set, by default the test part, or both.

    EMNIST is its ``balanced`` split of 47 classes. Only CelebA heeds size and limit; the other sets
    are read whole. Images are uint8 [N, H, W] or [N, 3, H, W], ink bright; labels are classes,
    for CelebA whether a face smiles.

    Raises
    ------
    InputError
        If the data are absent or damaged, or exceed the limit of memory.
    MissingDependencyError
        If the set needs torchvision, or SVHN SciPy, and it is not installed.
    """
    split = request.split or "test"
    parts = PARTS if split == "all" else (split,)
    read = [_read(name, _Part(root, part, request.size, request.limit)) for part in parts]
    images, labels = read[0]
    if len(read) > 1:
        images, labels = (np.concatenate(each) for each in zip(*read, strict=True))
    said = f"the {split} part" if len(parts) == 1 else "the parts train and test"
    return Contents(images, labels, scale=255.0, said=(f"{said} below {root}",), part=split)


def _read(name: str, asked: _Part) -> Arrays:
    try:
        return _SETS[name].read(asked)
    except (InputError, MissingDependencyError, MemoryError):
        raise
    # Files that are absent, cut short or wrong make torchvision's readers raise anything.
    except Exception as error:
        raise InputError(_how_to_get(name, asked, error)) from error


def _how_to_get(name: str, asked: _Part, error: BaseException) -> str:
    known = _SETS[name]
    kind, arguments = known.kind, known.arguments.format(split=asked.split)
    root = asked.root
    found = (root / known.source.format(split=asked.split)).exists()
    what = f"files below {root} are incomplete or damaged" if found else f"not found below {root}"
    # torchvision advises to pass download=True, which is of no use on the command line.
    reason = f" ({error})" if found and "download=True" not in str(error) and str(error) else ""
    return (
        f"data set {name!r}: {what}{reason}; expected torchvision's layout. Give the right "
        f'data folder, or download the set once with: python -c "from torchvision.datasets '
        f"import {kind}; {kind}('{root}'{arguments}, download=True)\""
    )
