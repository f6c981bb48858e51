"""Process of a population."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from numpy.typing import NDArray

from pvae_neuro.network import Interval, Population
from pvae_neuro.sim.lava.exchange import Job, state_shape
from pvae_neuro.sim.lava.plan import Plan

# Attributes of Lava's ProcessModels, which a variable must not replace.
_RESERVED = (
    frozenset(dir(PyLoihiProcessModel)) | frozenset(vars(PyLoihiProcessModel({}))) | {"tags"}
)


class Neurons(AbstractProcess):  # type: ignore[misc]
    """Neurons that run the programs of a population, each in the step that the plan says.

    In step s (from 0) of a run, with ``now = s - lead`` (see
    :class:`~pvae_neuro.sim.lava.timing.Timing`), after all ports were received:

    1. s = 0: every variable takes its initial value;
    2. for each activation of the iteration with ``now = t * period + phase``, and 0 <= t <
       ``iterations``, in order of (t, index): its program, with the random words of iteration t;
    3. the activations of ``final`` with ``now = iterations * period + phase``;
    4. each variable is sent; zeros on the steps on which no connection uses it.

    Then ``step <- step + 1``. Arithmetic is in integers, those of
    :mod:`pvae_neuro.sim.reference`. An input population has no programs: it sends what is set.

    Parameters
    ----------
    population : Population
    plan : Plan
    log_rate : Interval or None
        Proved bounds of what counts are drawn of; None where none are.
    seed : int
        Key of the noise.
    sample : int
        Index of the (first) sample in the noise.
    iterations : int
        Iterations after which ``final`` runs, or 0: the iteration goes on for ever.
    batch : int
        Samples B side by side, ``sample`` to ``sample + B - 1`` in the noise. One: ports and
        variables have the shape [n]; more: [B, n].
    first_step : int
        Step number of the first iteration in the noise.
    job : Job, optional
        For the engine: samples to run through and to record without a word from outside.

    Attributes
    ----------
    <variable> : Var
        Each variable of the population, under its name; where Lava has that name for something
        else, with an underscore after it.
    <connection> : Var
        Each input that is held here, under its connection's name: set by the host.
    <variable>_out : OutPort
        Graded spikes: each variable as it is after the step.
    <received>_in : InPort
        Sums of products, by the name that programs read.
    <variable>_frame_in, <connection>_frame_in : InPort
        Values of an input, or of one that is held here, on every step; where nothing is connected
        they are those that the host sets.
    seed : Var [2]
        Low and high 32 bits: Lava carries every number as a float64.
    sample, step, iterations : Var [1]
        Setting ``step`` to 0 begins a sample.
    """

    # Names that a subclass gives to Vars of its own.
    kept: ClassVar[frozenset[str]] = frozenset()
    # What messages carry besides an integer for each neuron.
    marks: ClassVar[int] = 0

    def __init__(
        self,
        population: Population,
        plan: Plan,
        log_rate: Interval | None = None,
        *,
        seed: int = 0,
        sample: int = 0,
        iterations: int = 0,
        batch: int = 1,
        first_step: int = 0,
        job: Job | None = None,
    ) -> None:
        names: dict[str, str] = {}
        held: dict[str, str] = {}
        frames: dict[str, str] = {}
        super().__init__(
            name=population.name,
            population=population,
            plan=plan,
            log_rate=log_rate,
            batch=batch,
            first_step=first_step,
            job=job,
            names=names,
            held=held,
            frames=frames,
        )
        self._names, self._held, self._frames = names, held, frames
        self.seed = Var(shape=(2,), init=split_seed(seed))
        self.sample = Var(shape=(1,), init=np.array([sample]))
        self.step = Var(shape=(1,), init=0)
        self.iterations = Var(shape=(1,), init=np.array([iterations]))
        shape = state_shape(population.size, batch)
        message = state_shape(population.size + self.marks, batch)
        for port in plan.ports:
            setattr(self, port.name, InPort(shape=message))
        for variable in population.variables:
            setattr(self, f"{variable.name}_out", OutPort(shape=message))
        for variable in population.variables:
            initial = np.broadcast_to(variable.initial, population.size)
            names[variable.name] = self._add(variable.name, Var(shape=shape, init=initial))
        for connection in plan.held:
            held[connection] = self._add(connection, Var(shape=shape, init=0))
        for var in held.values() if plan.load is None else names.values():
            frames[var] = f"{var}_frame_in"
            setattr(self, frames[var], InPort(shape=shape))

    def variable(self, name: str) -> Var:
        """Var of a variable of the population."""
        return getattr(self, self._names[name])

    def held_input(self, connection: str) -> Var:
        """Var of an input that is held here."""
        return getattr(self, self._held[connection])

    def frame_port(self, name: str) -> InPort:
        """Port of an input's variable, or of a held input by its connection."""
        var = self._held[name] if name in self._held else self._names[name]
        return getattr(self, self._frames[var])

    def _add(self, name: str, var: Var) -> str:
        """Make a Var an attribute of that name, or of the first free one; return which."""
        free = name if name[0] != "_" else f"var{name}"
        taken = _RESERVED | self.kept
        while free in taken or hasattr(self, free) or free.endswith(("_in", "_out")):
            free += "_"
        setattr(self, free, var)
        return free


def split_seed(seed: int) -> NDArray[np.int64]:
    """Low and high 32 bits of a seed, int64 [2]."""
    return np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.int64)
