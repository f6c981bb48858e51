"""Compiled code that is kept from one process to the next: object files in a folder of the user's.

The folder is ``NUMBA_CACHE_DIR/pvae-neuro`` where that variable is set, else
``XDG_CACHE_HOME/pvae-neuro``, else ``~/.cache/pvae-neuro``. A file holds a checksum and the code;
one that is damaged is made anew. Files appear whole or not at all, so that processes share the
folder.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

from pvae_neuro.errors import PvaeNeuroWarning

MOST_FILES = 500
"""Files that are kept; beyond these the oldest half is removed."""
_CHECKSUM_BYTES = sha256().digest_size
_NO_FOLDER = (
    "engines: there is no folder that compiled code can be kept in, so it is compiled anew "
    "in every process; set NUMBA_CACHE_DIR to one that can be written"
)


def folder() -> Path | None:
    """Where compiled code is kept; None where no variable says it and there is no home."""
    named = (os.environ.get(variable, "") for variable in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"))
    for base in (*named, os.path.expanduser("~/.cache")):  # noqa: PTH111 - Path's may fail.
        # A relative path would mean another folder in every process.
        if Path(base).is_absolute():
            return Path(base, "pvae-neuro")
    return None


def kept(key: str, make: Callable[[], bytes]) -> bytes:
    """Return the code of this key, read or made; warn once where it cannot be kept.

    Parameters
    ----------
    key : str
        Hexadecimal digest of all that the code depends on.
    make : callable
        Compiles it.
    """
    where = folder()
    if where is None:
        _warn_once()
        return make()
    path = where / f"{key}.o"
    code = _read(path)
    if code is None:
        code = make()
        try:
            _write(path, sha256(code).digest() + code)
        except OSError:
            _warn_once()
    return code


def _read(path: Path) -> bytes | None:
    """Code of a file; None where there is none, or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    code = content[_CHECKSUM_BYTES:]
    return code if sha256(code).digest() == content[:_CHECKSUM_BYTES] else None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink()
        raise
    _make_room(path.parent)


def _make_room(where: Path) -> None:
    """Remove the oldest files where there are too many; others may remove them at the same time."""
    with suppress(OSError):
        files = list(where.iterdir())
        if len(files) > MOST_FILES:
            for old in sorted(files, key=lambda file: file.stat().st_mtime)[: MOST_FILES // 2]:
                old.unlink()


@cache
def _warn_once() -> None:
    """Python's own memory of warnings does not last: other libraries reset it."""
    warnings.warn(_NO_FOLDER, PvaeNeuroWarning, stacklevel=1)
