"""Kernel for networks whose spikes return within one hop: the lateral topology.

Every sample runs on its own, all its iterations in one go, with its state in the first-level
cache. Only the rows of active latents are read.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from pvae_neuro.sim.fast.events import (
    add_rows,
    add_shifted,
    draw_counts,
    inhibit_itself,
    integrate,
    pair_counts,
)
from pvae_neuro.sim.fast.philox import fill_words
from pvae_neuro.sim.fast.readout import (
    STEPS_TOGETHER,
    empty_lists,
    read_out,
    record_last,
    record_step,
)
from pvae_neuro.sim.fast.vectors import BYTE_LANES


@nb.njit
def _run_sample(  # type: ignore[no-untyped-def]
    b, samples, rows, neurons, sampler, readout, records, noise, start, stop, updates
):
    """One sample of :func:`run_recurrent`."""
    u = samples.u[b]
    latents = u.shape[0]
    width = -(-latents // BYTE_LANES) * BYTE_LANES
    raw = np.empty((latents + 15) // 16 * 4, np.uint64)
    words = raw.view(np.uint16)[:latents]
    row, fires = np.empty(latents, np.int32), np.empty(latents, np.uint8)
    change = np.empty(latents, np.int32)
    part, total = np.empty(width, np.int32), np.empty(width, np.int32)
    lists = empty_lists(latents)
    together = 0
    for step in range(start, stop):
        active, count, pair = lists.active[together], lists.counts[together], lists.pair[together]
        fill_words(raw, noise.seed, step, noise.first_sample + b)
        found, spikes = draw_counts(u, words, sampler, row, fires, active, count)
        pair_counts(count, found, pair)
        lists.found[together] = found
        record_step(records, b, step, active, count, found, spikes, sampler.most)
        if step < updates:
            for i in range(latents):
                change[i] = samples.drive[b, i]
            inhibit_itself(change, neurons.diagonal, active, count, found)
            for c in range(rows.weight.shape[0]):
                weight, largest = rows.weight[c], rows.largest[c]
                add_rows(weight, largest, active, count, pair, found, part, total)
                add_shifted(change, total, rows.exponent[c])
            integrate(u, change, neurons.clamps)
        if records.potentials.shape[1] > 0:
            records.potentials[b, step] = u
        together += 1
        if step == stop - 1:
            record_last(records, b, active, count, found)
        if together == STEPS_TOGETHER or step == stop - 1:
            read_out(readout, samples.target[b], lists, together, records.error[b], step)
            together = 0


@nb.njit(cache=True, nogil=True)
def run_recurrent(  # type: ignore[no-untyped-def]
    samples, rows, neurons, sampler, readout, records, noise, first, last, start, stop, updates
):
    """Advance samples ``first`` to ``last`` from step ``start`` to ``stop``.

    Steps from ``updates`` on only draw.
    """
    for b in range(first, last):
        _run_sample(
            b, samples, rows, neurons, sampler, readout, records, noise, start, stop, updates
        )
