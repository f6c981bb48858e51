"""The decorator of compiled functions that Python calls: cached on disk where there is a place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call; keep the code in numba's cache folder if there is one.

    numba's cache is ``NUMBA_CACHE_DIR``, else ``__pycache__`` beside the source, else the user's
    cache folder. Where none can be written, code is compiled anew in every process.
    """
    try:
        return nb.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return nb.njit(nogil=True)(function)
