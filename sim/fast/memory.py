"""What compiled functions find in memory: addresses of arrays, and the room of a group.

Functions take bare addresses; Python keeps the arrays alive while one runs.
"""

from __future__ import annotations

import ctypes
from typing import Any

from numpy.typing import NDArray

_Nothing = ctypes.c_char * 0
# Where the numbers of a command's room are. Addresses: of a sample's cells and of the group's, of
# random words, of work space for draws, for digits of values and for parts of sums.
CELLS, GROUP, RAW, BUCKET, DIGIT, PART = range(6)
# Bytes from one sample's cells to the next; samples; seed, step and sample of the noise.
STRIDE, ROWS, SEED, STEP, SAMPLE = range(6, 11)
ROOM_SIZE = 11


def address(array: NDArray[Any]) -> int:
    """Address of a C-ordered array's first value."""
    if array.flags.writeable:
        # A third of the time of `array.ctypes.data`.
        buffer: Any = array
        return ctypes.addressof(_Nothing.from_buffer(buffer))
    return int(array.ctypes.data)
