"""Names of files that callers hand over."""

from __future__ import annotations

import os
from pathlib import Path

from pvae_neuro.errors import InputError


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as its writer means it: ``~`` or ``~user`` at its beginning is a home folder.

    Raises
    ------
    InputError
        If it is no text or path, is empty, holds a null character, or there is no such home.
    """
    written = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(written, str) or not written or "\0" in written:
        raise InputError(
            f"path: expected the name of a file or folder, as text or as a path, got "
            f"{repr(written)[:80]}"
        )
    path = Path(written)
    if not str(path).startswith("~"):
        return path
    if not written.startswith("~"):
        return path.absolute()  # ./~name is a file here; a path has dropped the dot.
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{written}: there is no home folder for {written.split('/')[0]}; write ./{written} "
            f"for a file of that name"
        ) from error
