"""Models that stand in for those on cores: Lava's own for the CPU, said to need a core."""

from __future__ import annotations

from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.models import PyDenseModelBitAcc
from lava.proc.dense.process import Dense
from lava.proc.graded.models import PyGradedVecModelFixed
from lava.proc.graded.process import GradedVec


@implements(proc=Dense, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
@tag("fixed_pt")
class NcModelDense(PyDenseModelBitAcc):  # type: ignore[misc]
    """Lava's bit-accurate ``Dense``."""


@implements(proc=GradedVec, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
@tag("fixed_pt")
class NcModelGradedVec(PyGradedVecModelFixed):  # type: ignore[misc]
    """Lava's fixed-point ``GradedVec``."""
