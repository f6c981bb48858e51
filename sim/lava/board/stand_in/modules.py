"""Modules under the names of lava-loihi's, entered before Lava looks for them."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class AbstractCProcessModel:
    """Base of models on embedded processors."""


class AbstractNcProcessModel:
    """Base of models on cores."""


class Loihi2Power:
    """Power of a board that does not exist, in watts."""

    def __init__(self, num_steps: int) -> None:
        self.total_power = [0.25] * 4


class Loihi2ExecutionTime:
    """Time of a step of a board that does not exist, in microseconds."""

    def __init__(self, buffer_size: int) -> None:
        self.avg_time_per_step = 20.0


_BASES: dict[str, dict[str, Any]] = {
    "lava.magma.core.model.c": {},
    "lava.magma.core.model.c.model": {
        "AbstractCProcessModel": AbstractCProcessModel,
        "CLoihiProcessModel": AbstractCProcessModel,
    },
    "lava.magma.core.model.nc": {},
    "lava.magma.core.model.nc.model": {"AbstractNcProcessModel": AbstractNcProcessModel},
    "lava.utils.loihi2_profiler": {
        "Loihi2Power": Loihi2Power,
        "Loihi2ExecutionTime": Loihi2ExecutionTime,
    },
}
_HERE = "pvae_neuro.sim.lava.board.stand_in"
_ALIASES = {
    "lava.magma.core.model.c.ports": f"{_HERE}.embedded",
    "lava.magma.core.model.c.type": f"{_HERE}.embedded",
    "lava.proc.dense.ncmodels": f"{_HERE}.cores",
    "lava.proc.embedded_io.spike": f"{_HERE}.adapters",
}


def enter_modules() -> None:
    """Enter them; for a process that runs nothing else."""
    for name, members in _BASES.items():
        module = ModuleType(name)
        vars(module).update(members)
        sys.modules[name] = module
    sys.modules["lava.proc.embedded_io"] = ModuleType("lava.proc.embedded_io")
    for name, ours in _ALIASES.items():
        sys.modules[name] = import_module(ours)
    # This one is a class of Lava's, which looks for the names above when it is imported.
    graded: Any = import_module("lava.proc.graded.process")
    graded.GradedVec = import_module(f"{_HERE}.cores").DelayedSums
    embedded: Any = sys.modules["lava.magma.core.model.c.type"]
    models: Any = sys.modules["lava.magma.core.model.c.model"]
    models.CLoihiProcessModel = embedded.CLoihiProcessModel
