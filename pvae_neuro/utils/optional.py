"""Optional dependencies: import one, or say what is missing and how to install it."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from pvae_neuro.errors import MissingDependencyError

# The extra of this package that installs a module.
EXTRAS = {
    "torch": "train",
    "numba": "train",
    "torchvision": "train",
    "scipy": "train",
    "PIL": "train",
    "tensorboard": "train",
    "matplotlib": "report",
    "jinja2": "report",
    "onnxruntime": "onnx-runtime",
    "lava": "lava",
    "llvmlite": "fast",
    "dask": "cluster",
    "distributed": "cluster",
    "sklearn": "experiments",
    "unicorn": "emulate",
}


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
        raise _error(module, extra, why, error) from error


def missing(error: ImportError, why: str) -> MissingDependencyError | None:
    """What an import that failed lacks, for ``why``; None where it is no optional dependency."""
    if isinstance(error, MissingDependencyError):
        return error
    module = (error.name or "").partition(".")[0]
    return _error(module, EXTRAS[module], why, error) if module in EXTRAS else None


def _error(module: str, extra: str, why: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"{why}: expected {module.partition('.')[0]} to be installed, got {error}; install it "
        f"with pip install 'pvae-neuro[{extra}]'"
    )
