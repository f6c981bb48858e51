"""Images to train and test on: readers, whitened patches, inputs that change in time.

Each name is loaded at its first use, so that reading a NumPy file imports only NumPy.
"""

from __future__ import annotations

import sys
from typing import Any

from pvae_neuro.utils import lazy

_HOMES = lazy.homes(__file__)

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    return lazy.load(sys.modules[__name__], name, _HOMES)


def __dir__() -> list[str]:
    return __all__
