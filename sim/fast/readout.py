"""Figures of every iteration: sums of counts, and the squared error of their reconstruction.

The error of a reconstruction changes nothing in the network, so the lists of active neurons of some
steps are kept and read out together: each block of readout weights is then fetched once for all of
them, and stays in the first-level cache meanwhile.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from pvae_neuro.sim.fast.compiled import compiled
from pvae_neuro.sim.fast.events import list_active, pair_counts
from pvae_neuro.sim.fast.vectors import WORD_LANES, add_word_rows, store_word_sums, word_sums

# Steps that are read out together.
STEPS_TOGETHER = 16


class Readout(NamedTuple):
    """Readout weights in blocks of pixels.

    Attributes
    ----------
    weight : int16 [ceil(M / WORD_LANES) * K * WORD_LANES]
        Per block of ``WORD_LANES`` pixels, a row for each neuron; zero beyond M.
    neurons : int
        K.
    left : int
        Left shift that brings the reconstruction to the unit of ``Samples.target``.
    """

    weight: NDArray[np.int16]
    neurons: int
    left: int


class Ring(NamedTuple):
    """Lists of active neurons of ``STEPS_TOGETHER`` steps of one sample, and room to read them out.

    Attributes
    ----------
    place : int32 [STEPS_TOGETHER, K + 2]
        Where the rows of active neurons begin in a block of readout weights.
    pair : int32 [STEPS_TOGETHER, ceil(K / 2) + 1]
        See :mod:`events`.
    found : int64 [STEPS_TOGETHER]
    image : int32 [STEPS_TOGETHER, M, padded to WORD_LANES]
    """

    place: NDArray[np.int32]
    pair: NDArray[np.int32]
    found: NDArray[np.int64]
    image: NDArray[np.int32]


@nb.njit
def empty_ring(neurons, pixels):  # type: ignore[no-untyped-def]
    """Room for a network of that size; made once per call of the kernel."""
    return Ring(
        np.empty((STEPS_TOGETHER, neurons + 2), np.int32),
        np.empty((STEPS_TOGETHER, neurons // 2 + 1), np.int32),
        np.zeros(STEPS_TOGETHER, np.int64),
        np.empty((STEPS_TOGETHER, -(-pixels // WORD_LANES) * WORD_LANES), np.int32),
    )


@nb.njit
def keep_list(ring, n, active, pair, found):  # type: ignore[no-untyped-def]
    """Keep a list as number ``n``."""
    for a in range(found + 1):
        ring.place[n, a] = active[a] * WORD_LANES
    for p in range((found + 1) // 2):
        ring.pair[n, p] = pair[p]
    ring.found[n] = found


@nb.njit
def record_sums(sums, count, found, most):  # type: ignore[no-untyped-def]
    """Sum of counts, active neurons, and those at the largest count."""
    spikes, saturated = np.int64(0), np.int64(0)
    for a in range(found):
        spikes += count[a]
        saturated += np.int64(count[a] == most)
    sums[0], sums[1], sums[2] = spikes, found, saturated


@nb.njit
def read_out(readout, target, ring, together, error, last, iterations):  # type: ignore[no-untyped-def]
    """Squared errors ``sum_m (target - (W z << left))**2`` of the steps that end with ``last``.

    The counts of a step are compared with the frame of the iteration before it.
    """
    for first in range(0, target.shape[1], WORD_LANES):
        for n in range(together):
            _read_block(readout, ring, n, first)
    for n in range(together):
        step = last + 1 - together + n
        if step > 0:
            frame = target[(step - 1) // iterations]
            error[step] = _square_error(frame, ring.image[n], readout.left)


@nb.njit
def _read_block(readout, ring, n, first):  # type: ignore[no-untyped-def]
    """``image[n, first : first + WORD_LANES] = W z`` of list ``n``."""
    base = first * readout.neurons
    place, pair = ring.place[n], ring.pair[n]
    sums = word_sums()
    for p in range((ring.found[n] + 1) // 2):
        sums = add_word_rows(
            sums, readout.weight, base + place[2 * p], base + place[2 * p + 1], pair[p]
        )
    store_word_sums(sums, ring.image[n], first)


@nb.njit
def _square_error(target, image, left):  # type: ignore[no-untyped-def]
    error = np.int64(0)
    for i in range(target.shape[0]):
        difference = np.int64(target[i]) - (np.int64(image[i]) << left)
        error += difference * difference
    return error


@compiled
def read_values(readout, values, image, first, last):  # type: ignore[no-untyped-def]
    """``image[b] = W values[b]`` for rows ``first`` to ``last``: int32 [B, K] to int32 [B, M]."""
    neurons, pixels = values.shape[1], image.shape[1]
    ring = empty_ring(neurons, pixels)
    active, count = np.empty(neurons + 2, np.int32), np.empty(neurons + 2, np.int32)
    pair = np.empty(neurons // 2 + 1, np.int32)
    for b in range(first, last):
        found = list_active(values[b], active, count)
        pair_counts(count, found, pair)
        keep_list(ring, 0, active, pair, found)
        for block in range(0, pixels, WORD_LANES):
            _read_block(readout, ring, 0, block)
        image[b] = ring.image[0, :pixels]
