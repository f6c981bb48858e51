"""Models that stand in for those on cores: Lava's own for the CPU, said to need a core."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.models import PyDenseModelBitAcc
from lava.proc.dense.process import Dense
from lava.proc.graded.models import AbstractGradedVecModel, PyGradedVecModelFixed
from lava.proc.graded.process import GradedVec

from pvae_neuro.sim.lava.board.stand_in.adapters import Queue
from pvae_neuro.sim.lava.board.stand_in.delays import Delays

DELAYS: list[Delays | None] = [None]
"""What sums draw from, where they are kept at all; the board replaces it."""

_made: list[object] = []


class DelayedSums(GradedVec):  # type: ignore[misc]
    """Lava's ``GradedVec`` whose messages may take some steps more."""

    def __init__(self, shape: tuple[int, ...], vth: int = 1, exp: int = 0) -> None:
        super().__init__(shape=shape, vth=vth, exp=exp)
        drawn = None if DELAYS[0] is None else DELAYS[0].draw(len(_made))
        _made.append(self)
        self.proc_params["delays"] = drawn


@implements(proc=Dense, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
@tag("fixed_pt")
class NcModelDense(PyDenseModelBitAcc):  # type: ignore[misc]
    """Lava's bit-accurate ``Dense``."""


@implements(proc=DelayedSums, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
@tag("fixed_pt")
class NcModelGradedVec(AbstractGradedVecModel):  # type: ignore[misc]
    """Lava's fixed-point ``GradedVec``."""

    a_in = PyGradedVecModelFixed.a_in
    s_out = PyGradedVecModelFixed.s_out
    v = PyGradedVecModelFixed.v
    vth = PyGradedVecModelFixed.vth
    exp = PyGradedVecModelFixed.exp

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        delays = proc_params["delays"]
        self._queue = None if delays is None else Queue(delays, proc_params["shape"])

    def run_spk(self) -> None:
        """One Lava step."""
        if self._queue is None:
            super().run_spk()
            return
        self.s_out.send(self._queue.due())
        sums = self.a_in.recv()
        self._queue.keep(np.where(np.abs(sums) > self.vth, sums, 0))
