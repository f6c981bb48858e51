"""Write a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pvae_neuro.errors import InputError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it is renamed to ``path`` if the block succeeds.

    Both lie in one folder, so that the rename is atomic: a reader, or a process killed at any
    moment, finds the old file or the new one, never a part. Missing folders are created. The
    temporary name keeps the suffix, for writers that choose their format by it.

    Raises :class:`InputError` if the file cannot be written (no permission, disk full). Any other
    exception of the block passes through. Either way nothing is left behind.
    """
    target = Path(path)
    temporary = _reserve(target)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _reserve(target: Path) -> Path:
    """Create the empty temporary file, with the permissions that a plain ``open`` would give."""
    if target.is_dir():
        raise InputError(f"{target}: is a folder; expected the name of a file to write")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
        )
        os.fchmod(handle, 0o666 & ~_umask())
        os.close(handle)
    except OSError as error:
        raise _cannot_write(target, error) from error
    return Path(name)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot_write(target: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(
        f"cannot write {target}: {reason}; nothing was left behind. "
        f"Free some space, or choose a folder that you may write to"
    )
