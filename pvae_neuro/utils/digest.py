"""Short names for arrays and settings, to recognize results that were computed before."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def digest(*parts: str | NDArray[Any]) -> str:
    """SHA-256 of texts and of the bytes of arrays, one after the other, in hexadecimal.

    Neither shapes nor borders between parts enter: add a text where they matter.
    """
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).data)
    return total.hexdigest()


def file_sha256(path: Path) -> str:
    """What ``sha256sum`` prints of a file, which is read in pieces."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()
