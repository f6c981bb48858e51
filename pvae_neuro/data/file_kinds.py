"""Files of arrays: which reader takes a file, by the ending of its name, or by how it begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pvae_neuro.data.contents import Contents, Request
from pvae_neuro.data.events import EVENT_ENDING, read_event_file
from pvae_neuro.data.idx import IDX_ENDINGS, read_idx_file
from pvae_neuro.data.matlab import read_mat_file
from pvae_neuro.data.numpy_files import read_npy_file, read_npz_file
from pvae_neuro.data.text import TEXT_ENDING, WINDOWED, read_text_file

Read = Callable[[Path, Request], Contents]


@dataclass(frozen=True)
class FileKind:
    """A kind of file."""

    endings: tuple[str, ...]
    """Of names in lower case."""

    read: Read

    heeds: frozenset[str] = frozenset()
    """Options that it has a use for, of those that not every source has."""

    start: bytes | None = None
    """How files of this kind begin, if that is enough to know them, whatever their name."""


FILE_KINDS = (
    FileKind((".npy",), read_npy_file, frozenset({"layout"}), b"\x93NUMPY"),
    FileKind((".npz",), read_npz_file, frozenset({"key", "layout"}), b"PK\x03\x04"),
    FileKind((".mat",), read_mat_file, frozenset({"key", "layout"})),
    FileKind(IDX_ENDINGS, read_idx_file, frozenset({"layout"})),
    FileKind((EVENT_ENDING,), read_event_file),
    FileKind((TEXT_ENDING,), read_text_file, WINDOWED),
)


def file_kind(path: Path) -> FileKind | None:
    """The kind of a file; None if no reader takes it, and for folders."""
    if path.is_dir():
        return None
    name = path.name.lower()
    named = next((kind for kind in FILE_KINDS if name.endswith(kind.endings)), None)
    if named is not None or not path.is_file():
        return named
    with path.open("rb") as file:
        start = file.read(8)
    return next((kind for kind in FILE_KINDS if kind.start and start.startswith(kind.start)), None)
