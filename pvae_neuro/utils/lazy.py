"""Packages that load their names at first use, so that importing them imports no dependency."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any


def homes(file: str) -> dict[str, str]:
    """Where the names of a package live, by name: module, as its stub says.

    The stub, ``__init__.pyi`` beside ``file``, is the one list of the names. Type checkers read it,
    and so does this function. It holds lines ``from module import Name as Name``.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text("utf-8"))
    return {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }


def load(package: str, name: str, found: dict[str, str]) -> Any:
    """Import a name from its home; raise :class:`AttributeError` if the package has none of it."""
    if name not in found:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(import_module(found[name]), name)
