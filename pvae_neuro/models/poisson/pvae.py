"""The Poisson VAE with an encoder (arXiv 2405.14473).

Latents are spike counts. The prior is Poisson with learned rates ``r``; the encoder scales them, so
that the posterior is ``Poisson(r δr(x))``, of rates λ. The divergence is ``Σ r f(δr)`` with
``f(y) = 1 - y + y log y`` (section 3 there).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import State, Window, WindowSettings
from pvae_neuro.models.dynamics import kl_divergence
from pvae_neuro.models.networks.decoders import LinearDecoder
from pvae_neuro.models.rivals.amortized import AmortizedArchitecture, AmortizedModel
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.models.sampling.exact_poisson import exact_counts
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts
from pvae_neuro.saved.model_file import ModelConfig

LARGEST_LOG_CHANGE = 10.0
"""Soft upper bound of log δr."""

LARGEST_LOG_RATE = 5.0
"""Soft upper bound of log λ: rates end at 148."""

_FIRST_LOG_RATE = -2.0


class PVAEArchitecture(AmortizedArchitecture):
    """Settings of the Poisson VAE.

    Attributes
    ----------
    estimator : {"exact", "relaxed", "straight-through", "blended"}
        How gradients pass the counts: around them, by the closed form of the expected squared
        error, which a linear decoder alone has; through relaxed counts; through exact counts as
        if they were their rates; or through counts whose noise rises from nothing, see
        :func:`blended_counts`.
    exc_only : bool
        Whether the encoder may only raise rates, log δr >= 0.
    """

    estimator: Literal["exact", "relaxed", "straight-through", "blended"] = "blended"
    exc_only: bool = False


class PVAE(AmortizedModel):
    """Amortized Poisson VAE.

    Parameters
    ----------
    config : ModelConfig
        Sizes and architecture.
    generator : torch.Generator, optional
        Source of the initial parameters.
    init_scale : float, optional
        Standard deviation of the decoder's initial weights.

    Attributes
    ----------
    log_rate : Parameter
        Logarithms of the prior rates r, [K].

    Raises
    ------
    InputError
        If the exact loss is asked for and the decoder is not linear.
    """

    architecture_type = PVAEArchitecture
    outputs_per_latent = 1
    silence = 0.5
    defaults: ClassVar[dict[str, Any]] = {
        "steps": 1, "beta": 1.0, "learning_rate": 3e-3, "weight_decay": 0.0, "init_scale": 0.02,
        "temperature": 1.0, "final_temperature": 1e-6, "temperature_anneal": 0.6,
        "beta_anneal": 0.6, "max_arrivals": 64,
    }  # fmt: skip

    def __init__(
        self,
        config: ModelConfig,
        generator: torch.Generator | None = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__(config, generator, init_scale)
        self.log_rate = nn.Parameter(torch.full((config.latents,), _FIRST_LOG_RATE))
        if self.architecture.estimator == "exact" and self.architecture.decoder != "linear":
            raise InputError(
                f"estimator 'exact' of {config.family!r}: expected a linear decoder, the only one "
                f"with a closed form, got {self.architecture.decoder!r}; take the estimator "
                f"'relaxed' or 'straight-through', or the decoder 'linear'"
            )

    def posterior(self, x: Tensor) -> tuple[Tensor, ...]:
        """Log-rates ``log λ = log r + log δr(x)``, [B, K]."""
        change = self.encoder(x)
        if self.architecture.exc_only:
            change = functional.softplus(change)
        change = _below(change, LARGEST_LOG_CHANGE)
        return (_below(self.log_rate + change, LARGEST_LOG_RATE),)

    def kl(self, log_rate: Tensor) -> Tensor:
        """Divergence from the prior, ``r f(λ / r)``, in nats per neuron, [B, K]."""
        return kl_divergence(log_rate, self.log_rate)

    def sample(
        self, posterior: tuple[Tensor, ...], generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Counts and rates, each [B, K]."""
        (log_rate,) = posterior
        return sample_counts(log_rate, 0.0, generator), torch.exp(log_rate)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Encode a batch and rate it; see :meth:`Model.window`.

        With the exact loss, the rates stand for the latents.
        """
        (log_rate,) = self.posterior(x)
        kl = self.kl(log_rate).sum(1).mean()
        if self.architecture.estimator == "exact":
            rate = torch.exp(log_rate)
            return Window(self.expected_nll(x, rate).mean(), kl, (), rate)
        z = self._differentiable_counts(log_rate, settings)
        return Window(self.nll(x, z).mean(), kl, (), z)

    def _differentiable_counts(self, log_rate: Tensor, settings: WindowSettings) -> Tensor:
        if self.architecture.estimator == "relaxed":
            return sample_counts(
                log_rate, settings.temperature, settings.noise, settings.max_arrivals
            )
        if self.architecture.estimator == "blended":
            return blended_counts(log_rate, 1.0 - min(settings.temperature, 1.0), settings.noise)
        rate = torch.exp(log_rate)
        return rate + (exact_counts(log_rate.detach(), settings.noise) - rate).detach()

    def expected_nll(self, x: Tensor, rate: Tensor) -> Tensor:
        """Expectation of :meth:`nll` over counts, ``|x - Φλ|² + Σ λ|Φ_k|²``.

        Parameters
        ----------
        x : Tensor
            Inputs, [B, M].
        rate : Tensor
            Posterior rates λ, [B, K].

        Returns
        -------
        Tensor
            Nats per input, [B].

        Raises
        ------
        InputError
            If the decoder is not linear.
        """
        if not isinstance(self.decoder, LinearDecoder):
            raise InputError("expected_nll: expected a linear decoder; average nll over samples")
        variance = rate @ self.decoder.dictionary.square().sum(0)
        return self.nll(x, rate) + variance


def blended_counts(log_rate: Tensor, share: float, noise: CounterNoise) -> Tensor:
    """Draw ``z = λ + s (n - λ)``, counts ``n ~ Poisson(λ)``, with ``dz/dlog λ = λ + s (n - λ)/2``.

    At ``s = 1`` these are exact counts with the slope (n + λ)/2; at ``s = 0`` rates, without noise.
    The slope is unbiased for functions of second degree at every share: ``E z² = λ² + s² λ`` has
    the derivative ``2 λ² + s² λ = E[2 z dz/dlog λ]``. Where noise comes before the decoder has
    learned to read the counts, rates fall to silence, from which no gradient leads back; a share
    that rises from zero starts with a plain autoencoder instead.

    Parameters
    ----------
    log_rate : Tensor
        Log λ, [B, K].
    share : float
        s, from 0 to 1; in training one minus the temperature of the schedule.
    noise : CounterNoise
        Source of the counts.

    Returns
    -------
    Tensor
        [B, K].
    """
    rate = torch.exp(log_rate)
    # exact_counts carries (n + λ)/2, of which the rate's own slope is taken off again by blending.
    return rate + share * (exact_counts(log_rate, noise) - rate)


def _below(value: Tensor, bound: float) -> Tensor:
    """``c - softplus(c - x)``: smooth upper bound."""
    return bound - functional.softplus(bound - value)
