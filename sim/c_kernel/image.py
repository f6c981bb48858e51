"""A linked program for a 32-bit processor: what of its ELF file an emulator needs."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

_LOAD, _SYMBOLS, _FUNCTION = 1, 2, 2
_ALLOCATED, _EXECUTABLE, _WRITABLE = 2, 4, 1
_NO_BITS = 8


@dataclass(frozen=True)
class Symbol:
    """A function or an array.

    Attributes
    ----------
    name : str
    address, size : int
    is_function : bool
    """

    name: str
    address: int
    size: int
    is_function: bool


@dataclass(frozen=True)
class Image:
    """An ELF file of 32 bits, low bytes first.

    Attributes
    ----------
    file : bytes
    """

    file: bytes

    @cached_property
    def segments(self) -> tuple[tuple[int, bytes, int], ...]:
        """Parts to load: address, content, and size in memory, of which the rest is 0."""
        start, size, count = self._table(28, 42)
        found = []
        for place in range(start, start + size * count, size):
            kind, offset, address, _, in_file, in_memory = struct.unpack_from(
                "<6I", self.file, place
            )
            if kind == _LOAD and in_memory:
                found.append((address, self.file[offset : offset + in_file], in_memory))
        return tuple(found)

    @cached_property
    def symbols(self) -> dict[str, Symbol]:
        """Functions and arrays by name."""
        found = {}
        for kind, _, _, offset, size, link in self._sections:
            if kind != _SYMBOLS:
                continue
            texts = self._sections[link][3]
            for place in range(offset, offset + size, 16):
                name, value, length, info, _, section = struct.unpack_from(
                    "<3I2BH", self.file, place
                )
                if section and info & 15 in (1, _FUNCTION):
                    is_function = info & 15 == _FUNCTION
                    end = self.file.index(b"\0", texts + name)
                    text = self.file[texts + name : end].decode()
                    # The lowest bit of a function's address says that it is Thumb code.
                    address = value & ~1 if is_function and self.is_arm else value
                    found[text] = Symbol(text, address, length, is_function)
        return found

    @property
    def is_arm(self) -> bool:
        """Whether the code is for ARM."""
        return bool(struct.unpack_from("<H", self.file, 18)[0] == 40)

    @property
    def code_bytes(self) -> int:
        """Bytes of instructions."""
        return sum(s[4] for s in self._sections if s[1] & _EXECUTABLE)

    @property
    def constant_bytes(self) -> int:
        """Bytes that the code reads and never writes, such as weights that are linked in."""
        return sum(
            s[4] for s in self._sections
            if s[1] & _ALLOCATED and not s[1] & (_EXECUTABLE | _WRITABLE)
        )  # fmt: skip

    @property
    def variable_bytes(self) -> int:
        """Bytes that the code may write."""
        return sum(s[4] for s in self._sections if s[1] & _ALLOCATED and s[1] & _WRITABLE)

    @cached_property
    def _sections(self) -> list[tuple[int, int, int, int, int, int]]:
        """Kind, flags, address, offset, size and link of each section."""
        start, size, count = self._table(32, 46)
        found = []
        for place in range(start, start + size * count, size):
            _, kind, flags, address, offset, length, link = struct.unpack_from(
                "<7I", self.file, place
            )
            found.append((kind, flags, address, offset, length, link))
        return found

    def _table(self, offset: int, sizes: int) -> tuple[int, int, int]:
        (start,) = struct.unpack_from("<I", self.file, offset)
        size, count = struct.unpack_from("<2H", self.file, sizes)
        return start, size, count
