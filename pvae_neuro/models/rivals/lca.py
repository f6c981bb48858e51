"""Sparse coding by the locally competitive algorithm, with a learned dictionary.

Neurons integrate the drive of the input and the inhibition of active neurons (Rozell, Johnson,
Baraniuk, Olshausen 2008, eq. 3.4):

    tau du/dt = Φᵀ x - u - (ΦᵀΦ - I) a,    a = soft threshold of u.

Its fixed points minimise ``½|x - Φ a|² + threshold |a|₁``. The dictionary, whose atoms have unit
norm, descends the first term at the inferred coefficients (Olshausen, Field 1996).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pvae_neuro.models.base import Architecture, Iteration, Model, State, Window, WindowSettings
from pvae_neuro.saved.lca import LCASettings, stable_step

_SMALLEST_NORM = 1e-8


class LCAArchitecture(LCASettings, Architecture):
    """See :class:`~pvae_neuro.saved.lca.LCASettings`."""


class LCA(Model):
    """Locally competitive algorithm.

    ``Window.nll`` is ``½|x - Φ a|²`` and ``Window.kl`` is ``lambda_ |a|₁``, so that the loss is the
    energy that inference descends. The published λ is ``beta`` as long as ``lambda_`` is one.

    Attributes
    ----------
    dictionary : Parameter
        Φ, [M, K], columns of unit norm, whatever ``init_scale``.
    """

    architecture_type = LCAArchitecture
    defaults: ClassVar[dict[str, Any]] = {
        "latents": 512, "steps": 60, "beta": 0.5, "learning_rate": 2e-3, "weight_decay": 0.0,
        "dictionary_rate": 1.0,
    }  # fmt: skip

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create the dictionary."""
        atoms = torch.randn(self.config.pixels, self.config.latents, generator=generator)
        self.dictionary = nn.Parameter(atoms)
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        """Give every atom unit norm."""
        norms = self.dictionary.norm(dim=0).clamp_(min=_SMALLEST_NORM)
        self.dictionary.div_(norms)

    def activate(self, u: Tensor, beta: float) -> Tensor:
        """Coefficients a [B, K]: the soft threshold ``beta lambda_`` of the potentials u."""
        threshold = beta * self.architecture.lambda_
        above = torch.relu(u - threshold)
        return above if self.architecture.nonnegative else above - torch.relu(-u - threshold)

    def start(self, x: Tensor) -> State:
        """Zero potentials and their reconstruction, zero: ``(u, Φa)``, [B, K] and [B, M]."""
        return x.new_zeros(len(x), self.config.latents), torch.zeros_like(x)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Settle without gradients, then compute the energy; see :meth:`Model.window`."""
        u, a = self._settle(x, state[0], settings)
        reconstruction = self.decode(a)
        nll = 0.5 * (x - reconstruction).square().sum(1).mean()
        penalty = self.architecture.lambda_ * a.abs().sum(1).mean()
        return Window(nll, penalty, (u, reconstruction), a)

    @torch.no_grad()
    def stable_step(self) -> float:
        """Step per iteration, see :func:`pvae_neuro.saved.lca.stable_step`."""
        ones = self.dictionary.new_ones(self.config.latents)
        return stable_step(self.dictionary, ones, self.architecture.step)

    @torch.no_grad()
    def _settle(self, x: Tensor, u: Tensor, settings: WindowSettings) -> tuple[Tensor, Tensor]:
        """Potentials and coefficients after the window; the loop uses ΦᵀΦ and needs no pixels."""
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
        """Run one iteration; it draws nothing. See :meth:`Model.iterate`."""
        u, reconstruction = state
        beta = self.config.beta
        force = (x - reconstruction) @ self.dictionary + self.activate(u, beta)
        after = torch.lerp(u, force, self.stable_step())
        a = self.activate(after, beta)
        reconstruction = self.decode(a)
        return Iteration((after, reconstruction), a, reconstruction, a, (after - u).norm(dim=1))

    def decode(self, z: Tensor) -> Tensor:
        """Reconstruct inputs [B, M] from coefficients [B, K]."""
        return z @ self.dictionary.T
