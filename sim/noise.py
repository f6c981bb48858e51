"""Counter-based random words: a sample's noise depends on nothing but its own position.

Generator: Philox4x64-10 as NumPy ships it, with key = (seed, 0) and counter = (block, step, sample,
stream). A block yields 256 bits, read as sixteen words of 16 bits, low bits first; neuron i of a
population reads word ``first + i`` of its stream. NumPy raises the counter before it makes a block,
so the first block has the number 1. Batch size, engine, order and number of workers cannot change a
word.

Source of the generator: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network.population import Population
from pvae_neuro.network.sampler import WORD_BITS
from pvae_neuro.utils.show import show

WORDS_PER_BLOCK = 256 // WORD_BITS
LARGEST_INDEX = (1 << 63) - 1


def check_seed(seed: int) -> int:
    """Return ``seed`` if it fits the generator's key; raise :class:`InputError` if not."""
    return check_whole("seed", seed, 0, (1 << 64) - 1)


def check_whole(name: str, value: Any, low: int, high: int) -> int:
    """Return a whole number within bounds as an int; raise :class:`InputError` if it is not."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(f"{name}: expected a whole number, got {show(value)}")
    if not low <= value <= high:
        raise InputError(f"{name}: expected {low} to {high}, got {show(int(value))}")
    return int(value)


class NoiseSource:
    """Noise words of one population; repositioning is cheaper than making a generator anew.

    Parameters
    ----------
    seed : int
        Key.
    size : int
        Number of neurons.
    stream : int
        Last number of the counter.
    first : int
        Position of the first neuron in the stream.
    """

    def __init__(self, seed: int, size: int, stream: int = 0, first: int = 0) -> None:
        self._size = size
        self._block, self._skipped = divmod(first, WORDS_PER_BLOCK)
        self._generator = np.random.Philox(key=np.array([seed, 0], dtype=np.uint64))
        self._counter = np.array([self._block, 0, 0, stream], dtype=np.uint64)
        state = self._generator.state
        # A full buffer position makes the generator start a new block.
        inner = {**state["state"], "counter": self._counter}
        self._state: Any = {**state, "state": inner, "buffer_pos": 4}

    def words(self, step: int, sample: int) -> NDArray[np.uint16]:
        """Words of one step and sample: uint16 [size]."""
        self._counter[1], self._counter[2] = step, sample
        self._generator.state = self._state
        blocks = -(-(self._skipped + self._size) // WORDS_PER_BLOCK)
        raw = self._generator.random_raw(4 * blocks).astype("<u8", copy=False)
        words = raw.view("<u2")[self._skipped : self._skipped + self._size]
        return words.astype(np.uint16, copy=False)


def population_noise(
    population: Population, seed: int, steps: range, samples: Sequence[int]
) -> NDArray[np.uint16]:
    """Words of a population that draws: uint16 [samples, steps, size]."""
    sampler = population.sampler
    if sampler is None:
        raise InputError(f"noise: population {population.name!r} has no sampler")
    source = NoiseSource(seed, population.size, sampler.stream, sampler.first)
    out = np.empty((len(samples), len(steps), population.size), dtype=np.uint16)
    for row, sample in enumerate(samples):
        for column, step in enumerate(steps):
            out[row, column] = source.words(step, sample)
    return out
