"""Runs a sample step by step, and reads variables where an iteration has set them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Population
from pvae_neuro.sim.lava.board.links import Links
from pvae_neuro.sim.lava.board.readable import last_set
from pvae_neuro.sim.noise import NoiseSource

Values = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Recorder:
    """Runs samples on a wired network.

    Attributes
    ----------
    links : Links
    record : tuple of str
        Variables to read after every iteration.
    seed, first_step : int
        Place of the iterations in the noise.
    """

    links: Links
    record: tuple[str, ...]
    seed: int = 0
    first_step: int = 0

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
        due, words = self._due(iterations), self._words_due(iterations)
        done = 0
        for step in sorted(due.keys() | words.keys()):
            if step in words:
                done += self._run(step * unit - done)
                for population, row in words[step]:
                    self._set_words(population, row, sample)
            done += self._run(step * unit + 1 - done)
            self.links.check()
            for variable, row in due.get(step, ()):
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

    def _run(self, steps: int) -> int:
        if steps:
            self.links.run(steps)
        return steps

    def _words_due(self, iterations: int) -> dict[int, list[tuple[Population, int]]]:
        """Which populations need which iteration's words before which of the plan's steps."""
        wiring, found = self.links.wiring, dict[int, list[tuple[Population, int]]]()
        if not wiring.stage.takes_words:
            return found
        for population in wiring.network.drawing:
            plan = wiring.plans[population.name]
            timing = plan.timing
            drawing = {p.name for p in population.programs if p.operations & {"word", "draw"}}
            for row in range(iterations + 1):
                for action in plan.iteration if row < iterations else plan.final:
                    if action.program in drawing:
                        step = timing.lead + row * timing.period + action.phase
                        found.setdefault(step, []).append((population, row))
        return found

    def _set_words(self, population: Population, row: int, sample: int) -> None:
        sampler = population.drawn_by
        noise = NoiseSource(self.seed, population.size, sampler.stream, sampler.first)
        words = noise.words(self.first_step + row, sample).astype(np.int64)
        self.links.wiring.populations[population.name].words.set(words)

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
