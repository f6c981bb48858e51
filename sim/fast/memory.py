"""What compiled functions find in memory: addresses of arrays, and the room of a group.

Functions take bare addresses; Python keeps the arrays alive while one runs.
"""

from __future__ import annotations

import ctypes
from typing import Any

from numpy.typing import NDArray

_Nothing = ctypes.c_char * 0
# Where the numbers of a command's room are; all but the last three are addresses.
CELLS, RAW, BUCKET, FIRES, ROW, DIGIT, PART, RING, SEED, STEP, SAMPLE = range(11)
GROUP, STRIDE, ROWS = range(11, 14)
ROOM_SIZE = 14


def address(array: NDArray[Any]) -> int:
    """Address of a C-ordered array's first value."""
    if array.flags.writeable:
        # A third of the time of `array.ctypes.data`.
        buffer: Any = array
        return ctypes.addressof(_Nothing.from_buffer(buffer))
    return int(array.ctypes.data)
