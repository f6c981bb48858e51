"""What an owner of a board would bring: models on cores; and boards that are at fault."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pvae_neuro.sim.lava.board.stand_in.board import StandIn
from pvae_neuro.sim.lava.board.stand_in.delays import Delays


@dataclass(frozen=True)
class LaterFrom(Delays):
    """One step each, and more from some step on."""

    step: int = 0
    more: int = 0

    def draw(self, adapter):
        return 1 + self.more * (np.arange(4096) >= self.step)


@dataclass(frozen=True)
class BooleanMessages(StandIn):
    """Adapters that make a count of 2 a spike, as ``Dense`` does without a width of messages."""

    def select(self):
        super().select()
        from pvae_neuro.sim.lava.board.stand_in.adapters import PyToNxAdapterModel

        PyToNxAdapterModel.leaving = lambda self, message: (message != 0) * 1


@dataclass(frozen=True)
class NoModelOfSums(StandIn):
    """Without a model on cores of ``GradedVec``, whose own one is for the CPU."""

    accumulator: str | None = None

    def select(self):
        super().select()
        from lava.proc.graded import process

        process.GradedVec = process.GradedVec.__base__


def __getattr__(name):
    """``Microcode``, whose bases need Lava."""
    if name != "Microcode":
        raise AttributeError(name)
    from lava.magma.core.decorator import implements, requires, tag
    from lava.magma.core.resources import Loihi2NeuroCore
    from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

    from pvae_neuro.sim.lava.board.cores import CoreNeurons
    from pvae_neuro.sim.lava.processes.neurons.models import PopulationModel

    @implements(proc=CoreNeurons, protocol=LoihiProtocol)
    @requires(Loihi2NeuroCore)
    @tag("ucoded")
    class Microcode(PopulationModel):
        """The programs as they are, said to need a core; words are those that are set."""

        def _load_words(self, iteration):
            own = generator.integers(0, 1 << 16, self._word.shape)
            self._word[:] = self.words if self.injected else own

    generator = np.random.default_rng(1)
    return Microcode
