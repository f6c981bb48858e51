"""Samples of a block one after another, step by step, on what holds the state of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.cores import WORD
from pvae_neuro.sim.engine import Block, BlockResult
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.recording import variable_dtype


class Machine(Protocol):
    """What holds the state of one sample."""

    def start(self, iterations: int) -> None:
        """Begin a run: every variable at its start."""

    def step(self, given: Mapping[str, NDArray[Any]], is_last: bool) -> Mapping[str, NDArray[Any]]:
        """Run an iteration, or what comes after the last one; every variable after it.

        ``given`` is what the host sets before it: inputs by ``population.variable``, and random
        words by ``population.word``. What is returned holds until the next step.
        """


def run_samples(block: Block, machine: Machine) -> BlockResult:
    """Run a block; see :meth:`Engine.run_block`."""
    network, samples = block.network, len(block.samples)
    steps = range(block.first_step, block.first_step + block.steps)
    words = {
        f"{p.name}.{WORD}": population_noise(p, block.seed, steps, block.samples)
        for p in network.drawing
    }

    def empty(name: str, *sides: int) -> NDArray[Any]:
        size = network.population_of[name.partition(".")[0]].size
        return np.empty((samples, *sides, size), variable_dtype(network, name))

    last = {name: empty(name) for name in network.variables}
    recorded = {name: empty(name, block.steps) for name in block.record}
    for sample in range(samples):
        machine.start(block.steps - 1)
        for step in range(block.steps):
            given = {name: w[sample, step] for name, w in words.items()}
            is_last = step == block.steps - 1
            if not is_last and step % block.iterations == 0:
                frame = step // block.iterations
                given |= {name: frames[frame, sample] for name, frames in block.inputs.items()}
            state = machine.step(given, is_last)
            for name, array in recorded.items():
                array[sample, step] = state[name]
        for name, array in last.items():
            array[sample] = state[name]
        block.advance(block.steps - 1)
    return BlockResult(last, recorded)
