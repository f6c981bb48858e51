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


@nb.njit(nogil=True)
def _weigh(encoded, total, exponent, gain, gain_shift, limit, message):  # type: ignore[no-untyped-def]
    """Graded spikes of one sample: ``clamp((x + shift(total)) * gain >> gain_shift, +-limit)``."""
    half = np.int64(1) << (gain_shift - 1)
    for i in range(message.shape[0]):
        difference = np.int64(encoded[i]) + shift_to(np.int64(total[i]), exponent)
        graded = (difference * gain[i] + half) >> gain_shift
        message[i] = min(max(graded, -limit), limit)


@nb.njit(nogil=True)
def _draw_sample(  # type: ignore[no-untyped-def]
    u, encoded, weight, exponent, mantissa_max, gain, gain_shift, limit,
    first, threshold, sampler, seed, sample, step,
    target, readout_weight, readout_left, sums, error, readout, counts, place, message,
):  # fmt: skip
    """One sample of :func:`draw_and_weigh`; arrays without their batch axis."""
    latents, pixels = u.shape[0], encoded.shape[0]
    raw = np.empty((latents + 15) // 16 * 4, np.uint64)
    words = raw.view(np.uint16)[:latents]
    active, count = np.empty(latents + 1, np.int32), np.empty(latents + 1, np.int32)
    row, narrow = np.empty(latents, np.int32), np.empty(pixels, np.int16)
    total = np.empty(pixels, np.int32)
    fill_words(raw, seed, step, sample)
    found = draw_counts(u, words, first, threshold, sampler, active, count, row)
    record_counts(active, count, found, threshold.shape[1], sums[step], readout)
    if error.shape[0] > 0 and step > 0:
        add_wide_rows(readout_weight, active, count, found, total)
        error[step] = square_error(target, total, readout_left)
    if counts.shape[0] > 0:
        counts[place] = readout
    add_rows(weight, mantissa_max, active, count, found, narrow, total)
    _weigh(encoded, total, exponent, gain, gain_shift, limit, message)


@nb.njit(parallel=True, cache=True, nogil=True)
def draw_and_weigh(  # type: ignore[no-untyped-def]
    u, encoded, weight, exponent, mantissa_max, gain, gain_shift, limit,
    first, threshold, sampler, seed, first_sample, step,
    target, readout_weight, readout_left, sums, error, readout, counts, place, message,
):  # fmt: skip
    """First half of an iteration: counts, prediction, graded spikes ``message`` [B, M].

    Arrays as in ``run_recurrent``; encoded int32 [B, M]; weight int8 [K, M], row = source; gain
    int64 [M].
    """
    for b in nb.prange(u.shape[0]):
        _draw_sample(
            u[b], encoded[b], weight, exponent, mantissa_max, gain, gain_shift, limit,
            first, threshold, sampler, seed, first_sample + b, step,
            target[b], readout_weight, readout_left, sums[b], error[b], readout[b], counts[b],
            place, message[b],
        )  # fmt: skip


@nb.njit(nogil=True)
def _take_sample(u, drive, received, exponent, diagonal, readout, clamps):  # type: ignore[no-untyped-def]
    """One sample of :func:`take_feedback`."""
    change = np.empty(u.shape[0], np.int32)
    for i in range(u.shape[0]):
        back = shift_to(np.int64(received[i]), exponent)
        change[i] = drive[i] + back - np.int64(diagonal[i]) * readout[i]
    integrate(u, change, clamps)


@nb.njit(parallel=True, cache=True, nogil=True)
def take_feedback(  # type: ignore[no-untyped-def]
    u, drive, received, exponent, diagonal, readout, clamps, potentials, place
):
    """Second half of an iteration: the update from the feedback ``received`` [B, K]."""
    for b in nb.prange(u.shape[0]):
        _take_sample(u[b], drive[b], received[b], exponent, diagonal, readout[b], clamps)
        if potentials.shape[1] > 0:
            potentials[b, place] = u[b]
