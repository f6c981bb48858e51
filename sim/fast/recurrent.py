"""Kernel for networks whose spikes return within one hop: the lateral topology.

Every sample runs on its own, all its iterations in one go, with its state in the first-level
cache; samples are spread over threads. Only the rows of active latents are read.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from pvae_neuro.sim.fast.events import (
    add_rows,
    add_shifted,
    add_wide_rows,
    draw_counts,
    integrate,
    record_counts,
    square_error,
)
from pvae_neuro.sim.fast.philox import fill_words


@nb.njit(nogil=True)
def _change(  # type: ignore[no-untyped-def]
    drive, diagonal, weight, exponent, mantissa_max, active, count, found, narrow, total, change
):
    """Potential change: drive, self-inhibition, and every connection's shifted sum."""
    for i in range(change.shape[0]):
        change[i] = drive[i]
    for a in range(found):
        change[active[a]] -= diagonal[active[a]] * count[a]
    for c in range(weight.shape[0]):
        add_rows(weight[c], mantissa_max, active, count, found, narrow, total)
        add_shifted(change, total, exponent[c])


@nb.njit(nogil=True)
def _run_sample(  # type: ignore[no-untyped-def]
    u, drive, weight, exponent, mantissa_max, diagonal, clamps,
    first, threshold, sampler, seed, sample, start, stop, updates,
    target, readout_weight, readout_left, sums, error, readout, counts, potentials,
):  # fmt: skip
    """One sample of :func:`run_recurrent`; arrays without their batch axis."""
    latents = u.shape[0]
    raw = np.empty((latents + 15) // 16 * 4, np.uint64)
    words = raw.view(np.uint16)[:latents]
    active, count = np.empty(latents + 1, np.int32), np.empty(latents + 1, np.int32)
    row, total = np.empty(latents, np.int32), np.empty(latents, np.int32)
    change, narrow = np.empty(latents, np.int32), np.empty(latents, np.int16)
    pixels = np.empty(target.shape[0], np.int32)
    for step in range(start, stop):
        fill_words(raw, seed, step, sample)
        found = draw_counts(u, words, first, threshold, sampler, active, count, row)
        record_counts(active, count, found, threshold.shape[1], sums[step], readout)
        if error.shape[0] > 0 and step > 0:
            add_wide_rows(readout_weight, active, count, found, pixels)
            error[step] = square_error(target, pixels, readout_left)
        if counts.shape[0] > 0:
            counts[step] = readout
        if step < updates:
            _change(
                drive, diagonal, weight, exponent, mantissa_max, active, count, found, narrow,
                total, change,
            )  # fmt: skip
            integrate(u, change, clamps)
        if potentials.shape[0] > 0:
            potentials[step] = u


@nb.njit(parallel=True, cache=True, nogil=True)
def run_recurrent(  # type: ignore[no-untyped-def]
    u, drive, weight, exponent, mantissa_max, diagonal, clamps,
    first, threshold, sampler, seed, first_sample, start, stop, updates,
    target, readout_weight, readout_left, sums, error, readout, counts, potentials,
):  # fmt: skip
    """Advance all samples from step ``start`` to ``stop``; steps from ``updates`` on only draw.

    Arrays: u int32 [B, K] (in and out); drive int32 [B, K], leak already subtracted; weight int8
    [C, K, K], row = source; exponent int64 [C]; diagonal int32 [K]; target int32 [B, M]; sums
    int64 [B, T + 1, 3]; error int64 [B, T + 1] or [B, 0]; readout uint8 [B, K]; counts uint8
    [B, T + 1, K] or [B, 0, K], potentials int32 likewise.
    """
    for b in nb.prange(u.shape[0]):
        _run_sample(
            u[b], drive[b], weight, exponent, mantissa_max, diagonal, clamps,
            first, threshold, sampler, seed, first_sample + b, start, stop, updates,
            target[b], readout_weight, readout_left, sums[b], error[b], readout[b], counts[b],
            potentials[b],
        )  # fmt: skip
