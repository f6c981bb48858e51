"""ProcessModel of a connection."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from numpy.typing import NDArray

from pvae_neuro.network import Connection
from pvae_neuro.sim.lava.processes.synapses.process import Synapses


@implements(proc=Synapses, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class SynapsesModel(PyLoihiProcessModel):  # type: ignore[misc]
    """Exact: floats of 24 bits multiply integers whose every partial sum fits signed 24 bits."""

    s_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    a_out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    a_buff: NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=24)
    weights: NDArray[np.int8] = LavaPyType(np.ndarray, np.int8, precision=8)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._connection: Connection = proc_params["connection"]
        self._held: NDArray[np.float32] | None = None

    def run_spk(self) -> None:
        """One Lava step."""
        if self._held is None:
            self._held = self.weights.astype(np.float32)
        self.a_out.send(self.a_buff)
        spikes = self.s_in.recv()
        # Most populations send zeros on all steps of an iteration but one.
        if not spikes.any():
            self.a_buff.fill(0)
            return
        rows = spikes.reshape(-1, spikes.shape[-1]).astype(np.float32)
        self.a_buff[...] = self._connection.product(rows, self._held).reshape(self.a_buff.shape)

    def on_var_update(self) -> None:
        """Lava calls this when a Var was set from outside."""
        self._held = None
