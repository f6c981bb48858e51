"""What patches of photographs are wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pvae_neuro.data.arrays import check_seed
from pvae_neuro.data.folder import TEST_FRACTION
from pvae_neuro.data.whitening import CUTOFF
from pvae_neuro.errors import InputError

_EXPECTED = {
    "size": "at least 2 pixels",
    "train": "at least 1 patch",
    "test": "at least 1 patch",
    "cutoff": "a part of the Nyquist frequency, in (0, 1]",
    "radius": "a positive number of pixels",
    "minimum_contrast": "0 or more",
    "test_fraction": "a share between 0 and 1",
    "contrast": "'none', 'image' or 'local'",
    "dtype": "'float16' or 'float32'",
}


@dataclass(frozen=True)
class PatchConfig:
    """How patches are cut out of photographs.

    Attributes
    ----------
    size : int
        Height and width of a patch, in pixels.
    train, test : int
        Patches of each part, shared out evenly among its photographs.
    whiten : bool
        Whiten each photograph (:func:`~pvae_neuro.data.whitening.whiten`).
    cutoff : float
        Cut-off f0 of the whitening, relative to Nyquist; Olshausen and Field's by default.
    contrast : {"none", "image", "local"}
        After whitening: leave a photograph's contrast as it is, give each unit variance, or
        divide by its local standard deviation.
    radius : float
        Of the window of ``"local"``, in pixels.
    standardize : bool
        Give every single patch zero mean and unit variance.
    minimum_contrast : float
        Leave out patches whose standard deviation is below this part of their photograph's.
    test_fraction : float
        Share of the photographs to hold out, where the folder has no ``train`` and ``test``.
    dtype : {"float16", "float32"}
        Of the patches in a file.
    seed : int
        Of the division of photographs, of positions and of the order.
    """

    size: int = 16
    train: int = 40_000
    test: int = 5_000
    whiten: bool = True
    cutoff: float = CUTOFF
    contrast: Literal["none", "image", "local"] = "none"
    radius: float = 16.0
    standardize: bool = False
    minimum_contrast: float = 0.0
    test_fraction: float = TEST_FRACTION
    dtype: Literal["float16", "float32"] = "float16"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no patches; names the option."""
        check_seed(self.seed)
        ranges = {
            "size": self.size >= 2, "train": self.train >= 1, "test": self.test >= 1,
            "cutoff": 0.0 < self.cutoff <= 1.0, "radius": 0.0 < self.radius < math.inf,
            "minimum_contrast": 0.0 <= self.minimum_contrast < math.inf,
            "test_fraction": 0.0 < self.test_fraction < 1.0,
            "contrast": self.contrast in ("none", "image", "local"),
            "dtype": self.dtype in ("float16", "float32"),
        }  # fmt: skip
        for name, fits in ranges.items():
            if not fits:
                raise InputError(f"{name}: expected {_EXPECTED[name]}, got {getattr(self, name)!r}")
