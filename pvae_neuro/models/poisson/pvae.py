"""The Poisson VAE with an encoder (arXiv 2405.14473).

Latents are spike counts. The prior is Poisson with learned rates r; the encoder scales them, so the
posterior is ``Poisson(λ)`` with ``λ = r δr(x)``. The KL divergence is ``Σ r f(δr)`` with
``f(y) = 1 - y + y log y`` (section 3 there).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import Iteration, State, Window, WindowSettings
from pvae_neuro.models.dynamics import hard_clamp, kl_divergence, soft_bound
from pvae_neuro.models.networks.decoders import LinearDecoder
from pvae_neuro.models.networks.dropout import dropping
from pvae_neuro.models.rivals.amortized import (
    PUBLISHED_RECIPE,
    AmortizedArchitecture,
    AmortizedModel,
    NetworkKind,
)
from pvae_neuro.models.sampling.exact_poisson import exact_counts
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts
from pvae_neuro.neurons.encoder import LARGEST_LOG_CHANGE, LARGEST_LOG_RATE

LogRate = Annotated[float, Field(ge=-30.0, le=LARGEST_LOG_RATE)]
"""Logarithm of a rate."""


class PVAEArchitecture(AmortizedArchitecture):
    """Settings of the Poisson VAE.

    Attributes
    ----------
    estimator : {"exact", "relaxed", "straight-through", "blended"}
        How gradients pass the counts; training has another setting of that name, whose ``exact``
        draws counts. Here ``exact`` avoids sampling by the closed form of the expected squared
        error, which exists for a linear decoder; ``relaxed`` uses relaxed counts;
        ``straight-through`` uses exact counts with the gradient of their rates; ``blended`` uses
        counts whose noise rises from zero, see :func:`blended_counts`.
    first_log_rates : tuple of float
        Smallest and largest logarithm of a prior rate at the start of training, between which they
        are drawn. The authors' code draws from -6 to -2, or to -4 with a linear decoder.
    """

    estimator: Literal["exact", "relaxed", "straight-through", "blended"] = "blended"
    first_log_rates: tuple[LogRate, LogRate] = (-2.0, -2.0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.first_log_rates
        if low > high:
            raise ValueError(f"first_log_rates: expected the smallest first, got {low} and {high}")
        return self


class PVAE(AmortizedModel):
    """Amortized Poisson VAE.

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
    unread = ("estimator", "inner_updates", "kl")
    law = "Poisson"
    outputs_per_latent = 1
    zero_threshold = 0.5
    defaults: ClassVar[dict[str, Any]] = {
        "steps": 1, "beta": 1.0, "learning_rate": 3e-3, "weight_decay": 0.0, "init_scale": 0.02,
        "temperature": 1.0, "final_temperature": 1e-6, "temperature_anneal": 0.6,
        "beta_anneal": 0.6, "max_arrivals": 64,
    }  # fmt: skip

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create encoder, decoder and prior rates."""
        super().build(generator, init_scale)
        low, high = self.architecture.first_log_rates
        first = torch.full((self.config.latents,), low)
        if high > low:
            first += (high - low) * torch.rand(self.config.latents, generator=generator)
        self.log_rate = nn.Parameter(first)
        name, decoder = self.architecture.estimator, self.architecture.decoder
        if _ESTIMATORS[name].closed and decoder != "linear":
            others = " or ".join(repr(n) for n, each in _ESTIMATORS.items() if not each.closed)
            raise InputError(
                f"estimator {name!r} of {self.config.family!r}: expected a linear decoder, the "
                f"only one with a closed form, got {decoder!r}; take the estimator {others}, or "
                f"the decoder 'linear'"
            )

    def posterior(self, x: Tensor) -> tuple[Tensor, ...]:
        """Log-rates ``log λ = log r + log δr(x)``, [B, K].

        With the clamp ``soft`` both logarithms have smooth upper bounds, as published. Those of
        ``hard`` are clamps, and log λ lies between ``floor_u`` and ``clamp_u`` too.
        """
        total = self.log_rate + self.log_change(x)
        if self.config.clamp == "soft":
            return (soft_bound(total, LARGEST_LOG_RATE),)
        most = min(LARGEST_LOG_RATE, self.config.clamp_u)
        return (hard_clamp(total, most, self.config.floor_u),)

    def prior(self, count: int) -> tuple[Tensor, ...]:
        """Learned log-rates ``log r``."""
        return (self.log_rate.expand(count, -1),)

    def log_change(self, x: Tensor) -> Tensor:
        """``log δr(x)`` within its upper bound, [B, K]."""
        change: Tensor = self.encoder(x)
        if self.config.clamp == "soft":
            return soft_bound(change, LARGEST_LOG_CHANGE)
        return change.clamp(max=LARGEST_LOG_CHANGE)

    @torch.no_grad()
    def code(self, x: Tensor, iteration: Iteration) -> Tensor:
        """``log δr``, the authors' ``log_dr`` (``base/helper.py``, ``model2key``), [B, K]."""
        return self.log_change(x)

    @torch.no_grad()
    def divergence(self, x: Tensor, before: State, after: State) -> Tensor:
        """KL divergence from the learned prior; see :meth:`Model.divergence`."""
        return self.kl(*self.posterior(x))

    def kl(self, log_rate: Tensor) -> Tensor:
        """KL divergence from the prior, ``r f(λ / r)``, nats per neuron, [B, K]."""
        return kl_divergence(log_rate, self.log_rate)

    def sample(
        self, posterior: tuple[Tensor, ...], generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Counts and rates, each [B, K]."""
        (log_rate,) = posterior
        return sample_counts(log_rate, 0.0, generator), torch.exp(log_rate)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Encode a batch and compute its loss; see :meth:`Model.window`.

        With the exact loss, ``z`` is the rates.
        """
        with dropping(self.encoder, settings.noise, self.config.latents):
            (log_rate,) = self.posterior(x)
        kl = self.kl(log_rate).sum(1).mean()
        nll, z = _ESTIMATORS[self.architecture.estimator].rate(self, x, log_rate, settings)
        return Window(nll.mean(), kl, (), z)

    def expected_nll(self, x: Tensor, rate: Tensor) -> Tensor:
        """Expectation of :meth:`nll` over counts of rates λ [B, K], nats, [B].

        It is ``|x - Φλ|² + Σ λ|Φ_k|²``; InputError if the decoder is not linear.
        """
        if not isinstance(self.decoder, LinearDecoder):
            raise InputError("expected_nll: expected a linear decoder; average nll over samples")
        variance = rate @ self.decoder.dictionary.square().sum(0)
        return self.nll(x, rate) + variance


class ResidualPVAEArchitecture(PVAEArchitecture):
    """Settings of the Poisson VAE with the published networks."""

    encoder: NetworkKind = "residual"
    decoder: NetworkKind = "residual"
    estimator: Literal["exact", "relaxed", "straight-through", "blended"] = "relaxed"
    first_log_rates: tuple[LogRate, LogRate] = (-6.0, -2.0)


class ResidualPVAE(PVAE):
    """The Poisson VAE with the published networks; its recipe is that of the released code."""

    architecture_type = ResidualPVAEArchitecture
    defaults: ClassVar[dict[str, Any]] = {
        **PUBLISHED_RECIPE, "temperature": 1.0, "final_temperature": 0.05,
        "temperature_anneal": 0.5, "max_arrivals": 64,
    }  # fmt: skip


def relaxed_counts(log_rate: Tensor, settings: WindowSettings) -> Tensor:
    """Relaxed counts, at the temperature of the schedule."""
    return sample_counts(log_rate, settings.temperature, settings.noise, settings.max_arrivals)


def straight_through_counts(log_rate: Tensor, settings: WindowSettings) -> Tensor:
    """Exact counts with the gradient of their rates."""
    rate = torch.exp(log_rate)
    return rate + (exact_counts(log_rate.detach(), settings.noise) - rate).detach()


def blended_counts(log_rate: Tensor, settings: WindowSettings) -> Tensor:
    """Draw ``z = λ + s (n - λ)``, counts ``n ~ Poisson(λ)``, with ``dz/dlog λ = λ + s (n - λ)/2``.

    s is one minus the temperature of the schedule, at least 0. At ``s = 1`` these are exact counts
    with the slope (n + λ)/2; at ``s = 0`` they are the rates, without noise. The slope is unbiased
    for functions of second degree at every s: ``E z² = λ² + s² λ`` has the derivative
    ``2 λ² + s² λ = E[2 z dz/dlog λ]``. If noise came before the decoder had learned to read the
    counts, rates would fall to zero, where gradients vanish; s rises from zero instead, so training
    starts with a plain autoencoder.
    """
    share = 1.0 - min(settings.temperature, 1.0)
    rate = torch.exp(log_rate)
    # exact_counts has the slope (n + λ)/2; subtracting the rate removes the rate's own slope.
    return rate + share * (exact_counts(log_rate, settings.noise) - rate)


class Estimator(NamedTuple):
    """How gradients pass counts.

    Attributes
    ----------
    rate : callable
        Negative log-likelihood [B] and latents [B, K] of log-rates, in a window.
    closed : bool
        Whether it needs the closed form that a linear decoder has.
    """

    rate: Callable[[PVAE, Tensor, Tensor, WindowSettings], tuple[Tensor, Tensor]]
    closed: bool = False


def _of_rates(
    model: PVAE, x: Tensor, log_rate: Tensor, settings: WindowSettings
) -> tuple[Tensor, Tensor]:
    rate = torch.exp(log_rate)
    return model.expected_nll(x, rate), rate


def _of_counts(draw: Callable[[Tensor, WindowSettings], Tensor]) -> Estimator:
    def rate(
        model: PVAE, x: Tensor, log_rate: Tensor, settings: WindowSettings
    ) -> tuple[Tensor, Tensor]:
        z = draw(log_rate, settings)
        return model.nll(x, z), z

    return Estimator(rate)


_ESTIMATORS = {
    "exact": Estimator(_of_rates, closed=True),
    "relaxed": _of_counts(relaxed_counts),
    "straight-through": _of_counts(straight_through_counts),
    "blended": _of_counts(blended_counts),
}
