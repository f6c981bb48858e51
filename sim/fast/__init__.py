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
        from numba import config

        from pvae_neuro.sim.fast.engine import FastEngine
    except ImportError as error:
        raise _unavailable(
            f"expected numba, got {error}; pip install 'pvae-neuro[fast]'"
        ) from error
    # numba reads its variables when it is imported, and does not take every value.
    except Exception as error:
        raise _unavailable(f"numba cannot start: {error}; see its variables NUMBA_...") from error
    if config.DISABLE_JIT:
        raise _unavailable("numba's compiler is off; unset NUMBA_DISABLE_JIT")
    return FastEngine


def _unavailable(reason: str) -> EngineUnavailableError:
    return EngineUnavailableError(
        f"engine fast: {reason}. The engine 'reference' gives the same integers"
    )
