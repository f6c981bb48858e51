"""Compiled forward pass of a window of time steps, over events.

One window is T updates ``u_{t+1} = S(u_t + S(η (h - z_t W - e^b)))`` (iP-VAE, arXiv 2410.19315,
eq. 7 in the space of the latents) with the clamps S and exact counts
``z_t ~ Poisson(exp(u_t))``. Two thirds to nine tenths of the counts are zero, so ``z_t W`` adds
the rows of W of the neurons that fired and no others. A sample runs through all its steps before
the next one begins: its potentials stay in the first-level cache, W in the second.

All arrays are C-contiguous float32 unless stated; T steps, B samples, K neurons.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic

from pvae_neuro.models.sampling.counter_noise import FIRST, SECOND, SPREAD
from pvae_neuro.models.sampling.exact_poisson import LARGEST_COUNT

_SPREAD, _FIRST, _SECOND = np.uint32(SPREAD), np.uint32(FIRST), np.uint32(SECOND)
_SIGN = np.uint32(0x80000000)
OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}


@intrinsic  # type: ignore[untyped-decorator]
def _as_float(typingctx: Any, bits: Any) -> Any:
    """Read the 32 bits of an integer as a float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return numba.float32(numba.int32), codegen


@njit(inline="always", **OPTIONS)  # type: ignore[untyped-decorator]
def fast_exp(x: Any) -> Any:
    """``exp(x)`` in float32 within 2 units in the last place, without branches: it vectorises."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    # ln 2 in two parts: the first has few bits, so that n times it is exact.
    f = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * f + np.float32(1.3981999507e-3)
    p = p * f + np.float32(8.3334519073e-3)
    p = p * f + np.float32(4.1665795894e-2)
    p = p * f + np.float32(1.6666665459e-1)
    p = p * f + np.float32(5.0000001201e-1)
    y = p * f * f + f + np.float32(1.0)
    return y * _as_float((np.int32(n) + np.int32(127)) << np.int32(23))


@njit(inline="always", **OPTIONS)  # type: ignore[untyped-decorator]
def _uniform(place: Any, key: Any) -> Any:
    """The 24-bit word that ``counter_noise.CounterNoise`` gives a place under a key."""
    # Numba widens sums and products of 32-bit words to 64 bits; each cast drops the upper half.
    w = np.uint32(np.uint32(place * _SPREAD) ^ key)
    w = np.uint32(w ^ (w >> np.uint32(16)))
    w = np.uint32(w * _FIRST)
    w = np.uint32(w ^ (w >> np.uint32(15)))
    w = np.uint32(w * _SECOND)
    w = np.uint32(w ^ (w >> np.uint32(16)))
    # That class shifts signed words, so the inverted sign bit becomes the highest of the 24.
    return np.uint32(np.uint32(w ^ _SIGN) >> np.uint32(8))


_RECIPROCAL = np.concatenate([[np.inf], 1.0 / np.arange(1, LARGEST_COUNT + 1)])
_SINGLE_PRECISION_RATE = np.float32(80.0)
"""Below this rate, exp(-rate) is far above the smallest float32 and within fast_exp's range."""


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def _invert(rate: float, silent: float, uniform: float) -> int:
    """Smallest count, at least one, at which the distribution function reaches ``uniform``."""
    if rate > _SINGLE_PRECISION_RATE:
        silent = np.exp(-rate)
    mass = silent * rate
    below = silent + mass
    count = 1
    while uniform > below and count < LARGEST_COUNT:
        count += 1
        mass *= rate * _RECIPROCAL[count]
        below += mass
        # Rounding may leave the sum below a uniform number next to one.
        if mass < 1e-12 and count > rate:
            break
    return count


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def _draw(
    u: Any, key: Any, first: Any, rate: Any, silent: Any, uniform: Any, fired: Any, counts: Any
) -> int:
    """Draw the counts of one sample into ``fired`` and ``counts``; returns how many are not 0."""
    size = len(u)
    for j in range(size):
        r = fast_exp(u[j])
        word = np.int32(_uniform(np.uint32(first + np.uint32(j)), key))
        rate[j] = r
        silent[j] = fast_exp(-r)
        uniform[j] = np.float32(word) * np.float32(2.0**-24) + np.float32(2.0**-25)
    n = 0
    for j in range(size):
        fired[n] = j
        n += uniform[j] > silent[j]
    for i in range(n):
        j = fired[i]
        counts[i] = _invert(np.float64(rate[j]), np.float64(silent[j]), np.float64(uniform[j]))
    return n


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def _explain(drive: Any, lateral: Any, fired: Any, counts: Any, n: int, residual: Any) -> None:
    """``residual = drive - z W``, four events at a time."""
    size = len(drive)
    for j in range(size):
        residual[j] = drive[j]
    i = 0
    while i + 4 <= n:
        a, b, c, d = (
            lateral[fired[i]],
            lateral[fired[i + 1]],
            lateral[fired[i + 2]],
            lateral[fired[i + 3]],
        )
        za, zb, zc, zd = counts[i], counts[i + 1], counts[i + 2], counts[i + 3]
        for j in range(size):
            residual[j] -= (za * a[j] + zb * b[j]) + (zc * c[j] + zd * d[j])
        i += 4
    while i < n:
        a, za = lateral[fired[i]], counts[i]
        for j in range(size):
            residual[j] -= za * a[j]
        i += 1


