"""Runs a sample step by step, and reads variables where an iteration has set them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.sim.lava.board.links import Links
from pvae_neuro.sim.lava.board.readable import last_set

Values = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Recorder:
    """Runs samples on a wired network.

    Attributes
    ----------
    links : Links
    record : tuple of str
        Variables to read after every iteration.
    """

    links: Links
    record: tuple[str, ...]

    def sample(
        self, sample: int, inputs: dict[str, Values], iterations: int
    ) -> Iterator[tuple[str, int, Values]]:
        """Run one sample from its initial state.

        Parameters
        ----------
        sample : int
            Index in the noise.
        inputs : dict of str to int [n]
        iterations : int

        Yields
        ------
        variable, row, values
            ``population.variable``, iteration, int64 [n]; in row ``iterations`` every variable as
            ``final`` leaves it.

        Raises
        ------
        EngineError
            If a message is late, or the network is not silent after the sample.
        """
        self._set_inputs(inputs)
        self.begin(sample, iterations)
        network, unit = self.links.wiring.network, self.links.unit
        due = self._due(iterations)
        done = 0
        for step in sorted(due):
            self.links.run(step * unit + 1 - done)
            done = step * unit + 1
            self.links.check()
            for variable, row in due[step]:
                yield variable, row, self._get(variable)
        for variable in network.variables:
            yield variable, iterations, self._get(variable)
        self.links.drain()

    def begin(self, sample: int, iterations: int) -> None:
        """Begin a sample with the next step; 0 iterations go on without end."""
        for process in self.links.wiring.populations.values():
            process.step.set(np.array([0]))
            process.sample.set(np.array([sample]))
            process.iterations.set(np.array([iterations]))
        self.links.begin()

    def _due(self, iterations: int) -> dict[int, list[tuple[str, int]]]:
        """What to read after which of the plan's steps; the last one is there in any case."""
        wiring = self.links.wiring
        timing = next(iter(wiring.plans.values())).timing
        due: dict[int, list[tuple[str, int]]] = {timing.steps(iterations) - 1: []}
        for variable, phase in last_set(wiring.network, wiring.plans).items():
            if variable in self.record:
                for row in range(iterations):
                    step = timing.lead + row * timing.period + phase
                    due.setdefault(step, []).append((variable, row))
        return due

    def _set_inputs(self, inputs: dict[str, Values]) -> None:
        wiring = self.links.wiring
        for name, process in wiring.populations.items():
            plan = wiring.plans[name]
            for connection, variable in plan.held.items():
                process.held_input(connection).set(inputs[variable])
            if plan.load is not None:
                for own in wiring.network.population_of[name].variables:
                    process.variable(own.name).set(inputs[f"{name}.{own.name}"])

    def _get(self, variable: str) -> Values:
        population, _, name = variable.partition(".")
        process = self.links.wiring.populations[population]
        return np.asarray(process.variable(name).get(), np.int64)
