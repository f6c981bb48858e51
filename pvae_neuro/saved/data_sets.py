"""Data sets of the authors' code (IterativeVAE), by name: what models were trained on."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from pvae_neuro.network import ImageShape


class DataSet(NamedTuple):
    """What the authors' code makes of the data sets whose names match a pattern.

    Attributes
    ----------
    names : str
        Regular expression. Behind ``+`` stands how the images move.
    low, high : float
        Range of a pixel.
    shape : tuple of int
        (height, width) or (colours, height, width).
    """

    names: str
    low: float
    high: float
    shape: ImageShape


# Patches and their pixels have a variance of 1: hardly any lies beyond 16.
KNOWN = (
    DataSet(r"(MNIST|FashionMNIST|EMNIST|Omniglot)(\+jitter|\+rotate)?", 0.0, 1.0, (28, 28)),
    DataSet(r"SVHN(\+jitter)?", 0.0, 1.0, (32, 32)),
    DataSet(r"CIFAR10", -1.0, 1.0, (3, 32, 32)),
    DataSet(r"CelebA", -1.0, 1.0, (3, 218, 178)),
    DataSet(r"(vH|Kyoto)16(-bw|-wht)?", -16.0, 16.0, (16, 16)),
    DataSet(r"(vH|Kyoto)32(-bw|-wht)?", -16.0, 16.0, (32, 32)),
    DataSet(r"(vH|Kyoto)16-col", -16.0, 16.0, (3, 16, 16)),
    DataSet(r"(vH|Kyoto)32-col", -16.0, 16.0, (3, 32, 32)),
    DataSet(r"(vH|Kyoto)32\+jitter", -16.0, 16.0, (16, 16)),
)


def find_data_set(name: str, pixels: int) -> DataSet | None:
    """The data set of that name, if its images have that many pixels."""
    for known in KNOWN:
        if re.fullmatch(known.names, name) and math.prod(known.shape) == pixels:
            return known
    return None
