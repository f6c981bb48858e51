"""Optional dependencies: import one, or say what is missing and how to install it."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from pvae_neuro.errors import MissingDependencyError


def require(module: str, extra: str, why: str) -> ModuleType:
    """Import a module of an optional dependency.

    Parameters
    ----------
    module : str
        Such as ``jinja2`` or ``matplotlib.figure``.
    extra : str
        The extra of this package that installs it, such as ``report``.
    why : str
        What needs it; begins the message.

    Raises
    ------
    MissingDependencyError
        If it cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{why}: expected {module.partition('.')[0]} to be installed, got {error}; install it "
            f"with pip install 'pvae-neuro[{extra}]'"
        ) from error
