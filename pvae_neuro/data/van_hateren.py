"""Photographs of van Hateren's collection of natural images (``.iml`` and ``.imc``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.errors import InputError
from pvae_neuro.utils.whole_file import read_whole

VAN_HATEREN_ENDINGS = (".iml", ".imc")

_PHOTOGRAPH = "a photograph of van Hateren's collection"
_SHAPE = (1024, 1536)
_SIZE = 2 * _SHAPE[0] * _SHAPE[1]


def read_van_hateren(path: Path) -> npt.NDArray[np.uint16]:
    """A photograph: uint16 [1024, 1536], proportional to luminance, without a fixed white.

    Raises :class:`InputError` if it cannot be read or is of another length.
    """
    data = read_whole(path, _PHOTOGRAPH)
    if len(data) != _SIZE:
        raise InputError(
            f"{path}: expected {_PHOTOGRAPH}, {_SHAPE[1]}x{_SHAPE[0]} "
            f"numbers of 16 bits ({_SIZE:,} bytes), got {len(data):,} bytes"
        )
    values: npt.NDArray[Any] = np.frombuffer(data, ">u2")
    return values.astype(np.uint16).reshape(_SHAPE)
