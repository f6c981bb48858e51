"""The iterative Poisson VAE with any differentiable decoder (arXiv 2410.19315).

Where the decoder is a function f, the error comes back to the neurons through its transposed
Jacobian at the counts of the moment::

    z_t ~ Poisson(exp(u_t))
    u_{t+1} = S(u_t + S(eta [J_f(z_t)^T Sigma^-1 (x - f(z_t)) - b]))

With ``f(z) = Phi z`` this is the linear model. The exact natural gradient of the expected error
would have the derivative of its expectation in place of ``J_f(z_t)``: the derivative at the sample
(straight-through) is what a circuit can know. A decoder of linear layers and ReLU sends the error
back through the same weights transposed and the same gates.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from pvae_neuro.models.base import Iteration, State, Window, WindowSettings
from pvae_neuro.models.dynamics import kl_divergence
from pvae_neuro.models.networks.decoders import DecoderArchitecture, build_decoder
from pvae_neuro.models.poisson.pixels import GaussianPixels
from pvae_neuro.models.poisson.potentials import Potentials
from pvae_neuro.models.sampling.counting import expected_active, sample_training_counts
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts
from pvae_neuro.saved.model_file import ModelConfig


class JacobianIPVAE(GaussianPixels):
    """Iterative Poisson VAE whose decoder is a network.

    Parameters
    ----------
    config : ModelConfig
        Sizes, clamps, kind of KL; its ``architecture`` is a :class:`DecoderArchitecture`.
    generator : torch.Generator, optional
        Source of the initial parameters.
    init_scale : float, optional
        See :func:`~pvae_neuro.models.networks.decoders.build_decoder`.

    Attributes
    ----------
    decoder : Module
        f, [B, K] to [B, M].
    potentials : Potentials
        Leak, step size and initial potentials.
    log_sigma : Parameter
        Log standard deviation per pixel before its squashing, [M].

    Raises
    ------
    InputError
        If the architecture is not valid, or does not suit the images.
    """

    silence = 0.5
    architecture_type = DecoderArchitecture
    defaults: ClassVar[dict[str, Any]] = {
        "latents": 128, "beta": 8.0, "steps": 8, "windows": 4, "estimator": "exact",
        "clamp": "hard", "clamp_u": 3.0, "clamp_du": 3.0, "init_scale": 0.005,
        "dictionary_rate": 0.5,
    }  # fmt: skip

    def __init__(
        self,
        config: ModelConfig,
        generator: torch.Generator | None = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__(config, generator, init_scale)
        settings: DecoderArchitecture = self.architecture
        self.decoder = build_decoder(
            settings.decoder, config.latents, config.pixels, config.image_shape, settings.hidden,
            settings.channels, generator, init_scale,
        )  # fmt: skip
        self.potentials = Potentials(config.latents, generator)

    def decode(self, z: Tensor) -> Tensor:
        """Reconstruct inputs [B, M] from counts or rates [B, K]."""
        reconstruction: Tensor = self.decoder(z)
        return reconstruction

    def pull_back(
        self, x: Tensor, z: Tensor, reconstruction: Tensor, differentiable: bool = True
    ) -> Tensor:
        """``J_f(z)ᵀ Σ⁻¹ (x - f(z))``, what the error says of each neuron.

        Parameters
        ----------
        x : Tensor
            Inputs, [B, M].
        z : Tensor
            Counts that require a gradient, [B, K].
        reconstruction : Tensor
            ``f(z)``, computed from that very ``z``, [B, M].
        differentiable : bool
            Whether gradients must pass the result, to the decoder and to earlier counts.

        Returns
        -------
        Tensor
            [B, K].
        """
        error = (x - reconstruction) * self.precision
        if not differentiable:
            return torch.autograd.grad(reconstruction, z, error.detach())[0]
        return torch.autograd.grad(reconstruction, z, error, create_graph=True)[0]

    def start(self, x: Tensor) -> State:
        """Membrane potentials before the first iteration: ``(u,)``, [B, K]."""
        return (self.potentials.start(len(x)),)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Run a window of training iterations; see :meth:`Model.window`.

        As in :mod:`pvae_neuro.models.poisson.window`, the counts that read one step out drive the
        next.
        """
        u = state[0]
        nll, kl, active = u.new_zeros(()), u.new_zeros(()), u.new_zeros(())
        z = _traced(sample_training_counts(u, settings))
        reconstruction = self.decode(z)
        for _ in range(settings.steps):
            u_prior = u
            for _ in range(self.config.inner_updates):
                residual = self.pull_back(x, z, reconstruction)
                u = self.potentials.advance(u, residual, self.config, u_prior)
                z = _traced(sample_training_counts(u, settings))
                reconstruction = self.decode(z)
            nll = nll + self.nll(x, reconstruction).mean()
            kl = kl + kl_divergence(u, u_prior, self.config.kl).sum(1).mean()
            active = active + expected_active(u)
        steps = settings.steps
        return Window(nll / steps, kl / steps, (u,), z, active / steps)

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Run one iteration on exact counts; see :meth:`Model.iterate`.

        The state is ``(u, z)`` after the first: the counts that read out drive the next.
        """
        u = state[0]
        z = state[1] if len(state) > 1 else sample_counts(u, 0.0, generator)
        after = u
        for repeat in range(self.config.inner_updates):
            z = sample_counts(after, 0.0, generator) if repeat else z
            residual = self._pull_back_once(x, z)
            after = self.potentials.advance(after, residual, self.config, u)
        readout = sample_counts(after, 0.0, generator)
        change = (after - u).norm(dim=1)
        return Iteration((after, readout), readout, self.decode(readout), torch.exp(after), change)

    @torch.enable_grad()
    def _pull_back_once(self, x: Tensor, z: Tensor) -> Tensor:
        z = z.detach().requires_grad_()
        return self.pull_back(x, z, self.decode(z), differentiable=False)

    def learning_rate_shares(self, dictionary_rate: float) -> dict[str, float]:
        """The decoder learns at the rate of a dictionary; see :class:`TrainConfig`."""
        return {f"decoder.{name}": dictionary_rate for name, _ in self.decoder.named_parameters()}


def _traced(z: Tensor) -> Tensor:
    """Counts that autograd follows, even where they were drawn at a state without a gradient."""
    return z if z.requires_grad else z.requires_grad_()
