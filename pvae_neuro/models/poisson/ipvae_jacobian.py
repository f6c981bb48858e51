"""The iterative Poisson VAE with any differentiable decoder (arXiv 2410.19315).

Where the decoder is a function f, its transposed Jacobian at the current counts sends the error
back to the neurons::

    z_t ~ Poisson(exp(u_t))
    u_{t+1} = S(u_t + S(eta [J_f(z_t)^T Sigma^-1 (x - f(z_t)) - b]))

With ``f(z) = Phi z`` this is the linear model. The exact natural gradient of the expected error
would need the derivative of an expectation instead of ``J_f(z_t)``; a circuit only has the
derivative at the sample (straight-through). A decoder of linear layers and ReLU sends the error
back through the same weights, transposed, and the same gates.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from pvae_neuro.models.base import Architecture, Iteration, State, Window, WindowSettings
from pvae_neuro.models.dynamics import kl_divergence
from pvae_neuro.models.networks.decoders import DecoderArchitecture, build_decoder
from pvae_neuro.models.poisson.pixels import GaussianPixels
from pvae_neuro.models.poisson.potentials import Potentials
from pvae_neuro.models.sampling.counting import expected_active, sample_training_counts


class JacobianIPVAE(GaussianPixels):
    """Iterative Poisson VAE whose decoder is a network.

    Attributes
    ----------
    decoder : Module
        f, [B, K] to [B, M].
    potentials : Potentials
        Leak, step size and initial potentials.
    """

    law = "Poisson"
    zero_threshold = 0.5
    architecture_type: ClassVar[type[Architecture]] = DecoderArchitecture
    defaults: ClassVar[dict[str, Any]] = {
        "latents": 128, "beta": 8.0, "steps": 8, "windows": 4, "estimator": "exact",
        "clamp": "hard", "clamp_u": 3.0, "clamp_du": 3.0, "init_scale": 0.005,
        "dictionary_rate": 0.5,
    }  # fmt: skip

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create ``log_sigma``, the decoder and the level; see ``build_decoder`` for the scale."""
        super().build(generator, init_scale)
        config = self.config
        settings: DecoderArchitecture = self.architecture
        self.decoder = build_decoder(
            settings.decoder, config.latents, config.pixels, config.image_shape, settings.hidden,
            settings.channels, generator, init_scale,
        )  # fmt: skip
        self.potentials = Potentials(config, config.latents, generator)

    def decode(self, z: Tensor) -> Tensor:
        """Reconstruct inputs [B, M] from counts or rates [B, K]."""
        reconstruction: Tensor = self.decoder(z)
        return reconstruction

    def pull_back(
        self, x: Tensor, z: Tensor, reconstruction: Tensor, differentiable: bool = True
    ) -> Tensor:
        """``J_f(z)ᵀ Σ⁻¹ (x - f(z))``, the error projected onto each neuron, [B, K].

        Parameters
        ----------
        x : Tensor
            Inputs, [B, M].
        z : Tensor
            Counts that require a gradient, [B, K].
        reconstruction : Tensor
            ``f(z)``, computed from the very tensor ``z``, [B, M].
        differentiable : bool
            Whether later gradients pass the result, to the decoder and to earlier counts.
        """
        error = (x - reconstruction) * self.precision
        if not differentiable:
            return torch.autograd.grad(reconstruction, z, error.detach())[0]
        return torch.autograd.grad(reconstruction, z, error, create_graph=True)[0]

    def start(self, x: Tensor) -> State:
        """Membrane potentials before the first iteration: ``(u,)``, [B, K]."""
        return (self.potentials.initial_state(len(x)),)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Run a window of training iterations; see :meth:`Model.window`.

        As in :meth:`IPVAE.plain_window`, the counts that read one iteration out drive the next.
        """
        u = state[0]
        nll, kl, active = u.new_zeros(()), u.new_zeros(()), u.new_zeros(())
        z = _traced(sample_training_counts(u, settings))
        reconstruction = self.decode(z)
        for _ in range(settings.steps):
            u_prior = u
            for _ in range(self.config.inner_updates):
                residual = self.pull_back(x, z, reconstruction)
                u = self.potentials.advance(u, residual, u_prior, settings.bound)
                z = _traced(sample_training_counts(u, settings))
                reconstruction = self.decode(z)
            nll = nll + self.nll(x, reconstruction).mean()
            kl = kl + kl_divergence(u, u_prior, self.config.kl).sum(1).mean()
            active = active + expected_active(u)
        steps = settings.steps
        return Window(nll / steps, kl / steps, (u,), z, active / steps)

    def divergence(self, x: Tensor, before: State, after: State) -> Tensor:
        """KL divergence from the posterior before; see :meth:`Model.divergence`."""
        return self.potentials.divergence(x, before, after)

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Run one iteration on exact counts; the state is ``(u, z)`` after the first."""
        return self.potentials.iterate_level(
            state, generator, lambda z: self._pull_back_once(x, z), self.decode
        )

    @torch.enable_grad()
    def _pull_back_once(self, x: Tensor, z: Tensor) -> Tensor:
        z = z.detach().requires_grad_()
        return self.pull_back(x, z, self.decode(z), differentiable=False)

    def learning_rate_shares(self, dictionary_rate: float) -> dict[str, float]:
        """The decoder has the learning rate of a dictionary."""
        return {f"decoder.{name}": dictionary_rate for name, _ in self.decoder.named_parameters()}


def _traced(z: Tensor) -> Tensor:
    """Make autograd follow counts that were drawn at a state without a gradient."""
    return z if z.requires_grad else z.requires_grad_()
