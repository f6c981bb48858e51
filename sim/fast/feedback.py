"""Kernels for networks with error populations: the predictive topology.

Per iteration: draw counts, subtract the prediction (event-driven), weight the error; then one
dense product of graded spikes with the feedback weights; then the update. The product runs over
the whole batch (:mod:`pvae_neuro.sim.fast.products`), so one iteration of all samples is one call.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from pvae_neuro.sim.fast.events import (
    add_rows,
    add_wide_rows,
    draw_counts,
    integrate,
    record_counts,
    shift_to,
    square_error,
)
from pvae_neuro.sim.fast.philox import fill_words


@nb.njit(parallel=True, cache=True, nogil=True)  # type: ignore[untyped-decorator]
def draw_and_weigh(  # type: ignore[no-untyped-def]
    u, encoded, weight, exponent, mantissa_max, gain, gain_shift, limit,
    first, threshold, sampler, seed, first_sample, step,
    target, readout_weight, readout_left, sums, error, readout, counts, place, message,
):  # fmt: skip
    """First half of an iteration: counts, prediction, graded spikes ``message`` [B, M].

    Arrays as in ``run_recurrent``; encoded int32 [B, M]; weight int8 [K, M], row = source; gain
    int64 [M].
    """
    latents, pixels = u.shape[1], encoded.shape[1]
    for b in nb.prange(u.shape[0]):
        raw = np.empty((latents + 15) // 16 * 4, np.uint64)
        words = raw.view(np.uint16)[:latents]
        active, count = np.empty(latents + 1, np.int32), np.empty(latents + 1, np.int32)
        row, narrow = np.empty(latents, np.int32), np.empty(pixels, np.int16)
        total = np.empty(pixels, np.int32)
        fill_words(raw, seed, step, first_sample + b)
        found = draw_counts(u[b], words, first, threshold, sampler, active, count, row)
        record_counts(active, count, found, threshold.shape[1], sums[b, step], readout[b])
        if error.shape[1] > 0 and step > 0:
            add_wide_rows(readout_weight, active, count, found, total)
            error[b, step] = square_error(target[b], total, readout_left)
        if counts.shape[1] > 0:
            counts[b, place] = readout[b]
        add_rows(weight, mantissa_max, active, count, found, narrow, total)
        half = np.int64(1) << (gain_shift - 1)
        for i in range(pixels):
            difference = np.int64(encoded[b, i]) + shift_to(np.int64(total[i]), exponent)
            graded = (difference * gain[i] + half) >> gain_shift
            message[b, i] = min(max(graded, -limit), limit)


@nb.njit(parallel=True, cache=True, nogil=True)  # type: ignore[untyped-decorator]
def take_feedback(  # type: ignore[no-untyped-def]
    u, drive, received, exponent, diagonal, readout, clamps, potentials, place
):
    """Second half of an iteration: the update from the feedback ``received`` [B, K]."""
    latents = u.shape[1]
    for b in nb.prange(u.shape[0]):
        change = np.empty(latents, np.int32)
        for i in range(latents):
            back = shift_to(np.int64(received[b, i]), exponent)
            change[i] = drive[b, i] + back - np.int64(diagonal[i]) * readout[b, i]
        integrate(u[b], change, clamps)
        if potentials.shape[1] > 0:
            potentials[b, place] = u[b]
