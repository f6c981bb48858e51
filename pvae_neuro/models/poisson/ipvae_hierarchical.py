"""An iterative Poisson VAE of two levels; the upper one predicts the log-rates of the lower.

Counts of the upper level, z2, predict the log-rates of the lower level's counts, z1, which predict
the pixels::

    p(z1 | z2) = Poisson(exp(p)),  p = c + Psi z2        p(x | z1) = Normal(Phi z1, Sigma)

With posteriors q1 = Poisson(exp(u1)) and q2 = Poisson(exp(u2)), and the posterior of the step
before as prior of z2, the free energy is::

    F = E nll(x | z1) + w E KL(q1 || Poisson(exp(p))) + KL(q2 || q2 before)

Both levels follow its natural gradient at the same time, each on its current counts::

    u1 += S(eta1 [Phi^T Sigma^-1 (x - Phi z1) - w (u1 - p) - b1])
    u2 += S(eta2 [w (Psi^T z1 - (exp(Psi) - 1)^T exp(p)) - b2])

The lower level moves towards what the upper one predicts; the upper one compares the lower counts
with the rates that it predicted. The expectation of the upper update is the exact natural gradient;
``docs/hierarchical.md`` has the derivation. The papers name hierarchies as future work (arXiv
2410.19315, appendix D); these equations are ours.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import Architecture, Iteration, State, Window, WindowSettings
from pvae_neuro.models.dynamics import Bound, final_bound, kl_divergence
from pvae_neuro.models.poisson.pixels import LinearPixels
from pvae_neuro.models.poisson.potentials import PoissonLevel, Potentials
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.models.sampling.counting import (
    expected_active,
    noise_for_width,
    sample_training_counts,
)
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts
from pvae_neuro.saved.model_file import Size

_PREDICTION_SCALE = 0.05
_BASELINE = -3.0


class HierarchicalArchitecture(Architecture):
    """Settings of the two-level model.

    Attributes
    ----------
    upper : int
        Neurons of the upper level, K2.
    prior_weight : float
        w: weight of the lower level's KL divergence. That term enters at every iteration in full,
        while the divergences from the previous posterior are those of small steps; ``1 / steps``
        makes a window of training count it once.
    """

    upper: Size = 64
    prior_weight: NonNegativeFloat = 0.1


class Prediction(NamedTuple):
    """What the upper level predicts of the lower one.

    Attributes
    ----------
    log_rates : Tensor
        p, within the bounds of the potentials, [B, K].
    inside : Tensor
        1 where p is within its bounds, else 0, [B, K].
    """

    log_rates: Tensor
    inside: Tensor


class HierarchicalIPVAE(PoissonLevel, LinearPixels):
    """Iterative Poisson VAE of two levels, linear decoder.

    Attributes
    ----------
    baseline : Parameter
        c: log-rates of the lower level while the upper one is silent, [K].
    prediction : Parameter
        Ψ: what one upper count adds to the lower log-rates, [K, K2].
    upper : Potentials
        Leak, step size and initial potentials of the upper level.

    Raises
    ------
    InputError
        If the configuration asks for more than one update per time step.
    """

    law = "Poisson"
    zero_threshold = 0.5
    architecture_type = HierarchicalArchitecture
    defaults: ClassVar[dict[str, Any]] = {
        "beta": 8.0, "steps": 8, "windows": 4, "estimator": "exact", "clamp": "hard",
        "clamp_u": 4.0, "clamp_du": 4.0, "init_scale": 0.02, "dictionary_rate": 0.5,
    }  # fmt: skip

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create the parameters of the pixels, of the lower level, and of the upper level."""
        super().build(generator, init_scale)
        config, size = self.config, self.architecture.upper
        if config.inner_updates > 1:
            raise InputError(
                f"{config.family!r}: expected inner_updates 1, got {config.inner_updates}; its "
                f"levels take one update per time step"
            )
        self.build_level(config.latents, generator)
        self.baseline = nn.Parameter(torch.full((config.latents,), _BASELINE))
        normal = torch.randn(config.latents, size, generator=generator)
        self.prediction = nn.Parameter(_PREDICTION_SCALE * normal)
        self.upper = Potentials(config, size, generator)

    def predict(self, z_upper: Tensor) -> Prediction:
        """Log-rates of the lower level from upper counts [B, K2]."""
        free = self.baseline + z_upper @ self.prediction.T
        low, high = self.config.floor_u, self.config.clamp_u
        inside = ((free > low) & (free < high)).to(free.dtype)
        return Prediction(free.clamp(low, high), inside)

    def advance_levels(
        self,
        u: Tensor,
        u_upper: Tensor,
        z: Tensor,
        residual: Tensor,
        predicted: Prediction,
        bound: Bound = final_bound,
    ) -> tuple[Tensor, Tensor]:
        """Move the potentials of both levels; returns them.

        Parameters
        ----------
        u, u_upper : Tensor
            Potentials before, [B, K] and [B, K2].
        z : Tensor
            Counts of the lower level drawn at ``u``, [B, K].
        residual : Tensor
            ``Φᵀ Σ⁻¹ (x - Φ z)``, [B, K].
        predicted : Prediction
            From upper counts drawn at ``u_upper``.
        bound : callable
            What the upper bounds of the configuration are in this window.
        """
        weight = self.architecture.prior_weight
        pull = residual + weight * (predicted.log_rates - u)
        seen = (z * predicted.inside) @ self.prediction
        rates = torch.exp(predicted.log_rates) * predicted.inside
        expected = rates @ torch.expm1(self.prediction)
        pull_upper = weight * (seen - expected)
        upper = self.upper.advance(u_upper, pull_upper, bound=bound)
        return self.advance(u, pull, bound=bound), upper

    def start(self, x: Tensor) -> State:
        """Potentials of both levels before the first iteration: [B, K] and [B, K2]."""
        return self.initial_state(len(x)), self.upper.initial_state(len(x))

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Run a window of training iterations; see :meth:`Model.window`.

        The KL term is that of F: w times the lower level's divergence from what the upper counts
        predict, plus the upper level's divergence from its previous posterior.
        """
        drive = self.drive(x)
        u, upper = state
        noise = noise_for_width(settings.noise, u.shape[1], upper.shape[1])
        z, predicted = self._draw(u, upper, settings, noise)
        residual = drive.residual(z)
        active = u.new_zeros(())
        nll, kl, weight = u.new_zeros(()), u.new_zeros(()), self.architecture.prior_weight
        for _ in range(settings.steps):
            before = upper
            u, upper = self.advance_levels(u, upper, z, residual, predicted, settings.bound)
            z, predicted = self._draw(u, upper, settings, noise)
            residual = drive.residual(z)
            nll = nll - drive.explained(z, residual)
            kl = kl + weight * kl_divergence(u, predicted.log_rates, self.config.kl).sum()
            kl = kl + kl_divergence(upper, before, self.config.kl).sum()
            active = active + expected_active(u)
        terms = settings.steps * len(x)
        nll = nll / terms + drive.constant.mean()
        return Window(nll, kl / terms, (u, upper), z, active / settings.steps)

    def _draw(
        self, u: Tensor, upper: Tensor, settings: WindowSettings, noise: CounterNoise
    ) -> tuple[Tensor, Prediction]:
        z = sample_training_counts(u, settings)
        return z, self.predict(sample_training_counts(upper, settings, noise))

    @torch.no_grad()
    def divergence(self, x: Tensor, before: State, after: State) -> Tensor:
        """KL divergences of F, lower level first, [B, K + K2]; see :meth:`Model.divergence`.

        That of the lower level, from the rates that the upper counts predict, is not weighted.
        """
        u, upper, _, z_upper = after
        lower = kl_divergence(u, self.predict(z_upper).log_rates, self.config.kl)
        return torch.cat([lower, kl_divergence(upper, before[1], self.config.kl)], dim=1)

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Run one iteration on exact counts; see :meth:`Model.iterate`.

        Latents are those of the lower level. The state is ``(u1, u2, z1, z2)`` after the first.
        """
        u, upper = state[:2]
        z, z_upper = state[2:] or _draw_exactly(u, upper, generator)
        residual = self.pull_back(x, z)
        after = self.advance_levels(u, upper, z, residual, self.predict(z_upper))
        change = torch.cat([after[0] - u, after[1] - upper], dim=1).norm(dim=1)
        z, z_upper = _draw_exactly(*after, generator)
        state = (*after, z, z_upper)
        return Iteration(state, z, self.decode(z), torch.exp(after[0]), change)


def _draw_exactly(
    u: Tensor, upper: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    return sample_counts(u, 0.0, generator), sample_counts(upper, 0.0, generator)
