"""Which model each process runs by, and that none falls back to another place unseen.

Imported when the board is selected: without the modules of lava-loihi, Lava's ``Loihi2HwCfg``
does not work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.resources import ECPU, NeuroCore
from lava.magma.core.run_configs import Loihi2HwCfg

from pvae_neuro.errors import EngineError
from pvae_neuro.sim.lava.board.parts import CORES, EMBEDDED, HOST, LINK, Parts


class BoardConfig(Loihi2HwCfg):  # type: ignore[misc]
    """Run configuration whose every choice is checked.

    Parameters
    ----------
    parts : Parts
    callbacks : list
        Profilers and probes.

    Attributes
    ----------
    chosen : dict of str to str
        Model that each process runs by.

    Raises
    ------
    EngineError
        If a process would run in another place than its stage says; names both.
    """

    def __init__(self, parts: Parts, callbacks: list[Any]) -> None:
        # By process, not by class: populations of one class may have models of their own.
        super().__init__(
            select_tag="fixed_pt",
            exception_proc_model_map=dict(parts.models),
            callback_fxs=callbacks,
        )
        self.parts = parts
        self.chosen: dict[str, str] = {}
        for process, model in parts.models.items():
            self._check(process, model)

    def select(self, process: Any, proc_models: list[type]) -> type:
        """Lava asks for what is not in the map."""
        try:
            model: type = super().select(process, proc_models)
        except (AssertionError, NotImplementedError) as error:
            raise EngineError(f"loihi2: process {process.name!r} has no model: {error}") from error
        self._check(process, model)
        return model

    def _check(self, process: Any, model: type) -> None:
        expected, found = self.parts.places.get(process), place_of(model)
        kind = type(process).__name__
        if expected is None:
            raise EngineError(f"loihi2: process {process.name!r} ({kind}) is not of the graph")
        if expected not in (LINK, found):
            raise EngineError(
                f"loihi2: {kind} {process.name!r} would run on the {found} by {model.__name__}; "
                f"expected a model for the {expected}"
            )
        self.chosen[process.name] = f"{model.__name__} ({kind}, {found})"


def place_of(model: Any) -> str:
    """Where a model runs, by the resources that it requires."""
    needed = [r for each in model.required_resources for r in np.atleast_1d(each)]
    if any(issubclass(resource, NeuroCore) for resource in needed):
        return CORES
    return EMBEDDED if any(issubclass(resource, ECPU) for resource in needed) else HOST
