"""Compiled, batched engine: event-driven where counts travel, dense where errors do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvae_neuro.errors import EngineUnavailableError

if TYPE_CHECKING:
    from pvae_neuro.sim.fast.engine import FastEngine as FastEngine

__all__ = ["FastEngine"]


def __getattr__(name: str) -> Any:
    if name != "FastEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from pvae_neuro.sim.fast.engine import FastEngine
    except ImportError as error:
        raise _unavailable(error) from error
    return FastEngine


def _unavailable(error: ImportError) -> EngineUnavailableError:
    return EngineUnavailableError(
        f"engine fast: expected llvmlite, got {error}; pip install 'pvae-neuro[fast]'. The engine "
        f"'reference' gives the same integers"
    )
