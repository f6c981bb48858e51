"""Values in messages, and objects in a line."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

_SHOWN = 60
_LONGEST_REPR = 200


def show(value: Any) -> str:
    """Short, printable form of a value for a message: one line, never an array's values."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name} {list(value.shape)}"
    if type(value) is int and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    try:
        text = ascii(value)
    except Exception:  # An object of another package, or a tuple of numbers too long to print.
        text = f"an object of type {kind}"
    text = " ".join(text.split())  # Tensors print in lines.
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def short_repr(instance: Any) -> str:
    """``repr`` of a dataclass or a pydantic model in one line: arrays by their types and shapes.

    A class takes it by ``__repr__ = short_repr``. Fields at their defaults are left out.
    """
    name = type(instance).__name__
    said = [
        f"{field}={show(value)}"
        for field, default in _defaults(type(instance)).items()
        if not _is_default(value := getattr(instance, field), default)
    ]
    return in_a_line(f"{name}({', '.join(said)})")


def in_a_line(text: str) -> str:
    """A form of an object, with its end kept and its middle cut where it is long."""
    end = f"...{text[-1]}"
    return text if len(text) <= _LONGEST_REPR else text[: _LONGEST_REPR - len(end)] + end


def _defaults(kind: Any) -> dict[str, Any]:
    """Fields of a class, and their defaults."""
    if is_dataclass(kind):
        return {field.name: field.default for field in fields(kind) if field.repr}
    known = kind.model_fields.items()
    return {name: field.get_default(call_default_factory=True) for name, field in known}


def _is_default(value: Any, default: Any) -> bool:
    return type(value) is type(default) and not isinstance(value, np.ndarray) and value == default
