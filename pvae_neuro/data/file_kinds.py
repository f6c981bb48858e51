"""Files of images: which reader takes a file, by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pvae_neuro.data.contents import Contents, Request
from pvae_neuro.data.events import EVENT_ENDING, read_event_file
from pvae_neuro.data.idx import IDX_ENDINGS, read_idx_file
from pvae_neuro.data.matlab import read_mat_file
from pvae_neuro.data.numpy_files import read_npy_file, read_npz_file
from pvae_neuro.data.van_hateren import VAN_HATEREN_ENDINGS, read_van_hateren_file

Read = Callable[[Path, Request], Contents]


@dataclass(frozen=True)
class FileKind:
    """A kind of file."""

    endings: tuple[str, ...]
    """Of names in lower case."""

    read: Read

    heeds: frozenset[str] = frozenset()
    """Options that it has a use for, of those that not every source has."""


FILE_KINDS = (
    FileKind((".npy",), read_npy_file, frozenset({"layout"})),
    FileKind((".npz",), read_npz_file, frozenset({"key", "layout"})),
    FileKind((".mat",), read_mat_file, frozenset({"key", "layout"})),
    FileKind(IDX_ENDINGS, read_idx_file, frozenset({"layout"})),
    FileKind(VAN_HATEREN_ENDINGS, read_van_hateren_file),
    FileKind((EVENT_ENDING,), read_event_file),
)


def file_kind(path: Path) -> FileKind | None:
    """The kind of a file by its name; None if no reader takes it."""
    name = path.name.lower()
    return next((kind for kind in FILE_KINDS if name.endswith(kind.endings)), None)
