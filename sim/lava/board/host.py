"""Neurons on the host whose messages go through the chip, and take some steps on the way.

A message is sent every ``unit`` Lava steps, and silence between; what arrives until the next one is
added up. So the timetable of a network (``sim/lava/timing.py``), in which a message takes one step,
holds with ``unit`` in place of a step, whatever each path takes, if none takes longer.

Whether none does is counted: each message carries a mark besides the neurons' integers, a 1 that
connections hand on as it is. Where each activation finds one mark of every connection, each message
was there that was sent before, and none of an earlier one; silent messages are counted like others.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from numpy.typing import NDArray

from pvae_neuro.network import Interval, Population
from pvae_neuro.network.operations import WORD_WIDTH
from pvae_neuro.sim.lava.plan import Plan
from pvae_neuro.sim.lava.processes.neurons.models import Ints, PopulationModel
from pvae_neuro.sim.lava.processes.neurons.process import Neurons

NOTHING = -1
_SIGN = 1 << (WORD_WIDTH - 1)
_PAYLOAD = (1 << WORD_WIDTH) - 1


class HostNeurons(Neurons):
    """A population on the host, whose ports lead to the chip.

    Attributes
    ----------
    unit : Var [1]
        Lava steps from one message to the next; 0 listens: no program runs, and nothing is sent but
        the pulse.
    tick : Var [1]
        Lava steps since it was set to 0, which forgets whatever was noted.
    pulse : Var [1]
        Variable, by its place in the population, whose mark is sent in step 0 while listening;
        -1 for none.
    least, most : Var [ports]
        Fewest and most Lava steps after which a message arrives.
    first, last : Var [ports]
        While listening: the first and last tick in which something arrived; -1 where nothing did.
    late : Var [ports]
        First tick in which something arrived outside these bounds, or a mark was missing or one too
        many; -1 where nothing was wrong.
    counted : Var [ports]
        Marks that arrived since the last message was sent.
    """

    kept: ClassVar[frozenset[str]] = frozenset(
        ("unit", "tick", "pulse", "least", "most", "first", "last", "late", "counted")
    )
    marks: ClassVar[int] = 1

    def __init__(
        self, population: Population, plan: Plan, log_rate: Interval | None, **options: Any
    ) -> None:
        super().__init__(population, plan, log_rate, **options)
        ports = max(1, len(plan.ports))
        self.unit = Var(shape=(1,), init=0)
        self.tick = Var(shape=(1,), init=0)
        self.pulse = Var(shape=(1,), init=NOTHING)
        self.least = Var(shape=(ports,), init=1)
        self.most = Var(shape=(ports,), init=1)
        self.first = Var(shape=(ports,), init=NOTHING)
        self.last = Var(shape=(ports,), init=NOTHING)
        self.late = Var(shape=(ports,), init=NOTHING)
        self.counted = Var(shape=(ports,), init=0)


@implements(proc=HostNeurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class HostNeuronsModel(PopulationModel):
    """The programs as they are, on every ``unit``-th step."""

    def _prepare(self) -> None:
        super()._prepare()
        self._numbers = {port.name: number for number, port in enumerate(self._plan.ports)}
        size = self._zeros.size
        self._waiting: dict[str, Ints] = {
            name: np.zeros(size + 1, np.int64) for name, _ in self._ports
        }
        self._sums = {name: waiting[:-1] for name, waiting in self._waiting.items()}
        self._outputs = [(_Marked(port), state, steps) for port, state, steps in self._outputs]

    def run_spk(self) -> None:
        """One Lava step."""
        if not self._ready:
            self._prepare()
        arrived = self._receive()
        tick, unit = int(self.tick[0]), int(self.unit[0])
        if tick == 0:
            self._forget()
        for name, values in arrived.items():
            waiting = self._waiting[name]
            message = signed(values)
            if message.any():
                self._note(self._numbers[name], tick, unit)
                waiting += message
            self.counted[self._numbers[name]] = waiting[-1]
        if unit and tick % unit == 0:
            self._check_marks(tick)
            self._act(self._sums)
            self._clear()
        else:
            self._send_pulse(tick, unit)
        self.tick[0] = tick + 1

    def _forget(self) -> None:
        self._clear()
        for noted in (self.first, self.last, self.late):
            noted[:] = NOTHING

    def _clear(self) -> None:
        for waiting in self._waiting.values():
            waiting.fill(0)

    def _check_marks(self, tick: int) -> None:
        """One of each connection, but for the first time."""
        for number, port in enumerate(self._plan.ports):
            expected = len(port.connections) if tick else 0
            if self.late[number] == NOTHING and self.counted[number] != expected:
                self.late[number] = tick

    def _note(self, port: int, tick: int, unit: int) -> None:
        """Keep when something arrived: all of it while listening, else what is out of bounds."""
        if unit == 0:
            if self.first[port] == NOTHING:
                self.first[port] = tick
            self.last[port] = tick
            return
        after = (tick - 1) % unit + 1 if tick else 0
        if self.late[port] == NOTHING and not self.least[port] <= after <= self.most[port]:
            self.late[port] = tick

    def _send_pulse(self, tick: int, unit: int) -> None:
        pulsed = list(self._state)[int(self.pulse[0])] if self.pulse[0] >= 0 else None
        for port, state, _ in self._outputs:
            sent = unit == tick == 0 and pulsed is not None and state is self._state[pulsed]
            port.send(self._zeros, mark=int(sent))


class _Marked(NamedTuple):
    """A port whose messages carry a mark."""

    port: Any

    def send(self, values: Ints, mark: int = 1) -> None:
        """Send a message."""
        self.port.send(np.append(values, mark))


def signed(values: NDArray[Any]) -> Ints:
    """A message of 24 bits as an integer, whether its sign was extended on the way or not."""
    return ((values.astype(np.int64) & _PAYLOAD) ^ _SIGN) - _SIGN
