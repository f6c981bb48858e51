"""ProcessModel of a source of frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from numpy.typing import NDArray

from pvae_neuro.sim.lava.processes.frames.process import FrameSource


@implements(proc=FrameSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FrameSourceModel(PyLoihiProcessModel):  # type: ignore[misc]
    """Sends the frame of the step."""

    frame_out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    step: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._values: NDArray[np.int32] = proc_params["values"]
        self._hold = int(proc_params["hold"])
        self._start = int(proc_params["start"])
        self._period = int(proc_params["period"])

    def run_spk(self) -> None:
        """One Lava step."""
        step = int(self.step[0])
        iteration = (step - self._start) // self._period
        frame = min(max(iteration // self._hold, 0), len(self._values) - 1)
        self.frame_out.send(self._values[frame])
        self.step[0] = step + 1
