"""Write a folder of texts whole or not at all, and lose no file of anybody else's."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from pvae_neuro.errors import InputError
from pvae_neuro.utils.paths import user_path


def write_folder(
    folder: str | os.PathLike[str], files: Mapping[str, str], may_go: Collection[str] = ()
) -> Path:
    """Write texts by name into a folder; it appears, or changes, whole or not at all.

    Parameters
    ----------
    folder : path-like
        New, empty, or a folder that holds nothing but names of ``may_go``. It is replaced then.
    files : mapping of str to str
        Texts by path within the folder.
    may_go : collection of str
        Paths of an earlier call's files, and of what is built from them.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If there is something else in its place, or it cannot be written; nothing is changed.
    """
    target = Path(os.path.realpath(user_path(folder)))
    check_folder_target(target, may_go)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that a rename moves it into place.
        with tempfile.TemporaryDirectory(prefix=".pvae-neuro-", dir=target.parent) as scratch:
            new, old = Path(scratch, "new"), Path(scratch, "old")
            for name, text in files.items():
                path = new / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            if target.exists():
                shutil.copymode(target, new)
                target.rename(old)
            try:
                new.rename(target)
            except BaseException:  # An interrupt too.
                if old.exists():
                    old.rename(target)
                raise
    except OSError as error:
        raise InputError(
            f"cannot write the folder {target}: {error.strerror or error}; choose another one"
        ) from error
    return target


def check_folder_target(folder: str | os.PathLike[str], may_go: Collection[str] = ()) -> None:
    """Raise :class:`InputError` where :func:`write_folder` would lose something."""
    target = Path(os.path.realpath(user_path(folder)))
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target}: is a file; expected the name of a folder to write")
    files = (p for p in target.rglob("*") if p.is_symlink() or not p.is_dir())
    found = (p.relative_to(target).as_posix() for p in files)
    other = next((name for name in found if name not in may_go), None)
    if other is not None:
        raise InputError(
            f"{target}: holds {other!r}, which would be lost; expected a new or an empty folder, "
            f"or one that an earlier call wrote and that nothing was added to"
        )
