"""Process of a population on cores, whose model the owner of a board brings."""

from __future__ import annotations

from typing import Any, ClassVar

from lava.magma.core.process.variable import Var

from pvae_neuro.network import Interval, Population
from pvae_neuro.sim.lava.plan import Plan
from pvae_neuro.sim.lava.processes.neurons.process import Neurons


class CoreNeurons(Neurons):
    """Neurons as they are in the simulation, with words from outside.

    Attributes
    ----------
    words : Var [n]
        Random words of the iteration that draws next.
    injected : Var [1]
        Whether they are to be drawn with; 0: with those of the chip's own generator.
    """

    kept: ClassVar[frozenset[str]] = frozenset(("words", "injected"))

    def __init__(
        self,
        population: Population,
        plan: Plan,
        log_rate: Interval | None,
        *,
        injected: bool,
        **options: Any,
    ) -> None:
        super().__init__(population, plan, log_rate, **options)
        self.words = Var(shape=(population.size,), init=0)
        self.injected = Var(shape=(1,), init=int(injected))