@njit(inline="always", **OPTIONS)  # type: ignore[untyped-decorator]
def soft_bound(x: Any, bound: Any) -> Any:
    """``c - softplus(c - x)``, as ``min(x, c) - log1p(exp(-|x - c|))``, which keeps small x."""
    t = fast_exp(-abs(x - bound))
    # log1p(t) = 2 artanh(t / (t + 2)), whose series of six terms is exact in float32 for t <= 1.
    s = t / (t + np.float32(2.0))
    q = s * s
    p = np.float32(1 / 9) + q * np.float32(1 / 11)
    p = np.float32(1 / 3) + q * (np.float32(1 / 5) + q * (np.float32(1 / 7) + q * p))
    return min(x, bound) - np.float32(2.0) * s * (np.float32(1.0) + q * p)


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def _move_hard(u: Any, residual: Any, leak: Any, bounds: Any, after: Any) -> None:
    eta, cap, cap_du, floor = bounds[0], bounds[1], bounds[2], bounds[3]
    for j in range(len(u)):
        change = min(max(eta * (residual[j] - leak[j]), floor), cap_du)
        after[j] = min(max(u[j] + change, floor), cap)


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def _move_soft(u: Any, residual: Any, leak: Any, bounds: Any, after: Any) -> None:
    eta, cap, cap_du, floor = bounds[0], bounds[1], bounds[2], bounds[3]
    for j in range(len(u)):
        change = soft_bound(max(eta * (residual[j] - leak[j]), floor), cap_du)
        after[j] = soft_bound(max(u[j] + change, floor), cap)


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def _add_terms(u: Any, after: Any, rate: Any, totals: Any) -> None:
    """Add the KL of one update of one sample and its expected activity to the totals."""
    divergence, firing = np.float32(0.0), np.float32(0.0)
    for j in range(len(u)):
        v = after[j]
        d = v - u[j]
        # e^u (1 + e^d (d - 1)), whose terms cancel for small changes.
        exact = np.float32(1.0) + fast_exp(d) * (d - np.float32(1.0))
        series = d * d * (np.float32(0.5) + d * (np.float32(1 / 3) + d * np.float32(0.125)))
        divergence += rate[j] * (series if abs(d) < np.float32(0.03) else exact)
        firing += np.float32(1.0) - fast_exp(-fast_exp(v))
    totals[1] += divergence
    totals[2] += firing


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def run_forward(
    potential: Any,
    count: Any,
    residual: Any,
    drive: Any,
    lateral: Any,
    leak: Any,
    bounds: Any,
    keys: Any,
    first: int,
    totals: Any,
) -> None:
    """Run a window forward from ``potential[0]``.

    Parameters
    ----------
    potential : [T + 1, B, K]
        Membrane potentials; the first is read, the others are written.
    count : uint16 [T + 1, B, K]
        Counts drawn at each potential, written.
    residual : [T + 1, B, K]
        ``h - z W`` at each count, written.
    drive : [B, K]
        h.
    lateral : [K, K]
        W.
    leak : [K]
        ``e^b``.
    bounds : [5]
        Step size η, upper bounds of u and of its change, floor of both, and 1 where the upper
        bounds are soft, or 0.
    keys : uint32 [T + 1]
        One key per draw.
    first : int
        Index of the first neuron of the first sample within the whole batch.
    totals : float64 [B, 3]
        Per sample, the sums of ``-½ z (h + g)`` over readouts, of the KL divergences, and of the
        probabilities that a neuron fires, ``1 - exp(-e^u)``; written.
    """
    steps, batch, size = residual.shape[0] - 1, residual.shape[1], residual.shape[2]
    rate = np.empty(size, np.float32)
    silent = np.empty(size, np.float32)
    uniform = np.empty(size, np.float32)
    fired = np.empty(size + 1, np.int64)
    counts = np.empty(size + 1, np.float32)
    for b in range(batch):
        place = np.uint32(first + b * size)
        h, total = drive[b], totals[b]
        total[:] = 0.0
        for t in range(steps + 1):
            u, g, z = potential[t, b], residual[t, b], count[t, b]
            n = _draw(u, keys[t], place, rate, silent, uniform, fired, counts)
            z[:] = 0
            for i in range(n):
                z[fired[i]] = np.uint16(counts[i])
            _explain(h, lateral, fired, counts, n, g)
            if t > 0:
                explained = np.float32(0.0)
                for i in range(n):
                    explained += counts[i] * (h[fired[i]] + g[fired[i]])
                total[0] -= 0.5 * explained
            if t < steps:
                after = potential[t + 1, b]
                if bounds[4] > 0:
                    _move_soft(u, g, leak, bounds, after)
                else:
                    _move_hard(u, g, leak, bounds, after)
                _add_terms(u, after, rate, total)
