"""The iterative Poisson VAE with a linear decoder (arXiv 2410.19315).

Membrane potentials u are log-rates. Each iteration draws spike counts ``z ~ Poisson(exp(u))`` and
moves u along the natural gradient of the free energy: up by the feed-forward drive, down by the
lateral inhibition of the spikes and by a constant leak.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pvae_neuro.models.base import Architecture, Iteration, State, Window, WindowSettings
from pvae_neuro.models.dynamics import kl_divergence
from pvae_neuro.models.poisson.pixels import LinearPixels
from pvae_neuro.models.poisson.potentials import PoissonLevel
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.models.sampling.counting import sample_training_counts
from pvae_neuro.models.sampling.relaxed_poisson import RELEASED_ARRIVALS, sample_counts

# A window keeps every step of its batch in memory.
_STEPS_AT_ONCE = 50
# Kernels draw counts up to 1,023 of rates up to e^6.6; this leaves room for what lies between.
_LARGEST_POTENTIAL = 5.0
_HAS_NUMBA = find_spec("numba") is not None


class LinearArchitecture(Architecture):
    """Settings of the linear decoder.

    Attributes
    ----------
    readout : bool
        Whether reconstructions are read out by an array of their own, ``readout``, fitted to counts
        that the dictionary infers. Windows of training know the dictionary alone.
    """

    readout: bool = False


class StepResult(NamedTuple):
    """One time step as the paper defines it.

    Attributes
    ----------
    u : Tensor
        Membrane potentials after the update, [B, K].
    z : Tensor
        Spike counts drawn before the update, which drove it, [B, K].
    z_readout : Tensor
        Spike counts drawn after the update, [B, K].
    reconstruction : Tensor
        Φ times ``z_readout``, [B, M], in units of the input.
    kl : Tensor
        KL divergence from the previous posterior, nats per neuron, [B, K].
    nll : Tensor
        Negative log-likelihood of the input, nats summed over pixels, [B].
    """

    u: Tensor
    z: Tensor
    z_readout: Tensor
    reconstruction: Tensor
    kl: Tensor
    nll: Tensor


class IPVAE(PoissonLevel, LinearPixels):
    """Iterative Poisson VAE, linear decoder.

    Its parameters are those of :class:`~pvae_neuro.models.poisson.pixels.LinearPixels` and
    :class:`~pvae_neuro.models.poisson.potentials.PoissonLevel`.
    """

    law = "Poisson"
    zero_threshold = 0.5
    architecture_type = LinearArchitecture
    # Exact counts train several times faster than relaxed ones, within the bounds that integer
    # networks have; 3.65 is the largest hundredth at which counts up to 63 are enough.
    defaults: ClassVar[dict[str, Any]] = {
        "estimator": "exact", "clamp": "hard", "clamp_u": 3.65, "clamp_du": 3.65,
    }  # fmt: skip

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create the parameters of the pixels, then those of the level."""
        super().build(generator, init_scale)
        self.build_level(self.config.latents, generator)
        if self.architecture.readout:
            self.readout = torch.nn.Parameter(self.dictionary.detach().clone())

    def decode(self, z: Tensor) -> Tensor:
        """Reconstruct pixels [B, M] from counts [B, K]."""
        return z @ (self.readout if self.architecture.readout else self.dictionary).T

    def update(self, u: Tensor, x: Tensor, z: Tensor, u_prior: Tensor | None = None) -> Tensor:
        """One inference update for given inputs [B, M] and counts [B, K]; see :meth:`advance`."""
        return self.advance(u, self.pull_back(x, z), u_prior)

    def step(
        self,
        u: Tensor,
        x: Tensor,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
        max_arrivals: int = RELEASED_ARRIVALS,
    ) -> StepResult:
        """Run one time step in the space of the pixels: all inner updates, then a fresh readout.

        Windows and :meth:`iterate` compute the same more cheaply; this is their definition.

        Parameters
        ----------
        u : Tensor
            Membrane potentials at the start of the step, [B, K]; they are its prior.
        x : Tensor
            Inputs, [B, M].
        temperature : float
            Of relaxed samples; zero draws exact Poisson counts.
        generator : torch.Generator, optional
            Source of the samples.
        max_arrivals : int
            Largest relaxed count.
        """
        u_prior = u
        for _ in range(self.config.inner_updates):
            z = sample_counts(u, temperature, generator, max_arrivals)
            u = self.update(u, x, z, u_prior)
        readout = sample_counts(u, temperature, generator, max_arrivals)
        reconstruction = self.decode(readout)
        kl = kl_divergence(u, u_prior, self.config.kl)
        return StepResult(u, z, readout, reconstruction, kl, self.nll(x, reconstruction))

    def start(self, x: Tensor) -> State:
        """Membrane potentials before the first iteration: ``(u,)``, [B, K]."""
        return (self.initial_state(len(x)),)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Run a window of training iterations; see :meth:`Model.window`.

        Compiled kernels run it where they can, to the same result up to rounding.
        """
        if self.is_compiled(settings.estimator) and not x.requires_grad:
            from pvae_neuro.models.poisson.fused.window import run_window

            parameters = (self.dictionary, self.log_sigma, self.log_bias, self.log_step_size)
            return run_window(x, state[0], parameters, self.config, settings)
        return self.plain_window(x, state, settings)

    def is_compiled(self, estimator: str) -> bool:
        """Whether windows run on compiled kernels, which use one thread.

        The kernels need numba, exact counts, one inner update, the exact KL, and float32 on the
        CPU.
        """
        config, phi = self.config, self.dictionary
        return (
            _HAS_NUMBA
            and (estimator, config.kl) == ("exact", "exact")
            and config.inner_updates == 1
            and not self.architecture.readout
            and (phi.device.type, phi.dtype) == ("cpu", torch.float32)
        )

    def plain_window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Run a window iteration by iteration, differentiated by autograd.

        Compared with :meth:`step`, iterations run in the space of the latents (see :meth:`drive`),
        and the counts that read one iteration out drive the next. Both are drawn at the same
        potentials, so the expectation of each term of the loss stays the same, and one sample and
        one product by the lateral weights serve both.
        """
        drive, u = self.drive(x), state[0]
        z = sample_training_counts(u, settings)
        residual = drive.residual(z)
        nll, kl, active = (u.new_zeros(()) for _ in range(3))
        for _ in range(settings.steps):
            u_prior = u
            for _ in range(self.config.inner_updates):
                u = self.advance(u, residual, u_prior, settings.bound)
                z = sample_training_counts(u, settings)
                residual = drive.residual(z)
            nll = nll - drive.explained(z, residual)
            kl = kl + kl_divergence(u, u_prior, self.config.kl).sum()
            active = active - torch.expm1(-torch.exp(u)).sum()
        terms = settings.steps * len(x)
        nll = nll / terms + drive.constant.mean()
        return Window(nll, kl / terms, (u,), z, active / terms)

    @torch.no_grad()
    def repeat(
        self, x: Tensor, state: State, count: int, generator: torch.Generator | None
    ) -> State:
        """State after so many iterations, on the kernels of training where they can run.

        A stretch of iterations that ends at rates near their largest count is run again without.
        """
        if not self.is_compiled("exact"):
            return super().repeat(x, state, count, generator)
        noise = CounterNoise(int(torch.randint(2**62, (), generator=generator)))
        for first in range(0, count, _STEPS_AT_ONCE):
            steps = min(_STEPS_AT_ONCE, count - first)
            settings = WindowSettings(steps, 1.0, 0.0, RELEASED_ARRIVALS, "exact", noise)
            result = self.window(x, state, settings)
            if float(result.state[0].max()) > _LARGEST_POTENTIAL:
                state = super().repeat(x, state, steps, generator)
            else:
                state = (*result.state, result.z)
        return state

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Run one iteration on exact counts; the state is ``(u, z)`` after the first."""
        return self.iterate_level(state, generator, lambda z: self.pull_back(x, z), self.decode)
