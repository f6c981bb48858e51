"""What a kernel writes down: counts and their summaries, potentials, and the squared error.

The error of a reconstruction changes nothing in the network, so the lists of active neurons of some
steps are kept and read out together: each block of readout weights is then fetched once for all of
them, and stays in the first-level cache meanwhile.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from pvae_neuro.sim.fast.vectors import WORD_LANES, add_word_rows, store_word_sums, word_sums

# Steps that are read out together.
STEPS_TOGETHER = 16


class Readout(NamedTuple):
    """Readout weights in blocks of pixels.

    Attributes
    ----------
    weight : int16 [ceil(M / WORD_LANES) * K * WORD_LANES]
        Per block of ``WORD_LANES`` pixels, a row for each neuron; zero beyond M.
    left : int
        Left shift that brings the reconstruction to the unit of ``Samples.target``.
    """

    weight: NDArray[np.int16]
    left: int


class Records(NamedTuple):
    """Where a block of samples is recorded.

    Attributes
    ----------
    sums : int64 [B, T + 1, 3]
        Spikes, active neurons, neurons at the largest count.
    error : int64 [B, T + 1] or [B, 0]
    last : uint8 [B, K]
        Counts of the last step.
    image : int32 [B, M]
        Their reconstruction ``W z``.
    counts : uint8 [B, T + 1, K] or [B, 0, K]
    potentials : int32 [B, T + 1, K] or [B, 0, K]
    """

    sums: NDArray[np.int64]
    error: NDArray[np.int64]
    last: NDArray[np.uint8]
    image: NDArray[np.int32]
    counts: NDArray[np.uint8]
    potentials: NDArray[np.int32]


class Lists(NamedTuple):
    """Lists of active neurons of ``STEPS_TOGETHER`` steps of one sample, and room to read them out.

    Attributes
    ----------
    active, counts : int32 [STEPS_TOGETHER, K + 1]
        See :mod:`events`.
    pair : int32 [STEPS_TOGETHER, ceil(K / 2)]
    found : int64 [STEPS_TOGETHER]
    place : int32 [STEPS_TOGETHER, K + 1]
    image : int32 [STEPS_TOGETHER, M, padded to WORD_LANES]
    """

    active: NDArray[np.int32]
    counts: NDArray[np.int32]
    pair: NDArray[np.int32]
    found: NDArray[np.int64]
    place: NDArray[np.int32]
    image: NDArray[np.int32]


@nb.njit
def empty_lists(latents, pixels):  # type: ignore[no-untyped-def]
    """Lists for a network of that size; made once per call of a kernel."""
    return Lists(
        np.empty((STEPS_TOGETHER, latents + 1), np.int32),
        np.empty((STEPS_TOGETHER, latents + 1), np.int32),
        np.empty((STEPS_TOGETHER, latents // 2 + 1), np.int32),
        np.zeros(STEPS_TOGETHER, np.int64),
        np.empty((STEPS_TOGETHER, latents + 1), np.int32),
        np.empty((STEPS_TOGETHER, -(-pixels // WORD_LANES) * WORD_LANES), np.int32),
    )


@nb.njit
def record_step(records, b, step, active, count, found, spikes, most):  # type: ignore[no-untyped-def]
    """Record a list of active neurons."""
    saturated = np.int32(0)
    for a in range(found):
        saturated += np.int32(count[a] == most)
    records.sums[b, step, 0] = spikes
    records.sums[b, step, 1] = found
    records.sums[b, step, 2] = saturated
    if records.counts.shape[1] > 0:
        _write_counts(records.counts[b, step], active, count, found)


@nb.njit
def record_last(readout, records, b, lists, n):  # type: ignore[no-untyped-def]
    """Keep the counts of list ``n``, and their reconstruction."""
    _write_counts(records.last[b], lists.active[n], lists.counts[n], lists.found[n])
    _locate(lists, n)
    pixels = records.image.shape[1]
    for first in range(0, pixels, WORD_LANES):
        _read_block(readout, lists, n, first)
    for m in range(pixels):
        records.image[b, m] = lists.image[n, m]


@nb.njit
def _write_counts(out, active, count, found):  # type: ignore[no-untyped-def]
    out[:] = 0
    for a in range(found):
        out[active[a]] = count[a]


@nb.njit
def read_out(readout, target, lists, together, error, last):  # type: ignore[no-untyped-def]
    """Squared errors ``sum_m (target - (W z << left))**2`` of the steps that end with ``last``."""
    if error.shape[0] == 0:
        return
    for n in range(together):
        _locate(lists, n)
    for first in range(0, target.shape[0], WORD_LANES):
        for n in range(together):
            _read_block(readout, lists, n, first)
    for n in range(together):
        image = lists.image[n]
        error[last + 1 - together + n] = _square_error(target, image, readout.left)


@nb.njit
def _locate(lists, n):  # type: ignore[no-untyped-def]
    """Where the rows of a list's neurons begin in a block of readout weights."""
    for a in range(lists.found[n] + 1):
        lists.place[n, a] = lists.active[n, a] * WORD_LANES


@nb.njit
def _read_block(readout, lists, n, first):  # type: ignore[no-untyped-def]
    """``image[n, first : first + WORD_LANES] = W z`` of list ``n``."""
    base = first * (lists.active.shape[1] - 1)
    place, pair = lists.place[n], lists.pair[n]
    sums = word_sums()
    for p in range((lists.found[n] + 1) // 2):
        sums = add_word_rows(
            sums, readout.weight, base + place[2 * p], base + place[2 * p + 1], pair[p]
        )
    store_word_sums(sums, lists.image[n], first)


@nb.njit
def _square_error(target, image, left):  # type: ignore[no-untyped-def]
    error = np.int64(0)
    for i in range(target.shape[0]):
        difference = np.int64(target[i]) - (np.int64(image[i]) << left)
        error += difference * difference
    return error
