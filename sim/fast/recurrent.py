"""Kernel for networks whose spikes return within one hop: the lateral topology.

Every sample runs on its own, all its iterations in one go, with its state in the first-level
cache. Only the rows of active latents are read.
"""

from __future__ import annotations

import numba as nb

from pvae_neuro.sim.fast.events import (
    add_rows,
    add_shifted,
    empty_scratch,
    inhibit_itself,
    integrate,
)
from pvae_neuro.sim.fast.readout import empty_lists
from pvae_neuro.sim.fast.steps import begin_step, end_step


@nb.njit
def _iterate(u, drive, rows, neurons, scratch, lists, n):  # type: ignore[no-untyped-def]
    """One update of a sample's potentials from the counts of list ``n``."""
    active, count, pair, found = lists.active[n], lists.counts[n], lists.pair[n], lists.found[n]
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
    u, drive, target = samples.u[b], samples.drive[b], samples.target[b]
    n = 0
    for step in range(start, stop):
        begin_step(u, b, step, n, sampler, noise, scratch, lists, records)
        if step < updates:
            _iterate(u, drive, rows, neurons, scratch, lists, n)
        n = end_step(u, b, step, n, stop, readout, target, lists, records)


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
