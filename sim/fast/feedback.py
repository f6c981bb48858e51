"""Kernel for networks with error populations: the predictive topology.

Per iteration: draw counts; subtract the prediction, event-driven; weight the error; add the product
of the graded spikes with the feedback weights, dense and in 16-bit multiplications; update.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from pvae_neuro.sim.fast.events import (
    add_rows,
    empty_scratch,
    inhibit_itself,
    integrate,
    shift_to,
)
from pvae_neuro.sim.fast.readout import empty_lists
from pvae_neuro.sim.fast.steps import begin_step, end_step
from pvae_neuro.sim.fast.vectors import PAIR_LANES, add_pairs, pair_sums, store_pair_sums


class Feedback(NamedTuple):
    """Error population and its way back.

    Attributes
    ----------
    gain : int64 [M]
    gain_shift, limit : int
        See ``ErrorPopulation``.
    weight : int8 [ceil(K / PAIR_LANES), ceil(M / 2), PAIR_LANES * 2]
        Two pixels' weights side by side for each latent of a block; zero beyond K and M.
    exponent : int
    digits, digit_bits : int
        Messages are split into so many digits of so many bits, the last one signed: 16-bit
        factors whose products add up within 32 bits.
    """

    gain: NDArray[np.int64]
    gain_shift: int
    limit: int
    weight: NDArray[np.int8]
    exponent: int
    digits: int
    digit_bits: int


class Loop(NamedTuple):
    """Room for one sample's way through the error population.

    Attributes
    ----------
    message : int32 [M]
        Graded spikes.
    digit : int16 [2 ceil(M / 2)]
    product : int32 [K, padded to PAIR_LANES]
    received : int64 [K]
    """

    message: NDArray[np.int32]
    digit: NDArray[np.int16]
    product: NDArray[np.int32]
    received: NDArray[np.int64]


@nb.njit
def _empty_loop(latents, pixels, back):  # type: ignore[no-untyped-def]
    return Loop(
        np.empty(pixels, np.int32),
        np.zeros(2 * back.weight.shape[1], np.int16),
        np.empty(back.weight.shape[0] * PAIR_LANES, np.int32),
        np.empty(latents, np.int64),
    )


@nb.njit
def _weigh(encoded, total, exponent, back, message):  # type: ignore[no-untyped-def]
    """Graded spikes of one sample: ``clamp((x + shift(total)) * gain >> gain_shift, +-limit)``."""
    half = np.int64(1) << (back.gain_shift - 1)
    for i in range(encoded.shape[0]):
        difference = np.int64(encoded[i]) + shift_to(np.int64(total[i]), exponent)
        graded = (difference * back.gain[i] + half) >> back.gain_shift
        message[i] = min(max(graded, -back.limit), back.limit)


@nb.njit
def _take_digit(loop, place, back):  # type: ignore[no-untyped-def]
    """``digit`` becomes the messages' digit of that place."""
    mask = np.int32((1 << back.digit_bits) - 1)
    shift = place * back.digit_bits
    for i in range(loop.message.shape[0]):
        rest = loop.message[i] >> shift
        loop.digit[i] = rest if place == back.digits - 1 else rest & mask


@nb.njit
def _multiply(loop, back):  # type: ignore[no-untyped-def]
    """``received[k] = sum over pixels m of message[m] * weight[k, m]``, digit by digit."""
    pairs = loop.digit.view(np.int32)
    weight = back.weight.reshape(-1)
    line = 2 * PAIR_LANES
    loop.received[:] = 0
    for place in range(back.digits):
        _take_digit(loop, place, back)
        for block in range(back.weight.shape[0]):
            base = block * pairs.shape[0] * line
            sums = pair_sums()
            for p in range(pairs.shape[0]):
                sums = add_pairs(sums, weight, base + p * line, pairs[p])
            store_pair_sums(sums, loop.product, block * PAIR_LANES)
        for k in range(loop.received.shape[0]):
            loop.received[k] += np.int64(loop.product[k]) << (place * back.digit_bits)


@nb.njit
def _iterate(u, drive, encoded, rows, back, neurons, scratch, loop, lists, n):  # type: ignore[no-untyped-def]
    """One update of a sample's potentials: prediction, error, feedback."""
    active, count, pair, found = lists.active[n], lists.counts[n], lists.pair[n], lists.found[n]
    add_rows(rows.weight[0], rows.largest[0], active, count, pair, found, scratch)
    _weigh(encoded, scratch.total, rows.exponent[0], back, loop.message)
    _multiply(loop, back)
    change = scratch.change
    for k in range(change.shape[0]):
        change[k] = drive[k] + shift_to(loop.received[k], back.exponent)
    inhibit_itself(change, neurons.diagonal, active, count, found)
    integrate(u, change, neurons.clamps)


@nb.njit
def _run_sample(  # type: ignore[no-untyped-def]
    b, samples, rows, back, neurons, sampler, readout, records, noise, start, stop, updates,
    scratch, loop, lists,
):  # fmt: skip
    """One sample of :func:`run_feedback`."""
    u, drive = samples.u[b], samples.drive[b]
    encoded, target = samples.encoded[b], samples.target[b]
    n = 0
    for step in range(start, stop):
        begin_step(u, b, step, n, sampler, noise, scratch, lists, records)
        if step < updates:
            _iterate(u, drive, encoded, rows, back, neurons, scratch, loop, lists, n)
        n = end_step(u, b, step, n, stop, readout, target, lists, records)


@nb.njit(cache=True, nogil=True)
def run_feedback(  # type: ignore[no-untyped-def]
    samples, rows, back, neurons, sampler, readout, records, noise, first, last, start, stop,
    updates,
):  # fmt: skip
    """Advance samples ``first`` to ``last`` from step ``start`` to ``stop``.

    Steps from ``updates`` on only draw.
    """
    latents, pixels = samples.u.shape[1], samples.encoded.shape[1]
    scratch, loop = empty_scratch(latents, pixels), _empty_loop(latents, pixels, back)
    lists = empty_lists(latents, pixels)
    for b in range(first, last):
        _run_sample(
            b, samples, rows, back, neurons, sampler, readout, records, noise, start, stop,
            updates, scratch, loop, lists,
        )  # fmt: skip
