"""Where a report comes from: date, command, versions, machine, and hashes of what went in."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError, MissingDependencyError
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import engine_packages
from pvae_neuro.utils.digest import digest, file_sha256

ALWAYS = ("pvae-neuro", "numpy", "onnx")


@dataclass(frozen=True)
class SourceFile:
    """A file that went in.

    Attributes
    ----------
    name : str
        What it is, such as "model".
    path : str
        As it was given.
    sha256 : str
        What ``sha256sum`` prints; empty for a folder or a pipe.
    """

    name: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Where a report comes from.

    Attributes
    ----------
    date : str
        UTC, to the second.
    command : str
        As typed; empty where Python was called.
    python, machine : str
    versions : dict of str to str
        Of this package and of those that computed.
    files : tuple of SourceFile
    """

    date: str
    command: str
    python: str
    machine: str
    versions: dict[str, str]
    files: tuple[SourceFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def provenance(
    engines: Iterable[str] = (),
    *,
    command: str = "",
    files: Mapping[str, str | os.PathLike[str]] | None = None,
) -> Provenance:
    """Gather where a report made now comes from.

    Parameters
    ----------
    engines : iterable of str
        Names of the engines that ran.
    command : str
    files : dict of str to path-like, optional
        What went in, by what it is.
    """
    return Provenance(
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC"),
        command=command,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        versions=_versions(engines),
        files=tuple(
            SourceFile(
                name, os.fspath(path), file_sha256(Path(path)) if Path(path).is_file() else ""
            )
            for name, path in (files or {}).items()
        ),
    )


def content_hashes(model: SavedModel | None, images: NDArray[np.floating[Any]]) -> dict[str, str]:
    """SHA-256 of what a verification was given, by what it is; files do not enter."""
    found = {"images, values as float32": digest(images.astype(np.float32))}
    if model is not None:
        arrays = [part for name in sorted(model.arrays) for part in (name, model.arrays[name])]
        found["model, settings and arrays"] = digest(model.config.model_dump_json(), *arrays)
    return found


def _versions(engines: Iterable[str]) -> dict[str, str]:
    packages = [*ALWAYS, *(package for name in engines for package in _packages(name))]
    found = {}
    for package in dict.fromkeys(packages):
        # Something that is missing here ran elsewhere, or is a build under another name.
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _packages(engine: str) -> tuple[str, ...]:
    with suppress(InputError, MissingDependencyError):
        return engine_packages(engine)
    return ()
