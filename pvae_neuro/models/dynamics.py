"""The clamps of the iterative Poisson VAE and its KL divergence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def soft_bound(value: Tensor, bound: float) -> Tensor:
    """``c - softplus(c - x)``: a smooth upper bound c, approached and never passed."""
    return bound - functional.softplus(bound - value)


def soft_clamp(value: Tensor, bound: float, floor: float) -> Tensor:
    """:func:`soft_bound` of ``max(x, floor)``: smooth at the upper bound, hard at the floor."""
    return soft_bound(value.clamp(min=floor), bound)


def hard_clamp(value: Tensor, bound: float, floor: float) -> Tensor:
    """Clamp to ``[floor, bound]``."""
    return value.clamp(min=floor, max=bound)


CLAMPS = {"soft": soft_clamp, "hard": hard_clamp}
"""By the ``clamp`` of a :class:`~pvae_neuro.saved.model_file.ModelConfig`."""


def soft_symmetric(value: Tensor, bound: float) -> Tensor:
    """``c tanh(x / c)``: smooth bounds -c and c, approached and never passed."""
    return bound * torch.tanh(value / bound)


def hard_symmetric(value: Tensor, bound: float) -> Tensor:
    """Clamp to ``[-bound, bound]``."""
    return value.clamp(-bound, bound)


SYMMETRIC_CLAMPS = {"soft": soft_symmetric, "hard": hard_symmetric}
"""Likewise, of models whose state is bounded on both sides."""


Bound = Callable[[float], float]
"""What an upper bound of the configuration is in one window, where bounds grow in training."""


def final_bound(value: float) -> float:
    """An upper bound that does not grow: the configuration's own."""
    return value


def kl_divergence(u: Tensor, u_prior: Tensor, kind: str = "exact") -> Tensor:
    """KL divergence of Poisson distributions with log-rates ``u`` and ``u_prior``, [B, K].

    Kind ``exact`` is ``exp(u_prior) (1 + e^du (du - 1))`` with ``du = u - u_prior``, nats per
    neuron. Kind ``released`` has ``exp(u)`` in front instead, as in the authors' released iP-VAE
    code. Neither is negative.
    """
    change = u - u_prior
    rate = torch.exp(u_prior if kind == "exact" else u)
    # expm1 keeps the precision that 1 + e^du (du - 1) loses for small changes.
    return rate * (change * torch.exp(change) - torch.expm1(change))
