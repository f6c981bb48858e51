"""The one table of bounds: every field of a network states its type and range where it is declared.

A field is declared as ``width: int = bounded(Whole(2, 24))``. :func:`faults` checks an object and
all that it holds against these declarations and yields one message a fault; the file format is
read and written by them too. So a network that was built, loaded or made up by a stranger passes
the same check, and nothing else needs to repeat it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from pvae_neuro.utils.show import show

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class Whole:
    """A Python integer within bounds, both inclusive; no boolean, no NumPy scalar, no float."""

    low: int
    high: int

    def faults(self, value: Any, path: str) -> Iterator[str]:
        """Yield a message if the value does not fit."""
        if type(value) is not int:
            yield f"{path}: expected a whole number, got {show(value)}"
        elif not self.low <= value <= self.high:
            yield f"{path}: expected {self.low} to {self.high}, got {show(value)}"


@dataclass(frozen=True)
class Flag:
    """True or False."""

    def faults(self, value: Any, path: str) -> Iterator[str]:
        """Yield a message if the value does not fit."""
        if type(value) is not bool:
            yield f"{path}: expected true or false, got {show(value)}"


@dataclass(frozen=True)
class Real:
    """A finite Python float or integer within bounds."""

    low: float = -1e30
    high: float = 1e30

    def faults(self, value: Any, path: str) -> Iterator[str]:
        """Yield a message if the value does not fit."""
        if type(value) not in (int, float):
            yield f"{path}: expected a number, got {show(value)}"
        elif not self.low <= value <= self.high:  # Not-a-number lies within no bounds.
            yield f"{path}: expected {self.low:g} to {self.high:g}, got {show(value)}"


@dataclass(frozen=True)
class Name:
    """A name: a letter or underscore, then letters, digits, ``_`` and ``-``; at most 64."""

    def faults(self, value: Any, path: str) -> Iterator[str]:
        """Yield a message if the value does not fit."""
        if type(value) is not str or not _NAME.fullmatch(value):
            yield f"{path}: expected a name of letters, digits, '_', '-', got {show(value)}"


@dataclass(frozen=True)
class Reference(Name):
    """A name, or one of the literals ``0`` and ``1``."""

    def faults(self, value: Any, path: str) -> Iterator[str]:
        """Yield a message if the value does not fit."""
        if type(value) is not str or value not in ("0", "1"):
            yield from super().faults(value, path)


@dataclass(frozen=True)
class Text:
    """A line of text without control characters."""

    longest: int = 1000

    def faults(self, value: Any, path: str) -> Iterator[str]:
        """Yield a message if the value does not fit."""
        if type(value) is not str:
            yield f"{path}: expected text, got {show(value)}"
        elif len(value) > self.longest:
            yield f"{path}: expected at most {self.longest} characters, got {len(value)}"
        elif not value.isprintable():
            yield f"{path}: expected text without control characters, got {show(value)}"


@dataclass(frozen=True)
class Array:
    """A NumPy array of one type, so many dimensions and bounded values."""

    dtype: str
    dimensions: int
    low: int | None = None
    high: int | None = None
    largest_size: int = 1 << 28

    def faults(self, value: Any, path: str) -> Iterator[str]:
        """Yield a message if the value does not fit."""
        if not isinstance(value, np.ndarray) or value.dtype != self.dtype:
            got = str(value.dtype) if isinstance(value, np.ndarray) else show(value)
            yield f"{path}: expected an array of {self.dtype}, got {got}"
        elif value.ndim != self.dimensions or not 1 <= value.size <= self.largest_size:
            yield (
                f"{path}: expected {self.dimensions} dimensions and 1 to {self.largest_size} "
                f"values, got shape {list(value.shape)}"
            )
        else:
            yield from self._value_faults(value, path)

    def _value_faults(self, value: Any, path: str) -> Iterator[str]:
        low, high = int(value.min()), int(value.max())
        if (self.low is not None and low < self.low) or (
            self.high is not None and high > self.high
        ):
            yield f"{path}: expected values in [{self.low}, {self.high}], got [{low}, {high}]"


@dataclass(frozen=True)
class Items:
    """A tuple of bounded values or of objects of one class (with its registered kinds)."""

    kind: Any
    most: int
    least: int = 0

    def faults(self, value: Any, path: str) -> Iterator[str]:
        """Yield a message for each item that does not fit."""
        if type(value) is not tuple:
            yield f"{path}: expected a tuple, got {show(value)}"
            return
        if not self.least <= len(value) <= self.most:
            yield f"{path}: expected {self.least} to {self.most} items, got {len(value)}"
            return
        for number, item in enumerate(value):
            yield from Part(self.kind).faults(item, f"{path}[{number}]")


@dataclass(frozen=True)
class Part:
    """An object of a class whose own fields are bounded, or a bounded value."""

    kind: Any

    def faults(self, value: Any, path: str) -> Iterator[str]:
        """Yield a message for each field that does not fit."""
        if not isinstance(self.kind, type):
            yield from self.kind.faults(value, path)
        elif not isinstance(value, self.kind):
            yield f"{path}: expected {self.kind.__name__}, got {show(value)}"
        else:
            yield from faults(value, path)


@dataclass(frozen=True)
class Optional:
    """None, or a bounded value."""

    kind: Any

    def faults(self, value: Any, path: str) -> Iterator[str]:
        """Yield a message if the value does not fit."""
        if value is not None:
            yield from Part(self.kind).faults(value, path)


def bounded(bound: Any, *, later: bool = False, **options: Any) -> Any:
    """Declare a dataclass field with its bound; ``options`` are those of ``dataclasses.field``.

    A field that came ``later`` than the format of files is not written where it has its default,
    so that files and hashes of networks that do not use it stay what they were.
    """
    return field(metadata={"bound": bound, "later": later}, **options)


def bound_of(declared: Any) -> Any:
    """The bound of a dataclass field."""
    return declared.metadata["bound"]


def came_later(declared: Any) -> bool:
    """Whether a dataclass field may be missing from a file."""
    return bool(declared.metadata["later"])


def faults(value: Any, path: str) -> Iterator[str]:
    """Yield one message for each field of an object, and of all that it holds, out of bounds.

    An object whose class has a method ``faults(path)`` is asked for what no single field shows,
    once all its fields are sound. Items are called by their names where they have one.
    """
    name = getattr(value, "name", None)
    if isinstance(name, str) and "[" in path and _NAME.fullmatch(name):
        path = f"{path[: path.rindex('[')]}[{name}]"
    found = False
    for declared in fields(value):
        for fault in bound_of(declared).faults(
            getattr(value, declared.name), f"{path}.{declared.name}"
        ):
            found = True
            yield fault
    if not found and hasattr(value, "faults"):
        yield from value.faults(path)
