"""How messages get from population to population, and how long that takes.

Where links delay messages, a pulse is sent along each path, and what comes back is noted; the
populations then send a message as often as the slowest path allows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.errors import EngineError
from pvae_neuro.sim.lava.board.board import Bounds

if TYPE_CHECKING:
    from pvae_neuro.sim.lava.board.wiring import Path, Wiring

PATIENCE = 32
"""Lava steps in which a pulse has to come back; what comes later is not noticed."""

Run = Callable[[int], None]
"""Runs the graph for some Lava steps."""


class Links(ABC):
    """The links of a wired network.

    Attributes
    ----------
    wiring : Wiring
    run : callable
        Runs the graph for some Lava steps.
    unit : int
        Lava steps from one message to the next.
    bounds : dict of str to Bounds
        Steps that messages take, by connection.
    """

    def __init__(self, wiring: Wiring, run: Run) -> None:
        self.wiring, self.run = wiring, run
        self.unit = 1
        self.bounds: dict[str, Bounds] = {}

    @abstractmethod
    def begin(self) -> None:
        """Have the populations send from the next step on."""

    @abstractmethod
    def check(self) -> None:
        """Raise :class:`EngineError` if a message came when it could not be expected."""

    @abstractmethod
    def drain(self) -> None:
        """Let what is under way arrive unseen, until nothing does."""


class DirectLinks(Links):
    """Neurons on cores: a message takes one step, and the timetable needs no silence."""

    def begin(self) -> None:
        """Nothing to do."""

    def check(self) -> None:
        """Nothing to do."""

    def drain(self) -> None:
        """Nothing to do: no activation of a first step reads what was sent before it."""


class DelayedLinks(Links):
    """Neurons elsewhere: messages take some steps to cores and back.

    Parameters
    ----------
    wiring : Wiring
        Compiled, and never run before but for listening.
    run : callable
    declared : Bounds or None
        What is promised where messages do not always take as long; None takes what was measured.

    Raises
    ------
    EngineError
        If a pulse does not come back, or outside the declared bounds.
    """

    def __init__(self, wiring: Wiring, run: Run, declared: Bounds | None) -> None:
        super().__init__(wiring, run)
        for path in wiring.paths:
            self.bounds[path.connection] = _agreed(path, self._measured(path), declared)
        self.unit = max((b.most for b in self.bounds.values()), default=1)
        self._sending = False
        self._tell()
        self.drain()

    def begin(self) -> None:
        """Forget what was noted, and send every ``unit`` steps."""
        self._set_unit(self.unit)
        self._sending = True

    def check(self) -> None:
        """Look at what the populations noted."""
        for name, process in self.wiring.populations.items():
            late = process.late.get()
            for port, tick in zip(self.wiring.plans[name].ports, late, strict=False):
                if tick >= 0:
                    raise EngineError(
                        f"loihi2: a message of {' or '.join(port.connections)} to {name!r} was "
                        f"missing in Lava step {int(tick)}, or came outside the steps in which it "
                        f"may arrive; where latencies change within a run, declare their bounds"
                    )

    def drain(self) -> None:
        """Run in silence until what was sent last is there, and nothing is under way."""
        self._set_unit(0)
        self.run(self.unit)
        for name, process in self.wiring.populations.items():
            counted = process.counted.get()
            for port, number in zip(self.wiring.plans[name].ports, counted, strict=False):
                expected = len(port.connections) if self._sending else 0
                if number != expected:
                    raise EngineError(
                        f"loihi2: {int(number)} instead of {expected} messages of "
                        f"{' or '.join(port.connections)} reached {name!r} within {self.unit} "
                        f"steps after the last one was sent; declare a longer latency"
                    )
        self._sending = False

    def _measured(self, path: Path) -> Bounds:
        """Send a mark alone; the first and the last step in which something came back."""
        self._set_unit(0)
        source = self.wiring.populations[path.source]
        target = self.wiring.populations[path.target]
        _set(source.pulse, path.variable)
        self.run(PATIENCE)
        first, last = (int(var.get()[path.port]) for var in (target.first, target.last))
        _set(source.pulse, -1)
        if first < 1:
            raise EngineError(
                f"loihi2: connection {path.connection!r}: a pulse of {path.source!r} did not "
                f"come back to {path.target!r} within {PATIENCE} steps; "
                f"pvae-neuro doctor loihi2 looks at the board"
            )
        return Bounds(first, last)

    def _tell(self) -> None:
        """Tell the populations what to expect."""
        for name, plan in self.wiring.plans.items():
            process = self.wiring.populations[name]
            least, most = np.ones((2, max(1, len(plan.ports))), np.int64)
            for number, port in enumerate(plan.ports):
                arriving = [self.bounds[c] for c in port.connections if c in self.bounds]
                if arriving:
                    least[number] = min(b.least for b in arriving)
                    most[number] = max(b.most for b in arriving)
            process.least.set(least)
            process.most.set(most)

    def _set_unit(self, unit: int) -> None:
        for process in self.wiring.populations.values():
            _set(process.unit, unit)
            _set(process.tick, 0)


def _set(var: Any, value: int) -> None:
    var.set(np.array([value]))


def _agreed(path: Path, measured: Bounds, declared: Bounds | None) -> Bounds:
    if declared is None:
        return measured
    if measured.least < declared.least or measured.most > declared.most:
        raise EngineError(
            f"loihi2: connection {path.connection!r}: a pulse took {measured.least} to "
            f"{measured.most} steps; {declared.least} to {declared.most} were declared"
        )
    return declared
