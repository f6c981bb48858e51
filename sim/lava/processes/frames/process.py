"""Process that streams frames into an input of a network."""

from __future__ import annotations

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from numpy.typing import NDArray


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
    port : InPort [n], or [B, n]
        Of the network; connected here.
    start, period : int
        Lava step of the first iteration that takes a message, and steps from one to the next.

    Attributes
    ----------
    frame_out : OutPort [n], or [B, n]
    step : Var [1]
        Setting it to 0 begins with the first frame.
    """

    def __init__(
        self, values: NDArray[np.int32], hold: int, port: InPort, start: int, period: int
    ) -> None:
        super().__init__(values=values, hold=hold, start=start, period=period)
        self.frame_out = OutPort(shape=port.shape)
        self.step = Var(shape=(1,), init=0)
        self.frame_out.connect(port)
