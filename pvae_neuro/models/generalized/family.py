"""What a node is made of: a distribution, by its natural parameters.

A node has parameters φ and is predicted to have θ. Its energy is ``λ KL(φ ‖ θ)``, its mean ``m(φ)``
and its Fisher information F, both by φ. It hands its mean on, or a sample with that mean. With the
energy E of the node and of all that it predicts, every exponential family in its natural parameters
has::

    F⁻¹ ∂E/∂φ = λ (φ - θ) + ∂E_below/∂m            ∂KL(φ ‖ θ)/∂θ = m(θ) - m(φ)

The first line is what a node follows, the second what it tells the node that predicts it: inference
needs nothing that lies further away. The energies are those of Pinchetti, Salvatori, Yordanov,
Millidge, Song, Lukasiewicz 2022, arXiv:2211.03481; ``docs/generalized.md`` has the derivation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pvae_neuro.errors import InputError


class Family(ABC):
    """Distribution of the units of a node; stateless, noise is passed in.

    A subclass gives its name, :meth:`mean`, :meth:`kl` and :meth:`nll`; the rest follows where φ
    are natural parameters. Units lie on the last axis; any axes may lead.

    Attributes
    ----------
    name : str
        Class attribute: how settings call it.
    parts : int
        Class attribute: parameters per unit. The last axis holds the first of all units, then the
        second of all units.
    unbounded : bool
        Class attribute: whether means can be any numbers, so that networks hand on tanh of them.
    curvature : float
        Class attribute: largest second derivative of :meth:`nll` by a parameter; infinite where
        there is none.
    values : str
        Class attribute: the values that :meth:`nll` takes, in words.
    """

    name: str
    parts: int = 1
    unbounded: bool = False
    curvature: float = math.inf
    values: str = "finite numbers"

    @abstractmethod
    def mean(self, phi: Tensor) -> Tensor:
        """Mean of each unit, [..., K]."""

    @abstractmethod
    def kl(self, phi: Tensor, theta: Tensor) -> Tensor:
        """``KL(φ ‖ θ)``, nats per unit or group, [..., K or groups]."""

    @abstractmethod
    def nll(self, target: Tensor, theta: Tensor) -> Tensor:
        """Negative log-likelihood of observed values [..., K], nats per unit."""

    def draw(self, phi: Tensor, noise: Tensor) -> Tensor:
        """Sample from uniform numbers in (0, 1), [..., K], with a gradient by φ.

        Raises
        ------
        InputError
            By default: the family draws no samples.
        """
        raise InputError(
            f"family {self.name!r}: it draws no samples; expected a node that hands on its mean"
        )

    def hand(self, phi: Tensor, noise: Tensor | None = None) -> Tensor:
        """What the node hands on: its mean, or a sample where there is noise, [..., K]."""
        return self.mean(phi) if noise is None else self.draw(phi, noise)

    def pull(self, phi: Tensor, theta: Tensor, trust: Tensor | float) -> Tensor:
        """``λ F⁻¹ ∂KL(φ ‖ θ)/∂φ``, shaped as φ."""
        return trust * (phi - theta)

    def push(self, phi: Tensor, down: Tensor, noise: Tensor | None = None) -> Tensor:
        """``F⁻¹ ∂E_below/∂φ``, shaped as φ.

        ``down`` is the derivative of the energy below by what the node hands on, [..., K], and
        ``noise`` what it was drawn with.
        """
        return down

    def natural(
        self,
        phi: Tensor,
        theta: Tensor,
        down: Tensor,
        trust: Tensor | float = 1.0,
        noise: Tensor | None = None,
    ) -> Tensor:
        """``F⁻¹ ∂E/∂φ``: the natural gradient of the energy, :meth:`pull` and :meth:`push`."""
        return self.pull(phi, theta, trust) + self.push(phi, down, noise)

    def error(self, phi: Tensor, theta: Tensor, noise: Tensor | None = None) -> Tensor:
        """``∂KL(φ ‖ θ)/∂θ``, shaped as θ; with noise, a sample stands for the mean of φ."""
        return self.mean(theta) - self.hand(phi, noise)

    def grouped(self, groups: int) -> Family:
        """The family where units form groups of equal size; by default they form none."""
        return self

    def start(self, theta: Tensor) -> Tensor:
        """The node's parameters where they are as predicted."""
        return theta

    def toward(self, phi: Tensor, prior: Tensor, weight: Tensor | float) -> Tensor:
        """What a prior of its own adds to :meth:`natural`."""
        return self.pull(phi, prior, weight)

    def prior_kl(self, phi: Tensor, prior: Tensor) -> Tensor:
        """Energy of a prior of weight 1, nats per unit or group."""
        return self.kl(phi, prior)

    def squared(self) -> Family:
        """The Gaussian node that standard predictive coding has in place of this one."""
        return Squared(self)

    def allows(self, target: Tensor) -> bool:
        """Whether all observed values are among :attr:`values`."""
        return bool(torch.isfinite(target).all())

    def check(self, target: Tensor, theta: Tensor, where: str) -> None:
        """Refuse observed values that the family cannot have.

        Raises
        ------
        InputError
            If there is not one value for each unit, or one of them is not allowed.
        """
        units = (*theta.shape[:-1], theta.shape[-1] // self.parts)
        if tuple(target.shape) != units:
            raise InputError(
                f"{where}: expected values {list(units)}, one for each unit that is predicted, got "
                f"{list(target.shape)}"
            )
        if not self.allows(target):
            low, high = float(target.min()), float(target.max())
            raise InputError(
                f"{where}, family {self.name!r}: expected {self.values}, got values from {low:g} "
                f"to {high:g}; scale the data, or take another family"
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class Squared(Family):
    """Normal distribution of variance 1 about the mean that another family is predicted to have.

    The node holds that mean itself, as standard predictive coding has it: its energy is
    ``λ/2 (φ - m(θ))²``.
    """

    name = "squared"

    def __init__(self, own: Family) -> None:
        self.own = own

    def start(self, theta: Tensor) -> Tensor:
        """The predicted mean."""
        return self.own.mean(theta)

    def mean(self, phi: Tensor) -> Tensor:
        """φ itself."""
        return phi

    def kl(self, phi: Tensor, theta: Tensor) -> Tensor:
        """Half the squared error."""
        return 0.5 * (phi - self.start(theta)).square()

    def nll(self, target: Tensor, theta: Tensor) -> Tensor:
        """Half the squared error, without the constant of the density."""
        return self.kl(target, theta)

    def pull(self, phi: Tensor, theta: Tensor, trust: Tensor | float) -> Tensor:
        """Plain gradient; the Fisher information is 1."""
        return trust * (phi - self.start(theta))

    def error(self, phi: Tensor, theta: Tensor, noise: Tensor | None = None) -> Tensor:
        """``(m(θ) - φ) ∂m/∂θ``."""
        with torch.enable_grad():
            leaf = theta.detach().requires_grad_()
            mean = self.start(leaf)
            return torch.autograd.grad(mean, leaf, mean.detach() - phi)[0]
