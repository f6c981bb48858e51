"""ProcessModels of the connection with a batch axis: integers, and floating point."""

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

from pvae_neuro.sim.exact_products import FloatProduct
from pvae_neuro.sim.lava.batched_dense.process import BatchedDense
from pvae_neuro.sim.lava.phased import FLOAT_DENSE_SCALE


class _BatchedDenseModel(PyLoihiProcessModel):  # type: ignore[misc]
    """Order of a step; subclasses multiply."""

    s_in: Any
    a_out: Any
    a_buff: NDArray[Any]
    weights: NDArray[Any]

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._limit = int(proc_params["message_limit"])
        self._ready = False

    def run_spk(self) -> None:
        """One Lava step."""
        if not self._ready:
            self._prepare()
            self._ready = True
        self.a_out.send(self.a_buff)
        spikes = self.s_in.recv()
        # Populations are silent on all phases of an iteration but one.
        if spikes.any():
            self.a_buff[:] = self._multiply(spikes)
        else:
            self.a_buff.fill(0)

    def on_var_update(self) -> None:
        """Lava calls this when a Var was set from outside."""
        self._ready = False

    def _prepare(self) -> None:
        """Derive what only changes when a Var is set."""
        raise NotImplementedError

    def _multiply(self, spikes: NDArray[Any]) -> NDArray[Any]:
        """Products [B, n_target] of spikes [B, n_source]."""
        raise NotImplementedError


@implements(proc=BatchedDense, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyBatchedDenseModelFixed(_BatchedDenseModel):
    """Exact: a floating-point product of integers within the proved range of its mantissa."""

    s_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    a_out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    a_buff: NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=24)
    weights: NDArray[np.int8] = LavaPyType(np.ndarray, np.int8, precision=8)

    def _prepare(self) -> None:
        self._product = FloatProduct(self.weights.T, self._limit)

    def _multiply(self, spikes: NDArray[np.int32]) -> NDArray[Any]:
        return self._product(spikes.astype(self._product.dtype))


@implements(proc=BatchedDense, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyBatchedDenseModelFloat(_BatchedDenseModel):
    """The same without rounding; messages may be any number."""

    s_in: Any = LavaPyType(PyInPort.VEC_DENSE, float)
    a_out: Any = LavaPyType(PyOutPort.VEC_DENSE, float)
    a_buff: NDArray[np.float64] = LavaPyType(np.ndarray, float)
    weights: NDArray[np.float64] = LavaPyType(np.ndarray, float)

    def _prepare(self) -> None:
        self._scaled = np.ascontiguousarray(self.weights.T) / FLOAT_DENSE_SCALE

    def _multiply(self, spikes: NDArray[np.float64]) -> NDArray[np.float64]:
        product: NDArray[np.float64] = spikes @ self._scaled
        return product
