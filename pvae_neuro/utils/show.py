"""Values in messages."""

from __future__ import annotations

from typing import Any

import numpy as np

_SHOWN = 60


def show(value: Any) -> str:
    """Short, printable form of a value for a message: one line, never an array's values."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name} {list(value.shape)}"
    if type(value) is int and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    try:
        text = ascii(value)
    except Exception:  # A stranger's object, or a tuple of numbers too long to print.
        text = f"an object of type {kind}"
    text = " ".join(text.split())  # Tensors print in lines.
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
