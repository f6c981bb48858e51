"""Counter-based random words: a sample's noise depends on nothing but its own place.

Generator: Philox4x64-10 as NumPy ships it, with key = (seed, 0) and counter =
(block, step, sample, population). A block yields 256 bits, read as sixteen words of 16 bits, low
bits first; neuron i reads word i. NumPy counts blocks from 1. Batch size, engine, order and number
of workers cannot change a word.

Source of the generator: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

from collections.abc import Sequence

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
    generator = np.random.Philox(
        key=np.array([seed, 0], dtype=np.uint64),
        counter=np.array([0, step, sample, population], dtype=np.uint64),
    )
    raw = generator.random_raw(-(-size // WORDS_PER_RAW)).astype("<u8")
    return raw.view("<u2")[:size].astype(np.uint16, copy=False)


def noise(
    seed: int, steps: int, samples: Sequence[int], size: int, population: int = 0
) -> NDArray[np.uint16]:
    """Noise words of several samples over steps 0 .. steps-1.

    Returns
    -------
    uint16 [len(samples), steps, size]
    """
    out = np.empty((len(samples), steps, size), dtype=np.uint16)
    for row, sample in enumerate(samples):
        for step in range(steps):
            out[row, step] = words(seed, step, sample, size, population)
    return out
