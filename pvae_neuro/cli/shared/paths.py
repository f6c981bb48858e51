"""Paths that were typed: what a verb does with each, and that no output replaces an input.

An option or argument says its role in its annotation, as in ``Annotated[Path, typer.Option(...),
WRITES]``. A path without a role is read. Before a verb starts, ``~`` is expanded in all of them,
and what it would write is compared with what it reads.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pvae_neuro.cli.shared.streams import ClosedOutput
from pvae_neuro.errors import InputError
from pvae_neuro.utils.files import check_folder, check_target
from pvae_neuro.utils.paths import user_path

STANDARD_OUTPUT = Path("-")
# Of files that hold models and data: JSON of such a name is a slip.
_NO_JSON = {".safetensors", ".onnx", ".npz", ".npy", ".ckpt", ".pt", ".pth", ".mat", ".gz"}


class Role(Enum):
    """What a verb does with a path."""

    READS = "reads a file, or every file of a folder"
    WRITES = "writes a file"
    PRINTS = "writes a file, or standard output for -"
    FOLDER = "writes files into a folder"
    PLACE = "looks for files in a folder"


READS, WRITES, PRINTS, FOLDER, PLACE = Role


def roles(verb: Callable[..., object]) -> dict[str, Role]:
    """Roles of a verb's parameters; those that are no paths are left out."""
    found = {}
    for name, parameter in inspect.signature(verb, eval_str=True).parameters.items():
        hint = parameter.annotation
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        said = next((note for note in notes if isinstance(note, Role)), None)
        if said is not None:
            found[name] = said
        elif kind is Path or Path in get_args(kind):
            found[name] = READS
    return found


def prepare(known: dict[str, Role], arguments: dict[str, Any]) -> list[Path]:
    """Expand ``~`` in the paths among a verb's arguments, and check what it would write.

    Returns
    -------
    list of Path
        The files that it would write.

    Raises
    ------
    InputError
        If an output cannot be written, or is an input or another output, or there is no folder to
        look for files in.
    """
    for name in known:
        if arguments.get(name) is not None:
            arguments[name] = expand(arguments[name])
    by_role: dict[Role, list[Path]] = {role: [] for role in Role}
    for name, role in known.items():
        if arguments.get(name) is not None:
            by_role[role].append(Path(arguments[name]))
    for path in by_role[PRINTS]:
        if path == STANDARD_OUTPUT and isinstance(sys.stdout, ClosedOutput):
            raise InputError("-: standard output is closed; give the name of a file")
    if STANDARD_OUTPUT in by_role[WRITES]:
        raise InputError("-: expected the name of a file; only --json writes to standard output")
    printed = [path for path in by_role[PRINTS] if path != STANDARD_OUTPUT]
    files = by_role[WRITES] + printed
    check_outputs(*files, inputs=by_role[READS])
    for path in printed:
        if path.suffix.lower() in _NO_JSON and path.exists():
            raise InputError(
                f"{path}: exists, and is no JSON file by its name; write the JSON to another file"
            )
    for folder in by_role[FOLDER]:
        check_folder(folder)
    for folder in by_role[PLACE]:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected the one that holds data sets")
    return files


def expand(path: str | Path) -> str | Path:
    """The path, of its own type, with ``~`` or ``~user`` at its beginning expanded.

    Raises
    ------
    InputError
        If there is no such user or home folder, or the text cannot be a path.
    """
    return type(path)(user_path(path))


def check_outputs(*outputs: Path | None, inputs: Iterable[Path | str] = ()) -> None:
    """Refuse files that cannot be written, or that are an input or another output.

    Links, hard links, ``..`` and other spellings of one file count as that file. ``-`` and None
    pass.

    Raises
    ------
    InputError
    """
    targets = [path for path in outputs if path is not None and path != STANDARD_OUTPUT]
    sources = [Path(source) for source in inputs]
    for place, path in enumerate(targets):
        check_target(path)
        for source in sources:
            if _same(path, source):
                raise InputError(
                    f"{path}: is an input of this command ({source}), which would be lost; "
                    f"write to another file"
                )
            if path.exists() and source.is_dir() and _below(path, source):
                raise InputError(
                    f"{path}: lies in the folder {source}, which this command reads, and exists "
                    f"there; write to another file"
                )
        for other in targets[:place]:
            if _collide(path, other):
                raise InputError(
                    f"{path}: is another output of this command too ({other}); write each to a "
                    f"file of its own"
                )
        if _is_standard(path):
            raise InputError(
                f"{path}: is the file that the output or errors of this command are written to; "
                f"write to another file"
            )


def check_apart(folders: Mapping[str, Path | None], files: Mapping[str, Path | None]) -> None:
    """Refuse folders, each written as a whole, that would hold another output or lie in one.

    Parameters
    ----------
    folders, files : mapping of str to Path or None
        By option. ``-`` and None pass.

    Raises
    ------
    InputError
    """
    places = {**folders, **files}
    given = [(k, p) for k, p in places.items() if p is not None and p != STANDARD_OUTPUT]
    for (one, first), (other, second) in combinations(given, 2):
        a, b = (Path(os.path.realpath(path)) for path in (first, second))
        if one in folders and (a == b or a in b.parents or b in a.parents):
            raise InputError(
                f"{one} and {other}: expected places apart, got {first} and {second}; a folder is "
                f"written as a whole"
            )


def _same(one: Path, other: Path) -> bool:
    """Whether two paths name one file, which content can be lost of; a device is none."""
    try:
        return one.samefile(other) and (one.is_file() or one.is_dir())
    except OSError:
        return False


def _collide(one: Path, other: Path) -> bool:
    """Whether two paths name one file, be it there yet or not."""
    return _same(one, other) or (
        not one.exists() and os.path.realpath(one) == os.path.realpath(other)
    )


def _below(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def _is_standard(path: Path) -> bool:
    if not path.is_file():
        return False
    here = path.stat()
    for stream in (1, 2):
        try:
            if os.path.samestat(here, os.fstat(stream)):
                return True
        except OSError:
            continue  # It is closed.
    return False
