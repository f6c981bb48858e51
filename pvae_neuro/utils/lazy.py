"""Packages that load their names at first use, so that importing them imports no dependency."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from pvae_neuro.errors import MissingDependencyError
from pvae_neuro.utils.optional import missing


def homes(file: str) -> dict[str, str]:
    """Where the names of a package live, by name: module, as its stub says.

    The stub, ``__init__.pyi`` beside ``file``, is the one list of the names. Type checkers read it,
    and so does this function. It holds lines ``from module import Name as Name``, where the module
    is the package itself for a module within it.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text("utf-8"))
    return {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }


def load(module: ModuleType, name: str, found: dict[str, str]) -> Any:
    """Import a name of a package from its home, and keep it there.

    Where an optional dependency is missing it is an :class:`Unavailable`, which is not kept: the
    dependency may be installed while the process runs.

    Raises
    ------
    AttributeError
        If the package has no such name.
    """
    if name not in found:
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
    try:
        value = _loaded(found[name], name, module.__name__)
    except ImportError as error:
        reason = missing(error, f"{module.__name__}.{name}")
        if reason is None:
            raise
        return Unavailable(reason)
    setattr(module, name, value)
    return value


def _loaded(home: str, name: str, package: str) -> Any:
    # What a package lists as its own is a module within it.
    if home == package:
        return import_module(f"{package}.{name}")
    return getattr(import_module(home), name)


class Unavailable:
    """A public name that needs a dependency which is not installed.

    It can be looked at (``help``, completion, ``repr``); every use raises
    :class:`~pvae_neuro.errors.MissingDependencyError`, which says what to install.
    """

    def __init__(self, reason: MissingDependencyError) -> None:
        self._reason = reason
        self.__doc__ = f"Not available here. {reason}."

    def __repr__(self) -> str:
        return f"<not available: {self._reason}>"

    def _refuse(self, *arguments: Any, **options: Any) -> NoReturn:
        # A new one each time: a raised exception collects tracebacks.
        raise type(self._reason)(str(self._reason))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            # help() and others that inspect an object ask for such names, and expect this error.
            raise AttributeError(name)
        self._refuse()

    # Called, subclassed, asked for instances or subclasses, given type arguments, joined to a type.
    __call__ = __mro_entries__ = __instancecheck__ = __subclasscheck__ = _refuse
    __getitem__ = __or__ = __ror__ = _refuse
