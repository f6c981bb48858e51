"""The two nonlinear forms of the iterative Poisson VAE: its soft clamp and its divergence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_clamp(value: Tensor, bound: float, floor: float) -> Tensor:
    """``c - softplus(c - max(x, floor))``: smooth at the upper bound, hard at the floor.

    Parameters
    ----------
    value : Tensor
        Any shape.
    bound : float
        Upper bound c, approached and never passed.
    floor : float
        Lower bound.

    Returns
    -------
    Tensor
        Same shape as ``value``.
    """
    return bound - functional.softplus(bound - value.clamp(min=floor))


def clamp_by(kind: str, value: Tensor, bound: float, floor: float) -> Tensor:
    """:func:`soft_clamp`, or for ``kind == "hard"`` a plain clamp at the same bounds."""
    if kind == "hard":
        return value.clamp(min=floor, max=bound)
    return soft_clamp(value, bound, floor)


def kl_divergence(u: Tensor, u_prior: Tensor, kind: str = "exact") -> Tensor:
    """Divergence between Poisson distributions of log-rates ``u`` and ``u_prior``.

    Parameters
    ----------
    u, u_prior : Tensor
        Log-rates of posterior and prior, [B, K].
    kind : {"exact", "released"}
        ``exact`` is ``exp(u_prior) (1 + e^du (du - 1))`` with ``du = u - u_prior``. ``released``
        puts ``exp(u)`` in front instead, as the authors' released iP-VAE code does.

    Returns
    -------
    Tensor
        Nats per neuron, [B, K], never negative.
    """
    change = u - u_prior
    rate = torch.exp(u_prior if kind == "exact" else u)
    # expm1 keeps the precision that 1 + e^du (du - 1) loses for small changes.
    return rate * (change * torch.exp(change) - torch.expm1(change))
