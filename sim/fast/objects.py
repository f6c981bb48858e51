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
    "engine fast: there is no folder that its compiled code can be kept in, so it is compiled anew "
    "in every process; set NUMBA_CACHE_DIR to one that can be written"
)


def folder() -> Path:
    """Where compiled code is kept."""
    for variable in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        # A relative path would mean another folder in every process.
        if Path(os.environ.get(variable, "")).is_absolute():
            return Path(os.environ[variable], "pvae-neuro")
    # ``Path.home`` fails where there is no home; this gives a path that nothing is found at.
    return Path(os.path.expanduser("~"), ".cache", "pvae-neuro")  # noqa: PTH111


def kept(key: str, make: Callable[[], bytes]) -> bytes:
    """Return the code of this key, read or made; warn once where it cannot be kept.

    Parameters
    ----------
    key : str
        Hexadecimal digest of all that the code depends on.
    make : callable
        Compiles it.
    """
    path = folder() / f"{key}.o"
    with suppress(OSError):
        content = path.read_bytes()
        code = content[_CHECKSUM_BYTES:]
        if sha256(code).digest() == content[:_CHECKSUM_BYTES]:
            return code
    code = make()
    try:
        _write(path, sha256(code).digest() + code)
    except OSError:
        _warn_once()
    return code


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
