"""Poisson counts in training, by the estimator that the settings ask for."""

from __future__ import annotations

import torch
from torch import Tensor

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import WindowSettings
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.models.sampling.exact_poisson import exact_counts
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts


def sample_training_counts(
    u: Tensor, settings: WindowSettings, noise: CounterNoise | None = None
) -> Tensor:
    """Draw counts ``z ~ Poisson(exp(u))`` that carry a gradient.

    Parameters
    ----------
    u : Tensor
        Log-rates, [B, K].
    settings : WindowSettings
        ``estimator`` "relaxed" gives relaxed counts, see
        :func:`~pvae_neuro.models.sampling.relaxed_poisson.sample_counts`; "exact" gives exact ones,
        see :func:`~pvae_neuro.models.sampling.exact_poisson.exact_counts`.
    noise : CounterNoise, optional
        In place of that of the settings.

    Returns
    -------
    Tensor
        [B, K].

    Raises
    ------
    InputError
        If the estimator is neither.
    """
    noise = settings.noise if noise is None else noise
    if settings.estimator == "exact":
        return exact_counts(u, noise)
    if settings.estimator != "relaxed":
        raise InputError(
            f"estimator: expected 'relaxed' or 'exact', got {settings.estimator!r}; choose one"
        )
    return sample_counts(u, settings.temperature, noise, settings.max_arrivals)


def expected_active(u: Tensor) -> Tensor:
    """Expected number of neurons that fire, ``sum_k 1 - exp(-exp(u_k))``, mean of the batch, []."""
    return -torch.expm1(-torch.exp(u)).sum(1).mean()


def noise_for_width(noise: CounterNoise, wide: int, narrow: int) -> CounterNoise:
    """Noise of its own for a second level of another width.

    Parameters
    ----------
    noise : CounterNoise
        For levels of ``wide`` neurons; gives up one key.
    wide, narrow : int
        Neurons per sample.

    Returns
    -------
    CounterNoise
        In which a part of a batch starts where it starts in the whole.
    """
    return CounterNoise(int(noise.keys(1)[0]), noise.offset // wide * narrow)
