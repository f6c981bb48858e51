"""Process that streams frames into an input of a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class InputPort:
    """Where a population takes values of an input's variable, on every Lava step.

    Attributes
    ----------
    variable : str
        The input's variable, ``population.variable``.
    port : InPort [n], or [B, n]
        Takes integers; a message is there in the step in which it is sent.
    start : int
        Lava step from which the values of the first iteration are used; those of the next one are
        used a period later.
    """

    variable: str
    port: InPort
    start: int


class FrameSource(AbstractProcess):  # type: ignore[misc]
    """Frames that a network is shown, each for a number of iterations.

    In Lava step s it sends the frame of the iteration that takes the message,
    ``floor((s - start) / period)``; before the first one the first frame, after the last one the
    last.

    Parameters
    ----------
    values : int [F, n], or [F, B, n]
        Of the input's variable.
    hold : int
        Iterations that each frame is held for.
    port : InputPort
        Of the network; connected here.
    period : int
        Lava steps of an iteration.

    Attributes
    ----------
    frame_out : OutPort [n], or [B, n]
    step : Var [1]
        Setting it to 0 begins with the first frame.
    """

    def __init__(self, values: NDArray[np.int32], hold: int, port: InputPort, period: int) -> None:
        super().__init__(
            name=f"frames of {port.variable}",
            values=values,
            hold=hold,
            start=port.start,
            period=period,
        )
        self.frame_out = OutPort(shape=port.port.shape)
        self.step = Var(shape=(1,), init=0)
        self.frame_out.connect(port.port)
