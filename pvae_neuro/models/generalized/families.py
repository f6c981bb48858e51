"""The families that nodes can have, by name; :func:`register` adds a user's own."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pvae_neuro.errors import InputError
from pvae_neuro.models.dynamics import kl_divergence
from pvae_neuro.models.generalized.family import Family, Squared
from pvae_neuro.models.sampling.exact_poisson import attach_slope, counts_at
from pvae_neuro.models.sampling.gaussian import gaussian_kl
from pvae_neuro.utils.suggest import suggest

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class Gaussian(Family):
    """Normal of variance 1; φ is its mean."""

    name = "gaussian"
    unbounded = True
    curvature = 1.0

    def mean(self, phi: Tensor) -> Tensor:
        """φ itself."""
        return phi

    def kl(self, phi: Tensor, theta: Tensor) -> Tensor:
        """Half the squared error."""
        return 0.5 * (phi - theta).square()

    def nll(self, target: Tensor, theta: Tensor) -> Tensor:
        """Half the squared error and the constant of the density."""
        return self.kl(target, theta) + HALF_LOG_2PI

    def draw(self, phi: Tensor, noise: Tensor) -> Tensor:
        """``φ + ε``."""
        return phi + normal_of(noise, phi)


class LearnedGaussian(Family):
    """Normal whose parameters are mean μ and log standard deviation ξ: ``φ = (μ, ξ)``.

    These are no natural parameters; their Fisher information is ``diag(1/σ², 2)``. A sample is
    ``μ + σ ε``, so ``∂z/∂ξ = σ ε``; where the mean is handed on, ξ gets nothing from below.
    """

    name = "gaussian-learned"
    parts = 2
    unbounded = True

    def mean(self, phi: Tensor) -> Tensor:
        """μ."""
        return phi.chunk(2, -1)[0]

    def kl(self, phi: Tensor, theta: Tensor) -> Tensor:
        """See :func:`~pvae_neuro.models.sampling.gaussian.gaussian_kl`."""
        return gaussian_kl(*phi.chunk(2, -1), *theta.chunk(2, -1))

    def nll(self, target: Tensor, theta: Tensor) -> Tensor:
        """Negative log-density."""
        mu, xi = theta.chunk(2, -1)
        return 0.5 * ((target - mu) * torch.exp(-xi)).square() + xi + HALF_LOG_2PI

    def draw(self, phi: Tensor, noise: Tensor) -> Tensor:
        """``μ + σ ε`` (Kingma, Welling 2014, arXiv:1312.6114)."""
        mu, xi = phi.chunk(2, -1)
        return mu + torch.exp(xi) * normal_of(noise, mu)

    def pull(self, phi: Tensor, theta: Tensor, trust: Tensor | float) -> Tensor:
        """``(σ², ½)`` times the gradient by μ and ξ."""
        (mu, xi), (mu_0, xi_0) = phi.chunk(2, -1), theta.chunk(2, -1)
        change = torch.exp(2.0 * (xi - xi_0))
        return torch.cat([trust * change * (mu - mu_0), 0.5 * trust * (change - 1.0)], -1)

    def push(self, phi: Tensor, down: Tensor, noise: Tensor | None = None) -> Tensor:
        """The same of the energy below."""
        mu, xi = phi.chunk(2, -1)
        sigma = torch.exp(xi)
        by_mu = sigma**2 * down
        by_xi = torch.zeros_like(mu) if noise is None else 0.5 * sigma * normal_of(noise, mu) * down
        return torch.cat([by_mu.expand_as(mu), by_xi], -1)

    def error(self, phi: Tensor, theta: Tensor, noise: Tensor | None = None) -> Tensor:
        """Derivatives of the KL divergence by the predicted μ and ξ."""
        (mu, xi), (mu_0, xi_0) = phi.chunk(2, -1), theta.chunk(2, -1)
        away = (mu_0 - mu) * torch.exp(-2.0 * xi_0)
        by_xi = 1.0 - torch.exp(2.0 * (xi - xi_0)) - (mu_0 - mu) * away
        return torch.cat([away, by_xi], -1)

    def squared(self) -> Family:
        """Gaussian nodes that hold μ and ξ."""
        return SquaredParameters()


class SquaredParameters(Squared):
    """Gaussian nodes that hold mean and log standard deviation as plain numbers, (μ, ξ)."""

    name = "squared-parameters"
    parts = 2

    def __init__(self) -> None:
        super().__init__(LearnedGaussian())

    def start(self, theta: Tensor) -> Tensor:
        """θ itself."""
        return theta

    def mean(self, phi: Tensor) -> Tensor:
        """μ."""
        return self.own.mean(phi)

    def draw(self, phi: Tensor, noise: Tensor) -> Tensor:
        """``μ + σ ε``."""
        return self.own.draw(phi, noise)

    def push(self, phi: Tensor, down: Tensor, noise: Tensor | None = None) -> Tensor:
        """Plain gradient by μ and ξ."""
        return _fisher(phi) * self.own.push(phi, down, noise)

    def error(self, phi: Tensor, theta: Tensor, noise: Tensor | None = None) -> Tensor:
        """``θ - φ``."""
        return theta - phi

    def toward(self, phi: Tensor, prior: Tensor, weight: Tensor | float) -> Tensor:
        """Plain gradient of the KL divergence from the prior."""
        return _fisher(phi) * self.own.pull(phi, prior, weight)

    def prior_kl(self, phi: Tensor, prior: Tensor) -> Tensor:
        """KL divergence of the two normals."""
        return self.own.kl(phi, prior)


def _fisher(phi: Tensor) -> Tensor:
    """Fisher information of :class:`LearnedGaussian` by μ and ξ, shaped as φ."""
    precision = torch.exp(-2.0 * phi.chunk(2, -1)[1])
    return torch.cat([precision, torch.full_like(precision, 2.0)], -1)


class Bernoulli(Family):
    """A unit that is 1 with probability ``sigmoid(φ)``, else 0."""

    name = "bernoulli"
    curvature = 0.25
    values = "probabilities from 0 to 1"

    def mean(self, phi: Tensor) -> Tensor:
        """Probability of 1."""
        return torch.sigmoid(phi)

    def kl(self, phi: Tensor, theta: Tensor) -> Tensor:
        """``m(φ) (φ - θ) - A(φ) + A(θ)`` with ``A = softplus``."""
        difference = functional.softplus(theta) - functional.softplus(phi)
        return torch.sigmoid(phi) * (phi - theta) + difference

    def nll(self, target: Tensor, theta: Tensor) -> Tensor:
        """Cross entropy."""
        return functional.softplus(theta) - target * theta

    def draw(self, phi: Tensor, noise: Tensor) -> Tensor:
        """1 where the noise lies below the probability; its gradient is that of the mean."""
        mean = torch.sigmoid(phi)
        return _Straight.apply(mean, (noise < mean).to(phi.dtype))

    def allows(self, target: Tensor) -> bool:
        """Whether all lie in [0, 1]."""
        return bool(((target >= 0) & (target <= 1)).all())


class _Straight(torch.autograd.Function):
    """A sample with the gradient of its mean."""

    @staticmethod
    def forward(ctx: object, mean: Tensor, sample: Tensor) -> Tensor:
        return sample

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class Categorical(Family):
    """One-hot groups of equal size; the mean of a group is the softmax of its φ.

    Adding a constant to the φ of a group changes nothing.
    """

    name = "categorical"
    values = "groups of probabilities that add up to 1"

    def __init__(self, groups: int = 1) -> None:
        if groups < 1:
            raise InputError(f"family 'categorical': expected one group or more, got {groups}")
        self.groups = groups

    def grouped(self, groups: int) -> Family:
        """So many groups."""
        return Categorical(groups)

    def _split(self, phi: Tensor) -> Tensor:
        width = phi.shape[-1]
        if width % self.groups:
            raise InputError(
                f"family 'categorical': expected a number of groups that divides the width of the "
                f"node, {width}, got {self.groups}"
            )
        return phi.reshape(*phi.shape[:-1], self.groups, width // self.groups)

    def mean(self, phi: Tensor) -> Tensor:
        """Probabilities."""
        return self._split(phi).softmax(-1).flatten(-2)

    def kl(self, phi: Tensor, theta: Tensor) -> Tensor:
        """Per group."""
        own, other = (self._split(part).log_softmax(-1) for part in (phi, theta))
        return (own.exp() * (own - other)).sum(-1)

    def nll(self, target: Tensor, theta: Tensor) -> Tensor:
        """Cross entropy, per group."""
        return -(self._split(target) * self._split(theta).log_softmax(-1)).sum(-1)

    def allows(self, target: Tensor) -> bool:
        """Whether each group is a distribution."""
        sums = self._split(target).sum(-1)
        return bool((target >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-5))


class Poisson(Family):
    """Counts of rate ``exp(φ)``; φ is the membrane potential of the iterative Poisson VAE."""

    name = "poisson"
    values = "finite numbers of 0 or more"

    def mean(self, phi: Tensor) -> Tensor:
        """Rate."""
        return torch.exp(phi)

    def kl(self, phi: Tensor, theta: Tensor) -> Tensor:
        """See :func:`~pvae_neuro.models.dynamics.kl_divergence`."""
        return kl_divergence(phi, theta)

    def nll(self, target: Tensor, theta: Tensor) -> Tensor:
        """Negative log-mass; between counts, by the gamma function."""
        return torch.exp(theta) - target * theta + torch.lgamma(target + 1.0)

    def draw(self, phi: Tensor, noise: Tensor) -> Tensor:
        """Count by inversion; see :mod:`~pvae_neuro.models.sampling.exact_poisson`."""
        return attach_slope(phi, counts_at(phi.detach(), noise))

    def allows(self, target: Tensor) -> bool:
        """Whether all are finite and not negative."""
        return bool((torch.isfinite(target) & (target >= 0)).all())


def normal_of(noise: Tensor, like: Tensor) -> Tensor:
    """Standard normal numbers from uniform ones in (0, 1), in the dtype of ``like``."""
    return (math.sqrt(2.0) * torch.erfinv(2.0 * noise - 1.0)).to(like.dtype)


_FAMILIES: dict[str, Family] = {
    each.name: each
    for each in (Gaussian(), LearnedGaussian(), Bernoulli(), Categorical(), Poisson())
}


def register(family: Family) -> None:
    """Let nodes have a family by its name.

    Raises
    ------
    InputError
        If another family has that name.
    """
    if type(_FAMILIES.get(family.name, family)) is not type(family):
        raise InputError(f"family {family.name!r}: there is one of that name; choose another name")
    _FAMILIES[family.name] = family


def family_names() -> tuple[str, ...]:
    """Names of all families."""
    return tuple(_FAMILIES)


def find_family(name: str) -> Family:
    """Family by name; InputError for an unknown one suggests the nearest."""
    if name not in _FAMILIES:
        raise InputError(f"family {name!r}: no such family of nodes{suggest(name, _FAMILIES)}")
    return _FAMILIES[name]
