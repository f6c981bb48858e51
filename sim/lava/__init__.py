"""Lava: the integer network as Lava Processes, and the engine that runs them.

Importing this package does not import Lava; :func:`build_lava` does, when it is first used.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvae_neuro.sim.lava.build import InputPort, LavaNetwork, build_lava
    from pvae_neuro.sim.lava.processes.frames.process import FrameSource

__all__ = ["FrameSource", "InputPort", "LavaNetwork", "build_lava"]


def __getattr__(name: str) -> Any:
    """Load the part of this package that needs Lava."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pvae_neuro.sim.lava.available import require_lava

    require_lava()
    with _undecided_start_method():
        from pvae_neuro.sim.lava import build

    return getattr(build, name)


@contextmanager
def _undecided_start_method() -> Iterator[None]:
    """Let Lava choose a start method, as it does on import, where one is chosen already.

    ``lava/magma/runtime/message_infrastructure/multiprocessing.py`` calls ``set_start_method``,
    which raises once the process has used multiprocessing. The earlier choice stays.
    """
    chosen = multiprocessing.get_start_method(allow_none=True)
    if chosen is None:
        yield
        return
    set_method: Any = multiprocessing.set_start_method  # typeshed: no None, which clears it
    set_method(None, force=True)
    try:
        yield
    finally:
        set_method(chosen, force=True)
