"""Lava: the integer network as Lava Processes, and the engine that runs them.

Importing this package does not import Lava; :func:`build_lava` does, when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvae_neuro.sim.lava.build import LavaNetwork, build_lava

__all__ = ["LavaNetwork", "build_lava"]


def __getattr__(name: str) -> Any:
    """Load the part of this package that needs Lava."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pvae_neuro.sim.lava.available import require_lava

    require_lava()
    from pvae_neuro.sim.lava import build

    return getattr(build, name)
