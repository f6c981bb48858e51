"""Files that end: reading a FIFO or a device may wait or go on for ever."""

from __future__ import annotations

from pathlib import Path

from pvae_neuro.errors import InputError


def check_regular(path: Path) -> None:
    """Refuse what is there and is no regular file, with :class:`InputError`."""
    if path.exists() and not path.is_file():
        kind = "folder" if path.is_dir() else "FIFO, socket or device"
        raise InputError(f"{path}: expected a regular file, got a {kind}; copy it to a file first")
