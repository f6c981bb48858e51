"""Sparse coding by the locally competitive algorithm, with a learned dictionary.

Neurons integrate what the input drives and what active neurons inhibit (Rozell, Johnson, Baraniuk,
Olshausen 2008, eq. 3.4):

    tau du/dt = Φᵀ x - u - (ΦᵀΦ - I) a,    a = soft threshold of u.

Its fixed points minimise ``½|x - Φ a|² + threshold |a|₁``; the dictionary, of atoms of unit norm,
descends the first term at the coefficients that inference found (Olshausen, Field 1996).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from pvae_neuro.models.base import Architecture, Iteration, Model, State, Window, WindowSettings
from pvae_neuro.saved.model_file import ModelConfig

_SMALLEST_NORM = 1e-8
_POWER_ITERATIONS = 20
_STABLE_SHARE = 1.5


class LCAArchitecture(Architecture):
    """Settings of the locally competitive algorithm.

    Attributes
    ----------
    lambda_ : float
        Price of a unit of activity as a share of beta: the threshold is ``beta lambda_``.
    nonnegative : bool
        Whether coefficients may not be negative.
    step : float
        Share of its time constant that a membrane moves in an iteration, 1/tau; less where the
        dictionary asks for it, see :meth:`LCA.stable_step`. Published runs took 0.01 and 900
        iterations.
    """

    lambda_: float = Field(default=1.0, ge=0.0)
    nonnegative: bool = False
    step: float = Field(default=0.1, gt=0.0, le=1.0)


class LCA(Model):
    """Locally competitive algorithm.

    ``Window.nll`` is ``½|x - Φ a|²`` and ``Window.kl`` is ``lambda_ |a|₁``, so that the loss is the
    energy that inference descends. The published λ is ``beta`` as long as ``lambda_`` is one.

    Parameters
    ----------
    config : ModelConfig
        Sizes; ``beta`` scales the threshold.
    generator : torch.Generator, optional
        Source of the initial dictionary.
    init_scale : float, optional
        Without effect, atoms have unit norm.

    Attributes
    ----------
    dictionary : Parameter
        Φ, [M, K], columns of unit norm.
    """

    architecture_type = LCAArchitecture
    defaults: ClassVar[dict[str, Any]] = {
        "latents": 512, "steps": 60, "beta": 0.5, "learning_rate": 2e-3, "weight_decay": 0.0,
        "dictionary_rate": 1.0,
    }  # fmt: skip

    def __init__(
        self,
        config: ModelConfig,
        generator: torch.Generator | None = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__(config, generator)
        atoms = torch.randn(config.pixels, config.latents, generator=generator)
        self.dictionary = nn.Parameter(atoms)
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        """Give every atom unit norm."""
        norms = self.dictionary.norm(dim=0).clamp_(min=_SMALLEST_NORM)
        self.dictionary.div_(norms)

    def activate(self, u: Tensor, beta: float) -> Tensor:
        """Soft threshold.

        Parameters
        ----------
        u : Tensor
            Membrane potentials, [B, K].
        beta : float
            Scale of the threshold.

        Returns
        -------
        Tensor
            Coefficients a, [B, K], most of them zero.
        """
        threshold = beta * self.architecture.lambda_
        above = torch.relu(u - threshold)
        return above if self.architecture.nonnegative else above - torch.relu(-u - threshold)

    def start(self, x: Tensor) -> State:
        """Membranes at rest and the reconstruction of silence: ``(u, Φa)``, [B, K] and [B, M]."""
        return x.new_zeros(len(x), self.config.latents), torch.zeros_like(x)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Settle in the space of the latents, then the energy there; see :meth:`Model.window`."""
        u, a = self._settle(x, state[0], settings)
        reconstruction = self.decode(a)
        nll = 0.5 * (x - reconstruction).square().sum(1).mean()
        penalty = self.architecture.lambda_ * a.abs().sum(1).mean()
        return Window(nll, penalty, (u, reconstruction), a)

    @torch.no_grad()
    def stable_step(self) -> float:
        """The architecture's step, or ``1.5 / λ`` if that is less, λ the largest eigenvalue of ΦᵀΦ.

        Membranes of active neurons move by ``I - step ΦᵀΦ``, which swings up beyond ``2 / λ``.
        Atoms of images without negative pixels overlap so much that λ exceeds a hundred. It
        comes from twenty power iterations, which may fall short of it a little: hence 1.5.
        """
        vector = self.dictionary.new_ones(self.config.latents)
        size = torch.ones(())
        for _ in range(_POWER_ITERATIONS):
            vector = self.dictionary.T @ (self.dictionary @ vector)
            size = vector.norm()
            vector = vector / size.clamp(min=_SMALLEST_NORM)
        return min(self.architecture.step, _STABLE_SHARE / max(float(size), _SMALLEST_NORM))

    @torch.no_grad()
    def _settle(self, x: Tensor, u: Tensor, settings: WindowSettings) -> tuple[Tensor, Tensor]:
        """Potentials and coefficients at the end; the Gram matrix spares the loop the pixels."""
        dictionary, step = self.dictionary, self.stable_step()
        drive = x @ dictionary
        inhibition = dictionary.T @ dictionary
        inhibition.diagonal().sub_(1.0)
        a = self.activate(u, settings.beta)
        for _ in range(settings.steps):
            force = torch.addmm(drive, a, inhibition, alpha=-1.0)
            u = torch.lerp(u, force, step)
            a = self.activate(u, settings.beta)
        return u, a

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """One iteration, which draws nothing; see :meth:`Model.iterate`."""
        u, reconstruction = state
        beta = self.config.beta
        force = (x - reconstruction) @ self.dictionary + self.activate(u, beta)
        after = torch.lerp(u, force, self.stable_step())
        a = self.activate(after, beta)
        reconstruction = self.decode(a)
        return Iteration((after, reconstruction), a, reconstruction, a, (after - u).norm(dim=1))

    def decode(self, z: Tensor) -> Tensor:
        """Φ times the coefficients [B, K]: [B, M], in units of the input."""
        return z @ self.dictionary.T
