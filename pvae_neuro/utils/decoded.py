"""Arrays that are decoded piece by piece, so that no more of them than a piece is in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Decode = Callable[[NDArray[Any]], NDArray[Any]]

ROWS_PER_PIECE = 1024


class Decoded:
    """An array [N, ...] that is computed of a stored one, rows by rows, when they are asked for.

    It has of an array's interface what reading rows in order needs: its shape, ``len``, slices of
    rows, another shape of each row, and conversion to an array.

    Parameters
    ----------
    stored : ndarray [N, ...]
        Such as a memory map.
    decode : callable
        Takes stored rows [B, ...] and returns what they mean, [B, *row].
    row : tuple of int
        Shape of a decoded row.
    """

    def __init__(self, stored: NDArray[Any], decode: Decode, row: tuple[int, ...]) -> None:
        self._stored, self._decode, self._row = stored, decode, row

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape as an array."""
        return (len(self._stored), *self._row)

    @property
    def ndim(self) -> int:
        """Number of its axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values."""
        return self[:0].dtype

    @property
    def size(self) -> int:
        """Number of its values."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        decoded = self._decode(self._stored[rows])
        return decoded.reshape(len(decoded), *self._row)

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it."""
        return np.asarray(self[:], dtype)

    def reshape(self, *shape: int) -> Rows:
        """Each row in another shape; decoded as a whole where their number changes."""
        if shape[0] == len(self) and math.prod(shape[1:]) == math.prod(self._row):
            return Decoded(self._stored, self._decode, shape[1:])
        return np.asarray(self).reshape(shape)

    def take(self, rows: slice) -> Decoded:
        """Some of the rows, still to be decoded."""
        # No longer a memory map by type: what is sent elsewhere is its rows alone.
        return Decoded(np.asarray(self._stored[rows]), self._decode, self._row)

    def then(self, function: Decode) -> Decoded:
        """What a function makes of the decoded rows, which keep their shape."""
        return Decoded(self._stored, lambda stored: function(self._decode(stored)), self._row)


Rows = NDArray[Any] | Decoded
"""An array, in memory or to be decoded."""


def rows_of(rows: Rows, taken: slice) -> Rows:
    """Some of the rows, as they are stored."""
    return rows.take(taken) if isinstance(rows, Decoded) else np.asarray(rows[taken])


def pieces(rows: Rows, size: int = ROWS_PER_PIECE) -> Iterator[NDArray[Any]]:
    """Yield so many rows at a time."""
    return (rows[first : first + size] for first in range(0, len(rows), size))
