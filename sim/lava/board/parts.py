"""Processes of a graph, each with the place where it has to run and its model there."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.network import Connection, Dense, IntegerNetwork
from pvae_neuro.network.operations import WORD_WIDTH
from pvae_neuro.sim.lava.board.board import ADAPTERS, DENSE_ON_CORES

HOST, EMBEDDED, CORES, LINK = "host", "embedded processors", "cores", "link"


@dataclass(eq=False)
class Parts:
    """Every process of a graph.

    Attributes
    ----------
    network : IntegerNetwork
    folder : Path
        Of files that models need.
    accumulator_model : str or None
        Model on cores, ``module:Class``, of the neurons that send sums on; None leaves it to Lava,
        which looks beside the process.
    places : dict of process to str
        Where each has to run.
    models : dict of process to class
        Of those whose model is known; Lava looks for the others.
    """

    network: IntegerNetwork
    folder: Path
    accumulator_model: str | None = None
    places: dict[Any, str] = field(default_factory=dict)
    models: dict[Any, type] = field(default_factory=dict)

    def add(self, process: Any, place: str, model: type | None = None) -> Any:
        """Enter a process; return it."""
        self.places[process] = place
        if model is not None:
            self.models[process] = model
        return process

    def dense(self, connection: Connection, marks: int) -> Any:
        """Stock ``Dense`` on cores of a connection of any kind; it hands marks on as they are."""
        from pvae_neuro.sim.lava.dense import exact_dense

        c = connection
        matrix = np.pad(c.matrix(), (0, marks))
        matrix[len(matrix) - marks :, matrix.shape[1] - marks :] = np.eye(marks)
        unrolled = Dense(c.name, c.source, c.variable, c.target, matrix, c.exponent, c.received_as)
        return self.add(exact_dense(unrolled), CORES, named_class(DENSE_ON_CORES))

    def adapter(self, kind: str, shape: tuple[int, ...], name: str) -> Any:
        """Stock process between the host and cores."""
        adapters: Any = import_module(ADAPTERS)
        made = getattr(adapters, kind)(shape=shape, num_message_bits=WORD_WIDTH)
        made.name = name
        return self.add(made, LINK)

    def accumulator(self, shape: tuple[int, ...], name: str) -> Any:
        """Stock neurons on cores that send what they receive in a step, whatever it is but 0."""
        from lava.proc.graded.process import GradedVec

        made = GradedVec(shape=shape, vth=0)
        made.name = name
        model = self.accumulator_model
        return self.add(made, CORES, None if model is None else named_class(model))


def named_class(name: str) -> type:
    """Class of a ``module:Class``.

    Raises
    ------
    EngineUnavailableError
        If there is none.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise EngineUnavailableError(
            f"loihi2: expected a class as module:Class, got {name!r}: {error}"
        ) from error
    if not isinstance(found, type):
        raise EngineUnavailableError(f"loihi2: expected {name!r} to be a class, got {found!r}")
    return found
