"""ProcessModels of the error population: integers, and their floating-point counterpart."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from numpy.typing import NDArray

from pvae_neuro.network_parts import shift
from pvae_neuro.sim.lava.error.process import ErrorNeurons
from pvae_neuro.sim.lava.phased import PhasedModel, sum_scaled, sum_shifted

Arrived = list[tuple[NDArray[Any], int]]


class _ErrorModel(PhasedModel):
    """Input and order; subclasses do the arithmetic."""

    x: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=24)
    gain: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=24)
    m: NDArray[Any]
    stream = "x_in"

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._gain_shift = int(proc_params["gain_shift"])
        self._limit = int(proc_params["message_limit"])

    def _begin_sample(self) -> None:
        self._load_input(self.x)


@implements(proc=ErrorNeurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyErrorModelFixed(_ErrorModel):
    """Equal to ``sim/reference.py``, integer for integer."""

    x_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int64, precision=24)
    s_out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    m: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=24)

    def _act(self, iteration: int, arrived: Arrived) -> NDArray[Any]:
        error = self.x + sum_shifted(arrived)
        error *= self.gain
        message = shift(error, -self._gain_shift)
        np.maximum(message, -self._limit, out=message)
        np.minimum(message, self._limit, out=self.m)
        return self.m


@implements(proc=ErrorNeurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyErrorModelFloat(_ErrorModel):
    """The same rule without rounding."""

    a_in: Any = LavaPyType(PyInPort.VEC_DENSE, float)
    a_in_fine: Any = LavaPyType(PyInPort.VEC_DENSE, float)
    x_in: Any = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: Any = LavaPyType(PyOutPort.VEC_DENSE, float)
    m: NDArray[np.float64] = LavaPyType(np.ndarray, float)

    def _act(self, iteration: int, arrived: Arrived) -> NDArray[Any]:
        error = self.x + sum_scaled(arrived, streamed=bool(self.x_in.csp_ports))
        message = error * self.gain * 2.0**-self._gain_shift
        self.m[:] = np.clip(message, -self._limit, self._limit)
        return self.m
