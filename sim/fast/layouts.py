"""Weights as commands read them: laid out, padded to whole vectors, at the start of a cache line.

Layouts of dense products with all values are in :mod:`dense`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Interval
from pvae_neuro.sim.fast.memory import address
from pvae_neuro.sim.fast.vectors import BYTE_LANES, PAIR_LANES

CACHE_LINE = 64
CELLS_PER_LINE = CACHE_LINE // 4
LARGEST_BYTE = 255
INT16_MAX = (1 << 15) - 1
# Sums of any connection are padded to this.
SUMS_TOGETHER = max(BYTE_LANES, PAIR_LANES)


def digits_of(sent: Interval) -> int:
    """Number of 16-bit digits of a sent value."""
    return 1 if sent.smallest >= -INT16_MAX - 1 and sent.largest <= INT16_MAX else 2


def event_rows(weight: NDArray[Any]) -> NDArray[np.int8]:
    """One row for each source, padded to ``BYTE_LANES``: int8 [sources, width]."""
    return pad(weight.T.astype(np.int8), 1, BYTE_LANES)


def digit_blocks(weight: NDArray[Any]) -> NDArray[np.int8]:
    """Blocks of targets; for each pair of sources their weights side by side.

    int8 [ceil(targets / PAIR_LANES), ceil(sources / 2), 2 PAIR_LANES]
    """
    padded = pad(pad(weight.astype(np.int8), 0, PAIR_LANES), 1, 2)
    blocks = padded.reshape(-1, PAIR_LANES, padded.shape[1] // 2, 2).swapaxes(1, 2)
    return blocks.reshape(len(blocks), blocks.shape[1], -1)


class Weights:
    """Weights as a network's commands read them; those that connections share are laid out once."""

    def __init__(self) -> None:
        # Each with what it was made of, whose address no other array gets as long as it is there.
        self._arrays: dict[Any, tuple[NDArray[Any], NDArray[Any]]] = {}
        self._kept: list[NDArray[Any]] = []

    def address_of(self, weight: NDArray[Any], layout: Callable[[Any], NDArray[Any]]) -> int:
        """Address of weights in some layout."""
        memory = weight.__array_interface__["data"]
        key = (layout, memory, weight.shape, weight.strides)
        if key not in self._arrays:
            # Of two threads that lay out the same, the first one's array is kept.
            self._arrays.setdefault(key, (weight, aligned(layout(weight))))
        return address(self._arrays[key][1])

    def keep(self, values: NDArray[Any]) -> int:
        """Address of a copy of some array."""
        kept = aligned(values)
        self._kept.append(kept)
        return address(kept)


def padded_size(size: int, multiple: int) -> int:
    """Size, rounded up to a multiple."""
    return -(-size // multiple) * multiple


def pad(weight: NDArray[Any], axis: int, multiple: int) -> NDArray[Any]:
    """Add zeros along an axis, up to a multiple."""
    more = [(0, 0)] * weight.ndim
    more[axis] = (0, -weight.shape[axis] % multiple)
    return np.pad(weight, more)


def aligned(values: NDArray[Any]) -> NDArray[Any]:
    """Copy to an address that a cache line begins at: a load across two lines costs two."""
    raw = np.empty(values.nbytes + CACHE_LINE, np.uint8)
    first = -raw.ctypes.data % CACHE_LINE
    copy = raw[first : first + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy
