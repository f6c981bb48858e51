"""Adapters between host and cores, on the CPU; they keep a message for some steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from numpy.typing import NDArray

from pvae_neuro.sim.lava.board.stand_in.delays import Delays

Message = NDArray[np.int32]

DELAYS = [Delays()]
"""What adapters draw from; the board replaces it."""

_made: list[object] = []


class Queue:
    """Messages that are kept for some steps; those that are due in one step are added up."""

    def __init__(self, delays: NDArray[np.int64], shape: tuple[int, ...]) -> None:
        self._delays, self._now = delays, 0
        self._kept = np.zeros((int(delays.max()) + 1, *shape), np.int32)

    def due(self) -> Message:
        """What is due now; a step begins with it."""
        place = self._kept[self._now % len(self._kept)]
        message = place.copy()
        place.fill(0)
        return message

    def keep(self, message: Message) -> None:
        """Take a message to be kept; the step ends with it."""
        delay = int(self._delays[self._now % len(self._delays)])
        self._kept[(self._now + delay) % len(self._kept)] += message
        self._now += 1


class _Adapter(AbstractProcess):  # type: ignore[misc]
    def __init__(self, shape: tuple[int, ...], num_message_bits: int = 0) -> None:
        delays = DELAYS[0].draw(len(_made))
        super().__init__(shape=shape, bits=num_message_bits, delays=delays)
        _made.append(self)
        self.inp = InPort(shape=shape)
        self.out = OutPort(shape=shape)


class PyToNxAdapter(_Adapter):
    """From the host to cores."""


class NxToPyAdapter(_Adapter):
    """From cores to the host."""


class _AdapterModel(PyLoihiProcessModel):  # type: ignore[misc]
    """Sends in a step what is due in it, then takes what is to be sent later."""

    inp: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        bits = int(proc_params["bits"])
        # Without a width a message is one bit, as Lava's Dense has it too.
        self._mask = (1 << bits) - 1 if bits else 1
        self._queue = Queue(proc_params["delays"], proc_params["shape"])

    def run_spk(self) -> None:
        """One Lava step."""
        self.out.send(self.leaving(self._queue.due()))
        self._queue.keep(self.inp.recv())

    def leaving(self, message: Message) -> Message:
        """The message as the other side takes it."""
        return message


@implements(proc=PyToNxAdapter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyToNxAdapterModel(_AdapterModel):
    """From the host to cores."""


@implements(proc=NxToPyAdapter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class NxToPyAdapterModel(_AdapterModel):
    """From cores to the host, which gets the bits of a message, without its sign extended."""

    def leaving(self, message: Message) -> Message:
        """The message without its sign."""
        return message & self._mask
