"""What every iteration of a sample begins and ends with, whatever its circuit."""

from __future__ import annotations

import numba as nb

from pvae_neuro.sim.fast.events import draw_counts, pair_counts
from pvae_neuro.sim.fast.philox import fill_words
from pvae_neuro.sim.fast.readout import STEPS_TOGETHER, read_out, record_last, record_step


@nb.njit
def begin_step(u, b, step, n, sampler, noise, scratch, lists, records):  # type: ignore[no-untyped-def]
    """Draw the counts of sample ``b`` as list ``n``, and record them."""
    active, count = lists.active[n], lists.counts[n]
    fill_words(scratch.raw, noise.seed, step, noise.first_sample + b)
    found, spikes = draw_counts(u, sampler, scratch, active, count)
    pair_counts(count, found, lists.pair[n])
    lists.found[n] = found
    record_step(records, b, step, active, count, found, spikes, sampler.most)


@nb.njit
def end_step(u, b, step, n, stop, readout, target, lists, records):  # type: ignore[no-untyped-def]
    """Record what the step left; read the lists out when they are full. Returns the next list."""
    if records.potentials.shape[1] > 0:
        records.potentials[b, step] = u
    if step == stop - 1:
        record_last(readout, records, b, lists, n)
    if n + 1 < STEPS_TOGETHER and step < stop - 1:
        return n + 1
    read_out(readout, target, lists, n + 1, records.error[b], step)
    return 0
