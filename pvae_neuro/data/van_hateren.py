"""Photographs of van Hateren's collection of natural images (``.iml`` and ``.imc``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.contents import Contents, Request
from pvae_neuro.errors import InputError
from pvae_neuro.utils.regular import check_regular

VAN_HATEREN_ENDINGS = (".iml", ".imc")

_SHAPE = (1024, 1536)
_SIZE = 2 * _SHAPE[0] * _SHAPE[1]


def read_van_hateren(path: Path) -> npt.NDArray[np.uint16]:
    """A photograph: uint16 [1024, 1536], proportional to luminance, without a fixed white.

    Raises :class:`InputError` if it cannot be read or is of another length.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(data) != _SIZE:
        found = "fewer" if len(data) < _SIZE else "more"
        raise InputError(
            f"{path}: expected a photograph of van Hateren's collection, {_SHAPE[1]}x{_SHAPE[0]} "
            f"numbers of 16 bits ({_SIZE:,} bytes), got {found}"
        )
    values: npt.NDArray[Any] = np.frombuffer(data, ">u2")
    return values.astype(np.uint16).reshape(_SHAPE)


def read_van_hateren_file(path: Path, request: Request) -> Contents:
    """One photograph, as a set of one image."""
    return Contents(read_van_hateren(path)[None])
