"""The definition: what every other engine must equal, integer for integer.

Written to be read. :func:`iterate` is the whole network; all arithmetic is in 64-bit integers,
wider than any value that a proved network can reach.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import OPERATIONS, Activation, IntegerNetwork, shift_right
from pvae_neuro.network.interpreter import Formula, run_program
from pvae_neuro.network.sampler import sample_counts
from pvae_neuro.sim.engine import Block, BlockResult, Engine
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.recording import variable_dtype

Ints = NDArray[np.int64]
State = dict[str, Ints]
"""Variables by ``population.variable``, each int64 [B, n]."""
Words = dict[str, NDArray[np.uint16]]
"""Random words by population, each uint16 [B, T + 1, n]."""

FORMULAS: dict[str, Formula] = {name: operation.integer for name, operation in OPERATIONS.items()}


def initial_state(network: IntegerNetwork, samples: int) -> State:
    """Every variable at the start of a run."""
    return {
        f"{p.name}.{v.name}": np.tile(
            np.broadcast_to(v.initial.astype(np.int64), p.size), (samples, 1)
        )
        for p in network.populations
        for v in p.variables
    }


def receive(network: IntegerNetwork, activation: Activation, state: State) -> State:
    """What a population receives: connections of one name add up, then shift by their exponent."""
    received: State = {}
    for name, connections in network.groups(activation).items():
        total = sum(c.apply(state[f"{c.source}.{c.variable}"]) for c in connections)
        received[name] = shift_right(total, -connections[0].exponent)
    return received


def activate(network: IntegerNetwork, activation: Activation, state: State, words: Words) -> None:
    """Run one activation: receive, run the program, store its outputs.

    ``words`` holds the words of this step, uint16 [B, n], for each population that draws.
    """
    population = network.population_of[activation.population]
    values = {v.name: state[f"{population.name}.{v.name}"] for v in population.variables}
    values.update(receive(network, activation, state))
    random: dict[str, Formula] = {}
    sampler = population.sampler
    if sampler is not None and population.name in words:
        word = words[population.name].astype(np.int64)
        random = {
            "word": lambda: word,
            "draw": lambda u: sample_counts(u, word, sampler.max_count, sampler.frac_bits),
        }
    program = population.program(activation.program)
    outputs = run_program(population, program, values, FORMULAS, random)
    state.update({f"{population.name}.{name}": value for name, value in outputs.items()})


def iterate(
    network: IntegerNetwork, frames: list[State], iterations: int, words: Words, samples: int
) -> Iterator[State]:
    """Run a network; yield every variable at the end of each iteration, then after ``final``.

    Parameters
    ----------
    network : IntegerNetwork
    frames : list of dict
        Values of the inputs for each frame.
    iterations : int
        Iterations that each frame is held for.
    words : dict of str to uint16 [B, T + 1, n]
    samples : int
        B.
    """
    state = initial_state(network, samples)
    step = 0
    for frame in frames:
        state.update(frame)
        for _ in range(iterations):
            now = {name: w[:, step] for name, w in words.items()}
            for activation in network.iteration:
                activate(network, activation, state, now)
            yield dict(state)
            step += 1
    now = {name: w[:, step] for name, w in words.items()}
    for activation in network.final:
        activate(network, activation, state, now)
    yield dict(state)


class ReferenceEngine(Engine):
    """NumPy, plain: the specification."""

    name = "reference"

    def block_size(self, network: IntegerNetwork, steps: int, record: tuple[str, ...]) -> int:
        """Samples that run at once."""
        return min(64, super().block_size(network, steps, record))

    def run_block(self, block: Block) -> BlockResult:
        """Run a block; see :meth:`Engine.run_block`."""
        network, samples = block.network, len(block.samples)
        steps = range(block.first_step, block.first_step + block.steps)
        words = {
            p.name: population_noise(p, block.seed, steps, block.samples) for p in network.drawing
        }
        frames = [
            {name: values[f].astype(np.int64) for name, values in block.inputs.items()}
            for f in range(block.frames)
        ]
        recorded = {
            name: np.empty(
                (samples, block.steps, network.population_of[name.partition(".")[0]].size),
                variable_dtype(network, name),
            )
            for name in block.record
        }
        state: State = {}
        for step, state in enumerate(iterate(network, frames, block.iterations, words, samples)):
            for name, array in recorded.items():
                array[:, step] = state[name]
            if step < block.steps - 1:
                block.advance(samples)
        return BlockResult({name: state[name] for name in network.variables}, recorded)
