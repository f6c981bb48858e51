"""What the ProcessModels of all populations share: acting on their own phase of an iteration.

Every connection takes one Lava step (``Dense`` sends the product of the step before), so an
iteration of H hops takes H steps, and a population acts on one of them alone: the latents on phase
0, the target of hop h on phase ``(h + 1) % H``. On the others it empties its ports and sends zeros.
The latents take nothing that arrives on the first step of a sample, and every other population acts
on something that was sent after it: what a ``Dense`` still holds of the sample before is never
used. One model serves a state of shape [n] and one of shape [B, n], whose rows are samples side by
side that share the parameters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from numpy.typing import NDArray

from pvae_neuro.network_parts import shift
from pvae_neuro.sim.lava.batch import Batch

# Dense holds 2 * q; its fixed-point model halves the product, its floating-point model does not.
FLOAT_DENSE_SCALE = 0.5


class PhasedModel(PyLoihiProcessModel):  # type: ignore[misc]
    """Counts steps, empties ports, acts on its phase, and moves on to the next sample."""

    a_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int64, precision=24)
    a_in_fine: Any = LavaPyType(PyInPort.VEC_DENSE, np.int64, precision=24)
    exponents: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64)
    step: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64)
    s_out: Any
    # Name of the port for streamed input, in the target's own unit.
    stream = ""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._period = int(proc_params["period"])
        self._phase = int(proc_params["phase"])
        self._files: Batch | None = proc_params["files"]
        self._width = int(proc_params["batch"])
        self._input: NDArray[Any] | None = None
        self._row = 0
        self._ready = False

    def run_spk(self) -> None:
        """One Lava step."""
        if not self._ready:
            self._prepare()
            self._ready = True
        arrived = [(port.recv(), exponent) for port, exponent in self._connected]
        step = int(self.step[0])
        if step == 0:
            self._begin_sample()
        iteration, phase = divmod(step, self._period)
        if phase == self._phase:
            self.s_out.send(self._act(iteration, arrived))
            self._after(iteration)
        else:
            self.s_out.send(self._silence)
        self._advance(step)

    def on_var_update(self) -> None:
        """Lava calls this when a Var was set from outside."""
        self._ready = False

    def _prepare(self) -> None:
        """Derive what only changes when a Var is set."""
        ports = [self.a_in, self.a_in_fine, getattr(self, self.stream)]
        exponents = [*(int(e) for e in self.exponents), 0]
        self._connected = [(p, e) for p, e in zip(ports, exponents, strict=True) if p.csp_ports]
        self._silence = np.zeros(self.s_out.shape, np.int64)
        if self._files is not None and self._input is None:
            self._input = self._files.read_input(self.proc_params["name"])

    def _begin_sample(self) -> None:
        """First step of a sample, or of several side by side."""

    def _load_input(self, state: NDArray[Any]) -> None:
        """Copy this pass's rows of the input into a Var [n] or [B, n].

        Where samples are fewer than B, the rest goes on with what it had and is not recorded.
        """
        if self._input is not None:
            rows = self._input[self._row : self._row + self._width]
            np.atleast_2d(state)[: len(rows)] = rows

    def _act(self, iteration: int, arrived: list[tuple[NDArray[Any], int]]) -> NDArray[Any]:
        """Update, and return what to send."""
        raise NotImplementedError

    def _after(self, iteration: int) -> None:
        """Work that need not delay the message."""

    def _next_sample(self) -> None:
        """The next pass of the batch begins with the next step."""
        self._row += self._width

    def _advance(self, step: int) -> None:
        if self._files is not None and step == self._files.iterations * self._period:
            self.step[0] = 0
            self._next_sample()
        else:
            self.step[0] = step + 1


def sum_shifted(arrived: list[tuple[NDArray[np.int64], int]]) -> NDArray[np.int64] | int:
    """Sum of what arrived, each shifted to the target's unit; 0 where nothing is connected."""
    return sum((shift(product, exponent) for product, exponent in arrived), start=0)


def sum_scaled(
    arrived: list[tuple[NDArray[np.float64], int]], streamed: bool
) -> NDArray[np.float64] | float:
    """Sum of what arrived in the floating-point model, in the target's integer unit, unrounded.

    Parameters
    ----------
    arrived : list of (float64 [n] or [B, n], int)
    streamed : bool
        Whether the last one is the streamed input, which no ``Dense`` doubled.
    """
    scales = [FLOAT_DENSE_SCALE] * len(arrived)
    if streamed:
        scales[-1] = 1.0
    return sum((a * s * 2.0**e for (a, e), s in zip(arrived, scales, strict=True)), start=0.0)
