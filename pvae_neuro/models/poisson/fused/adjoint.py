"""Compiled backward pass of a window of time steps, written by hand.

See :mod:`~pvae_neuro.models.poisson.fused.kernels` for the forward pass and the shapes.

With ``r = exp(u)``, ``L`` the loss, and ``L_g``, ``L_z``, ``L_u`` its gradients:

* readout ``-½ z (h + g)`` with ``g = h - z W``: ``-g`` by z, ``-z`` by h, ``½ zᵀ z`` by W;
* update ``u' = S(u + S(η (g - e^b)))``: ``L_g = η m L_u'``, with m the product of both slopes
  of S: of a hard clamp one where it does not hold, of a soft one below c ``sigmoid(c - x)``, which
  is ``1 - exp(S(x) - c)``; ``L_g`` by h, ``-L_g W`` by z, ``-zᵀ L_g`` by W;
* divergence ``D(u', u) = e^u (1 + e^d (d - 1))``, ``d = u' - u``: ``r' d`` by u', ``r - r'`` by u;
* count: ``dz/du = (z + r) / 2``; see :mod:`~pvae_neuro.models.sampling.exact_poisson`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from pvae_neuro.models.poisson.fused.kernels import OPTIONS, fast_exp, soft_bound


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def step_back(
    potential: Any,
    count: Any,
    residual: Any,
    leak: Any,
    bounds: Any,
    weights: Any,
    t: int,
    through: Any,
    adjoint: Any,
    pull: Any,
    source: Any,
    drive_grad: Any,
    leak_grad: Any,
) -> float:
    """Propagate the gradient from ``u_t`` back through update ``t - 1``; returns d log η's share.

    ``adjoint`` comes in with the part of dL/du_t that passes through update ``t`` (zero for the
    last); this adds the other parts, then goes back through update ``t - 1``.

    Parameters
    ----------
    potential, count, residual, leak, bounds
        See :func:`~pvae_neuro.models.poisson.fused.kernels.run_forward`.
    weights : [3]
        Weights of the three sums of ``run_forward`` in the loss.
    t : int
        T down to 0.
    through : [B, K]
        ``dL/dg_t W`` through update ``t``; zeros for the last.
    adjoint : [B, K]
        Overwritten with the part of ``dL/du_{t-1}`` that passes update ``t - 1``; for t = 0 with
        ``dL/du_0``.
    pull : [B, K]
        In: ``dL/dg_t`` through update ``t``. Out: the same for ``t - 1``.
    source : [B, K]
        Written: the row that a count of ``z_t`` contributes to the gradient of W, per spike.
    drive_grad : [B, K]
        Gradient of h, added to.
    leak_grad : float64 [K]
        Gradient of b, added to.
    """
    steps, batch, size = residual.shape[0] - 1, residual.shape[1], residual.shape[2]
    read, diverge, fire = weights[0], weights[1], weights[2]
    if t == 0:
        read = fire = np.float32(0.0)
    half = np.float32(0.5)
    step_size_grad = 0.0
    for b in range(batch):
        u, z, g = potential[t, b], count[t, b], residual[t, b]
        before = potential[max(t - 1, 0), b]
        after = potential[min(t + 1, steps), b]
        g_before = residual[max(t - 1, 0), b]
        a, p, c, s, dh = adjoint[b], pull[b], through[b], source[b], drive_grad[b]
        for j in range(size):
            rate = fast_exp(u[j])
            fired = np.float32(z[j])
            s[j] = half * read * fired - p[j]
            dh[j] += p[j] - read * fired
            slope = half * (fired + rate)
            whole = a[j] - slope * (read * g[j] + c[j])
            # u_t enters the divergence twice: as prior of update t, as posterior of update t - 1.
            whole += diverge * (rate - fast_exp(after[j]) + rate * (u[j] - before[j]))
            whole += fire * rate * fast_exp(-rate)
            a[j] = whole
        if t == 0:
            p[:] = 0.0
        elif bounds[4] > 0:
            step_size_grad += _through_soft(u, g_before, leak, bounds, a, p)
        else:
            step_size_grad += _through_hard(u, g_before, leak, bounds, a, p)
        for j in range(size):
            leak_grad[j] -= p[j] * leak[j]
    return step_size_grad


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def _through_hard(u: Any, g_before: Any, leak: Any, bounds: Any, a: Any, p: Any) -> Any:
    """Take ``a`` back through an update, write ``p``; returns d log η's share."""
    eta, cap, cap_du, floor = bounds[0], bounds[1], bounds[2], bounds[3]
    share, zero = np.float32(0.0), np.float32(0.0)
    for j in range(len(u)):
        push = eta * (g_before[j] - leak[j])
        moved = a[j] if (u[j] > floor) & (u[j] < cap) else zero
        a[j] = moved
        moved = moved if (push > floor) & (push < cap_du) else zero
        p[j] = eta * moved
        share += moved * push
    return share


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def _through_soft(u: Any, g_before: Any, leak: Any, bounds: Any, a: Any, p: Any) -> Any:
    """:func:`_through_hard` for soft bounds."""
    eta, cap, cap_du, floor = bounds[0], bounds[1], bounds[2], bounds[3]
    share, zero, one = np.float32(0.0), np.float32(0.0), np.float32(1.0)
    # At the floor the potential is S(floor), a little below; 1e-5 is more than its rounding.
    lowest = soft_bound(floor, cap) + np.float32(1e-5)
    for j in range(len(u)):
        push = eta * (g_before[j] - leak[j])
        moved = a[j] * (one - fast_exp(u[j] - cap)) if u[j] > lowest else zero
        a[j] = moved
        moved = moved / (one + fast_exp(push - cap_du)) if push > floor else zero
        p[j] = eta * moved
        share += moved * push
    return share


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def gather_lateral(count: Any, source: Any, lateral_grad: Any) -> None:
    """``lateral_grad += zᵀ source`` over the counts that are not zero.

    Parameters
    ----------
    count : uint16 [B, K]
    source : [B, K]
    lateral_grad : [K, K]
    """
    batch, size = count.shape
    place = np.empty(batch, np.int64)
    times = np.empty(batch, np.float32)
    for k in range(size):
        n = 0
        for b in range(batch):
            place[n] = b
            times[n] = count[b, k]
            n += count[b, k] > 0
        row = lateral_grad[k]
        i = 0
        while i + 4 <= n:
            p, q, r, s = (
                source[place[i]],
                source[place[i + 1]],
                source[place[i + 2]],
                source[place[i + 3]],
            )
            zp, zq, zr, zs = times[i], times[i + 1], times[i + 2], times[i + 3]
            for j in range(size):
                row[j] += (zp * p[j] + zq * q[j]) + (zr * r[j] + zs * s[j])
            i += 4
        while i < n:
            p, zp = source[place[i]], times[i]
            for j in range(size):
                row[j] += zp * p[j]
            i += 1
