"""Poisson counts for training windows, by the estimator that the settings name."""

from __future__ import annotations

import torch
from torch import Tensor

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import WindowSettings
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.models.sampling.exact_poisson import exact_counts
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts


def _relaxed(u: Tensor, settings: WindowSettings, noise: CounterNoise) -> Tensor:
    return sample_counts(u, settings.temperature, noise, settings.max_arrivals)


def _exact(u: Tensor, settings: WindowSettings, noise: CounterNoise) -> Tensor:
    return exact_counts(u, noise)


_ESTIMATORS = {"relaxed": _relaxed, "exact": _exact}


def sample_training_counts(
    u: Tensor, settings: WindowSettings, noise: CounterNoise | None = None
) -> Tensor:
    """Draw counts ``z ~ Poisson(exp(u))``, [B, K], that carry a gradient.

    ``noise`` replaces that of the settings. An unknown estimator raises InputError.
    """
    if settings.estimator not in _ESTIMATORS:
        raise InputError(
            f"estimator: expected 'relaxed' or 'exact', got {settings.estimator!r}; choose one"
        )
    return _ESTIMATORS[settings.estimator](u, settings, settings.noise if noise is None else noise)


def expected_active(u: Tensor) -> Tensor:
    """Expected number of neurons that fire, ``sum_k 1 - exp(-exp(u_k))``, mean of the batch, []."""
    return -torch.expm1(-torch.exp(u)).sum(1).mean()


def noise_for_width(noise: CounterNoise, wide: int, narrow: int) -> CounterNoise:
    """Independent noise for a second level, of ``narrow`` instead of ``wide`` neurons per sample.

    Takes one key of ``noise``. A part of a batch starts where it starts in the whole.
    """
    return CounterNoise(int(noise.keys(1)[0]), noise.offset // wide * narrow)
