"""Kernel for networks whose spikes return within one hop: the lateral topology.

Every sample runs on its own, all its iterations in one go, with its state in the first-level
cache. Only the rows of active latents are read.
"""

from __future__ import annotations

import numba as nb

from pvae_neuro.sim.fast.events import (
    add_rows,
    add_shifted,
    draw_counts,
    empty_scratch,
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


@nb.njit
def _iterate(u, drive, rows, neurons, scratch, active, count, pair, found):  # type: ignore[no-untyped-def]
    """One update of a sample's potentials."""
    change = scratch.change
    for i in range(change.shape[0]):
        change[i] = drive[i]
    inhibit_itself(change, neurons.diagonal, active, count, found)
    for c in range(rows.weight.shape[0]):
        add_rows(rows.weight[c], rows.largest[c], active, count, pair, found, scratch)
        add_shifted(change, scratch.total, rows.exponent[c])
    integrate(u, change, neurons.clamps)


@nb.njit
def _run_sample(  # type: ignore[no-untyped-def]
    b, samples, rows, neurons, sampler, readout, records, noise, start, stop, updates, scratch,
    lists,
):  # fmt: skip
    """One sample of :func:`run_recurrent`."""
    u, drive = samples.u[b], samples.drive[b]
    together = 0
    for step in range(start, stop):
        active, count, pair = lists.active[together], lists.counts[together], lists.pair[together]
        fill_words(scratch.raw, noise.seed, step, noise.first_sample + b)
        found, spikes = draw_counts(u, sampler, scratch, active, count)
        pair_counts(count, found, pair)
        lists.found[together] = found
        record_step(records, b, step, active, count, found, spikes, sampler.most)
        if step < updates:
            _iterate(u, drive, rows, neurons, scratch, active, count, pair, found)
        if records.potentials.shape[1] > 0:
            records.potentials[b, step] = u
        if step == stop - 1:
            record_last(readout, records, b, lists, together)
        together += 1
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
    latents = samples.u.shape[1]
    scratch = empty_scratch(latents, latents)
    lists = empty_lists(latents, samples.target.shape[1])
    for b in range(first, last):
        _run_sample(
            b, samples, rows, neurons, sampler, readout, records, noise, start, stop, updates,
            scratch, lists,
        )  # fmt: skip
