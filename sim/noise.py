"""Counter-based random words: a sample's noise depends on nothing but its own place.

Generator: Philox4x64-10 as NumPy ships it, with key = (seed, 0) and counter =
(block, step, sample, population). A block yields 256 bits, read as sixteen words of 16 bits, low
bits first; neuron i reads word i. NumPy counts blocks from 1. Batch size, engine, order and number
of workers cannot change a word.

Source of the generator: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.count_table import WORD_BITS
from pvae_neuro.errors import InputError

WORDS_PER_RAW = 64 // WORD_BITS


def check_seed(seed: int) -> int:
    """Return ``seed`` if it fits the generator's key; raise :class:`InputError` if not."""
    if not 0 <= seed < 1 << 64:
        raise InputError(f"seed: expected an integer in [0, 2**64), got {seed}")
    return seed


class NoiseSource:
    """Noise words of one population; repositioning is cheaper than making a generator anew.

    Parameters
    ----------
    seed : int
        Key.
    size : int
        Number of neurons.
    population : int
        Last word of the counter.
    """

    def __init__(self, seed: int, size: int, population: int = 0) -> None:
        self._size, self._population = size, population
        self._generator = np.random.Philox(key=np.array([seed, 0], dtype=np.uint64))
        self._state: Any = dict(self._generator.state)
        # A full buffer position makes the generator start a new block.
        self._state["buffer_pos"] = 4

    def words(self, step: int, sample: int) -> NDArray[np.uint16]:
        """Words of one step and sample: uint16 [size]."""
        counter = np.array([0, step, sample, self._population], dtype=np.uint64)
        self._state["state"] = {**self._state["state"], "counter": counter}
        self._generator.state = self._state
        raw = self._generator.random_raw(-(-self._size // WORDS_PER_RAW)).astype("<u8", copy=False)
        return raw.view("<u2")[: self._size].astype(np.uint16, copy=False)


def words(seed: int, step: int, sample: int, size: int, population: int = 0) -> NDArray[np.uint16]:
    """Noise words of one population, sample and step.

    Parameters
    ----------
    seed, step, sample, population : int
        Place of the words; each is 64 bits wide.
    size : int
        Number of neurons.

    Returns
    -------
    uint16 [size]
    """
    return NoiseSource(seed, size, population).words(step, sample)


def noise(
    seed: int, steps: int, samples: Sequence[int], size: int, population: int = 0
) -> NDArray[np.uint16]:
    """Noise words of several samples over steps 0 .. steps-1.

    Returns
    -------
    uint16 [len(samples), steps, size]
    """
    source = NoiseSource(seed, size, population)
    out = np.empty((len(samples), steps, size), dtype=np.uint16)
    for row, sample in enumerate(samples):
        for step in range(steps):
            out[row, step] = source.words(step, sample)
    return out
