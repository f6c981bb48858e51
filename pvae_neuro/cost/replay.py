"""Runs what an engine recorded once more, all iterations at once, to see what happens within them.

A recording holds variables at the end of each iteration. With those of the iteration before, each
iteration can be run by itself: so here its rows are iterations of any images, and the products go
to BLAS. The results must be what the engine recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.cost.sampler_path import traced
from pvae_neuro.network import Activation, IntegerNetwork, Population, shift_right
from pvae_neuro.network.interpreter import Formula, run_program
from pvae_neuro.sim.reference import FORMULAS, State

Words = dict[str, NDArray[np.uint16]]
Draw = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Acted:
    """What happened in one activation.

    Attributes
    ----------
    number : int
        Its place in the schedule.
    activation : Activation
    sent : dict of str to int64 [R, n]
        Values that each of its connections delivered.
    drawn : tuple of (int64 [R, n], int64 [R, parts, parts of the sampler])
        For each ``draw`` the counts, and how often each part of the population came through the
        parts of the sampler.
    """

    number: int
    activation: Activation
    sent: State
    drawn: tuple[Draw, ...]


def replay(
    network: IntegerNetwork,
    activations: Iterable[Activation],
    state: State,
    words: Words,
    parts: Mapping[str, NDArray[np.int64]],
) -> Iterator[Acted]:
    """Run activations on rows of states; ``state`` holds the last values when it ends.

    Parameters
    ----------
    network : IntegerNetwork
    activations : iterable of Activation
    state : dict of str to int64 [R, n]
        Every variable before, inputs included.
    words : dict of str to uint16 [R, n]
        Random words of each population that draws.
    parts : mapping of str to int64 [n]
        The part that each neuron of a population belongs to.
    """
    weights = network.compiled.setdefault("weights in floats", {})
    for number, activation in enumerate(activations):
        population = network.population_of[activation.population]
        values = {v.name: state[f"{population.name}.{v.name}"] for v in population.variables}
        sent: State = {}
        for name, connections in network.groups(activation).items():
            total: Any = 0
            for c in connections:
                if c.name not in weights:
                    weights[c.name] = c.weight.astype(np.float32)
                sent[c.name] = state[f"{c.source}.{c.variable}"]
                # Proved to keep 24 bits, sign included, while it adds up in any order.
                total = total + c.product(sent[c.name].astype(np.float32), weights[c.name])
            values[name] = shift_right(total.astype(np.int64), -connections[0].exponent)
        drawn: list[Draw] = []
        random = _random(population, words, parts[population.name], drawn)
        program = population.program(activation.program)
        outputs = run_program(population, program, values, FORMULAS, random)
        state.update({f"{population.name}.{name}": value for name, value in outputs.items()})
        yield Acted(number, activation, sent, tuple(drawn))


def _random(
    population: Population, words: Words, part: NDArray[np.int64], drawn: list[Draw]
) -> dict[str, Formula]:
    """Meaning of ``word`` and ``draw``; what is drawn is added to ``drawn``."""
    sampler = population.sampler
    if sampler is None or population.name not in words:
        return {}
    word = words[population.name].astype(np.int64)

    def draw(u: Any) -> Any:
        drawn.append(traced(u, word, sampler.max_count, sampler.frac_bits, part))
        return drawn[-1][0]

    return {"word": lambda: word, "draw": draw}
