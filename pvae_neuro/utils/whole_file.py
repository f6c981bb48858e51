"""Files on a disk, which end: reading a pipe or a device may wait or go on for ever."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import require_memory

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def check_regular(path: Path) -> None:
    """Refuse what is there and is no file on a disk, with :class:`InputError`."""
    if path.exists():
        _check_kind(path.stat(), path, "a file on a disk")


def read_whole(path: str | os.PathLike[str], expected: str, copies: int = 2) -> bytes:
    """Bytes of a file on a disk, under the limit of memory.

    Parameters
    ----------
    path : str or path-like
        The file; links are followed.
    expected : str
        What it should be; part of every message.
    copies : int
        How many times its size is needed in memory until it is decoded.

    Raises
    ------
    InputError
        If there is no such file, it is a folder, a pipe or a device, it needs more memory than the
        limit, or it cannot be read.
    """
    try:
        # Without waiting for a writer, where the path is a pipe.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected {expected}") from None
    except (OSError, ValueError) as error:  # A null character in a name is a ValueError.
        raise _unreadable(path, error) from error
    try:
        found = os.fstat(handle)
        _check_kind(found, path, f"{expected}, a file on a disk")
        require_memory(found.st_size * copies, str(path))
        with open(handle, "rb", closefd=False) as file:
            # One byte more shows a file that grows, possibly without end.
            data = file.read(found.st_size + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(handle)
    if len(data) != found.st_size:
        raise InputError(
            f"{path}: changed from {found.st_size} bytes while it was read; wait until it is "
            f"written whole"
        )
    return data


def _check_kind(found: os.stat_result, path: str | os.PathLike[str], expected: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no regular file")
        raise InputError(f"{path}: is {kind}; expected {expected}")


def _unreadable(path: str | os.PathLike[str], error: Exception) -> InputError:
    return InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}")
