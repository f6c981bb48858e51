"""Chains of nodes that hand on what they draw, as populations of spiking neurons do.

Node 1 predicts the pixels, each node above predicts the parameters of the one below by a linear
map, and the last one has a prior. All move at once (``together``), on one draw of each::

    θ_l = W_l z_{l+1} + b_l        φ_l -= rate · λ (φ_l - θ_l - W_{l-1}ᵀ (z_{l-1} - p_{l-1}))

z is drawn of φ and p of θ, **by the same random number**: the mean of ``z - p`` is the difference
of the two means, which is what the rule of :mod:`~pvae_neuro.models.generalized.family` asks for,
and a node that is what is predicted has no error at all. Node 1 follows ``λ (φ_1 - θ_1)`` and the
errors of the pixels, over their variance, whose weight is 1. Weights learn by the gradient of the
energy at the nodes as they are, ``(z - p) z_{l+1}ᵀ`` in the mean: what a synapse sees at its ends.

The node over the pixels also pays what the variance of its own draws costs there, ``½ Σ w²/σ²`` for
each unit of variance: the mean energy of a linear map of samples is that of their mean and this.

Categorical nodes draw counts of the rates ``e^(φ - c)``; one normalizer neuron for each group moves
its log-sum c until one spike comes in an iteration. ``docs/generalized_integers.md`` has these
rules as operations of integers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import Architecture, Iteration, Model, State, Window, WindowSettings
from pvae_neuro.models.dynamics import soft_symmetric
from pvae_neuro.models.generalized.families import Bernoulli, Categorical, Gaussian, Poisson
from pvae_neuro.models.generalized.family import Family
from pvae_neuro.models.generalized.nodes import Noise, counter_noise, generator_noise
from pvae_neuro.models.poisson.pixels import LOG_2PI
from pvae_neuro.saved.chain import ChainSettings
from pvae_neuro.saved.model_file import LOG_SIGMA_BOUND
from pvae_neuro.utils.suggest import suggest

_WEIGHT_SCALE = 0.05
_QUIET = -2.0


class ChainArchitecture(ChainSettings, Architecture):
    """See :class:`~pvae_neuro.saved.chain.ChainSettings`."""

    array_settings = ("families", "groups", "pixels")


class Node:
    """A node whose neurons draw each for itself.

    Parameters
    ----------
    family : Family
    start : float
        Parameters of all neurons before training.

    Attributes
    ----------
    grouped : bool
        Class attribute: whether its neurons form groups.
    """

    grouped = False

    def __init__(self, family: Family, start: float = 0.0) -> None:
        self.family, self.start = family, start

    def log_sum(self, theta: Tensor) -> Tensor:
        """What normalizer neurons begin with, [B, groups]; none by default."""
        return theta[:, :0]

    def draw(self, phi: Tensor, log_sum: Tensor, noise: Tensor) -> Tensor:
        """Draw of parameters φ, [B, K]."""
        return self.family.draw(phi, noise)

    def slope(self, phi: Tensor) -> Tensor | float:
        """Derivative of what is handed on by the mean."""
        return 1.0

    def variance_slope(self, z: Tensor) -> Tensor | float:
        """Derivative of the variance of what is handed on by its mean, unbiased, from a draw."""
        return 1.0

    def follow(self, log_sum: Tensor, drawn: Tensor, bounds: tuple[float, float]) -> Tensor:
        """Log-sums after a draw."""
        return log_sum

    def message(self, phi: Tensor, draw: Draw) -> Tensor:
        """What the node tells that which predicts it: ``-∂KL(φ ‖ θ)/∂θ`` in the mean, [B, K]."""
        return draw.z - draw.p


class Switches(Node):
    """Bernoulli nodes: the variance of what they hand on is ``m (1 - m)``."""

    def variance_slope(self, z: Tensor) -> Tensor:
        """``1 - 2 z``."""
        return 1.0 - 2.0 * z


class Rectified(Node):
    """Gaussian nodes that hand on what of their mean is above 0; they draw nothing."""

    def variance_slope(self, z: Tensor) -> float:
        """Nothing varies."""
        return 0.0

    def draw(self, phi: Tensor, log_sum: Tensor, noise: Tensor) -> Tensor:
        """The mean, rectified."""
        return phi.clamp(min=0.0)

    def slope(self, phi: Tensor) -> Tensor:
        """1 from 0 on: at 0, where inference may begin, it is open."""
        return (phi >= 0).to(phi.dtype)

    def message(self, phi: Tensor, draw: Draw) -> Tensor:
        """Of the mean itself."""
        return phi - draw.theta


class Grouped(Node):
    """Categorical nodes: Poisson neurons, and a normalizer neuron for each group.

    Parameters
    ----------
    groups : int
    rate : float or None
        Of the normalizer neurons; None normalizes exactly.
    """

    grouped = True

    def __init__(self, groups: int, rate: float | None) -> None:
        super().__init__(Categorical(groups))
        self._groups, self._rate = groups, rate

    def log_sum(self, theta: Tensor) -> Tensor:
        """Logarithm of the sum of ``e^θ`` of each group."""
        return self._split(theta).logsumexp(-1)

    def draw(self, phi: Tensor, log_sum: Tensor, noise: Tensor) -> Tensor:
        """Counts of rate ``e^(φ - log_sum)``."""
        held = self.log_sum(phi) if self._rate is None else log_sum
        return Poisson().draw((self._split(phi) - held.unsqueeze(-1)).flatten(-2), noise)

    def follow(self, log_sum: Tensor, drawn: Tensor, bounds: tuple[float, float]) -> Tensor:
        """Move by the number of spikes of each group beyond one."""
        if self._rate is None:
            return log_sum
        spikes = self._split(drawn)
        # The logarithm of a number of neurons is below its number of bits.
        low, high = bounds[0], bounds[1] + spikes.shape[-1].bit_length()
        return (log_sum + self._rate * (spikes.sum(-1) - 1.0)).clamp(low, high)

    def _split(self, values: Tensor) -> Tensor:
        return values.reshape(*values.shape[:-1], self._groups, -1)


NODES: dict[str, Callable[[ChainSettings], Node]] = {
    "poisson": lambda settings: Node(Poisson(), _QUIET),
    "bernoulli": lambda settings: Switches(Bernoulli(), _QUIET),
    "categorical": lambda settings: Grouped(settings.groups, settings.normalizer),
    "gaussian": lambda settings: Rectified(Gaussian()),
}
"""How the nodes of each family draw."""


class GaussianOutput(nn.Module):
    """Pixels of one learned variance: log standard deviation before its squashing, []."""

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def mean(self, theta: Tensor) -> Tensor:
        """What is predicted."""
        return theta

    def message(self, x: Tensor, theta: Tensor) -> Tensor:
        """Error over the variance."""
        return (x - theta) * torch.exp(-2.0 * self._log_sigma())

    def curvature(self) -> Tensor:
        """Second derivative of the energy by what is predicted, []."""
        return torch.exp(-2.0 * self._log_sigma())

    def variance(self) -> Tensor:
        """Of a pixel about what is predicted, []."""
        return torch.exp(2.0 * self._log_sigma())

    def nll(self, x: Tensor, theta: Tensor) -> Tensor:
        """Negative log-likelihood, nats per pixel."""
        log_sigma = self._log_sigma()
        return 0.5 * ((x - theta) * torch.exp(-log_sigma)).square() + log_sigma + 0.5 * LOG_2PI

    def _log_sigma(self) -> Tensor:
        return soft_symmetric(self.log_sigma, LOG_SIGMA_BOUND)


class BernoulliOutput(nn.Module):
    """Pixels in [0, 1], by their log-odds."""

    def curvature(self) -> float:
        """Largest second derivative of the energy, that of log-odds 0: the cost is a bound."""
        return Bernoulli.curvature

    def variance(self) -> float:
        """Largest variance of a pixel."""
        return 0.25

    def mean(self, theta: Tensor) -> Tensor:
        """Probability."""
        return torch.sigmoid(theta)

    def message(self, x: Tensor, theta: Tensor) -> Tensor:
        """Error."""
        return x - torch.sigmoid(theta)

    def nll(self, x: Tensor, theta: Tensor) -> Tensor:
        """Cross entropy, nats per pixel."""
        return Bernoulli().nll(x, theta)


PIXELS: dict[str, Callable[[], GaussianOutput | BernoulliOutput]] = {
    "gaussian": GaussianOutput,
    "bernoulli": BernoulliOutput,
}


class Draw(NamedTuple):
    """What a node draws of its own parameters, what of those predicted, and the latter, [B, K]."""

    z: Tensor
    p: Tensor
    theta: Tensor


class Chain(Model):
    """A chain of nodes; see the module.

    Its state is, for each node, φ, the log-sums of its groups, and those of what is predicted;
    after the first iteration also the draws of all nodes. Bounds of parameters are hard.

    Attributes
    ----------
    maps : ModuleList
        Linear maps, from the pixels upwards: W [n_below, n_above] and b [n_below].
    prior : Parameter
        θ of the last node.
    output : Module
        Of the pixels.
    """

    architecture_type = ChainArchitecture
    unread = ("clamp", "clamp_du", "clamp_start", "inner_updates", "kl")
    defaults: ClassVar[dict[str, Any]] = {
        "latents": 128, "steps": 4, "windows": 4, "beta": 1.0, "clamp": "hard", "clamp_u": 3.5,
        "learning_rate": 0.02, "weight_decay": 0.0,
    }  # fmt: skip

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create the maps, the prior and the pixels' parameters."""
        settings = cast(ChainSettings, self.architecture)
        self._nodes = [
            _named(f"node {number}", name, NODES)(settings)
            for number, name in enumerate(settings.families, 1)
        ]
        try:
            sizes = settings.sizes(self.config.latents, [node.grouped for node in self._nodes])
        except ValueError as error:
            raise InputError(f"architecture of {self.config.family!r}: {error}") from error
        self.maps = nn.ModuleList()
        starts = (0.0, *(node.start for node in self._nodes))
        for start, (below, above) in zip(
            starts, pairwise((self.config.pixels, *sizes)), strict=False
        ):
            layer = nn.Linear(above, below)
            with torch.no_grad():
                layer.weight.normal_(0.0, init_scale or _WEIGHT_SCALE, generator=generator)
                layer.bias.fill_(start)
            self.maps.append(layer)
        self.prior = nn.Parameter(torch.full((sizes[-1],), starts[-1]))
        self.output = _named("pixels", settings.pixels, PIXELS)()
        unfit = settings.unfit_inputs(self.config)
        if unfit is not None:
            raise InputError(unfit)

    def start(self, x: Tensor) -> State:
        """All nodes as they are predicted while nothing fires above."""
        biases = (*(layer.bias for layer in self._linears()[1:]), self.prior)
        state: list[Tensor] = []
        for node, bias in zip(self._nodes, biases, strict=True):
            phi = self._bounded(bias.detach()).expand(len(x), -1)
            log_sum = node.log_sum(phi)
            state += [phi, log_sum, log_sum]
        return tuple(state)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Infer, and add up the energies of all iterations; see :meth:`Model.window`.

        ``kl`` is λ times the KL divergences of all nodes; gradients reach what is predicted alone.
        """
        noise = counter_noise(settings.noise, self.config.latents)
        state = state[: 3 * len(self._nodes)]
        draws = self._fire(state, noise)
        nll, kl = x.new_zeros(()), x.new_zeros(())
        for _ in range(settings.steps):
            state = self._settle(x, state, draws)
            draws = self._fire(state, noise)
            nll = nll + self.output.nll(x, self.maps[0](draws[0].z)).sum(1).mean()
            for node, phi, draw in zip(self._nodes, state[::3], draws, strict=True):
                kl = kl + self.architecture.trust * node.family.kl(phi, draw.theta).sum(1).mean()
        return Window(nll / settings.steps, kl / settings.steps, state, draws[0].z)

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Run one iteration; see :meth:`Model.iterate`. Latents are those of the first node."""
        count, noise = 3 * len(self._nodes), generator_noise(generator)
        held = _draws_of(state[count:]) or self._fire(state, noise)
        after = self._settle(x, state[:count], held)
        draws = self._fire(after, noise)
        change = torch.cat([a - b for a, b in zip(after[::3], state[:count:3], strict=True)], 1)
        mean = self._nodes[0].family.mean(after[0])
        z = draws[0].z
        return Iteration(
            (*after, *(part for draw in draws for part in draw)),
            z, self.decode(z), mean, change.norm(dim=1),
        )  # fmt: skip

    @torch.no_grad()
    def divergence(self, x: Tensor, before: State, after: State) -> Tensor:
        """KL divergences of all nodes from what is predicted of them, from the first one upwards.

        One for each neuron, or for each group of a categorical node, before their weight; see
        :meth:`Model.divergence`.
        """
        draws = _draws_of(after[3 * len(self._nodes) :])
        found = zip(self._nodes, after[::3], draws, strict=False)
        return torch.cat([node.family.kl(phi, draw.theta) for node, phi, draw in found], dim=1)

    @property
    def observation_variance(self) -> Tensor:
        """See :meth:`Model.observation_variance`; of Bernoulli pixels the largest, ¼."""
        return self.prior.new_ones(self.config.pixels) * self.output.variance()

    def decode(self, z: Tensor) -> Tensor:
        """Mean of the pixels [B, M] from what the first node hands on, [B, K]."""
        return self.output.mean(self.maps[0](z))

    def _linears(self) -> list[nn.Linear]:
        return cast(list[nn.Linear], list(self.maps))

    def _price(self) -> Tensor:
        """What a unit of variance of each neuron of the first node costs the pixels, [K]."""
        return 0.5 * self.output.curvature() * self._linears()[0].weight.square().sum(0)

    def _bounded(self, values: Tensor) -> Tensor:
        return values.clamp(self.config.floor_u, self.config.clamp_u)

    def _fire(self, state: State, noise: Noise) -> list[Draw]:
        """Draw all nodes, from the last one down; gradients reach θ alone."""
        draws: list[Draw] = []
        theta = self.prior.expand(len(state[0]), -1)
        places = list(enumerate(self._nodes))
        for place, node in reversed(places):
            phi, log_sum, expected = state[3 * place : 3 * place + 3]
            # Beyond the bounds too, learning has to find back.
            theta = theta + (self._bounded(theta) - theta).detach()
            with torch.no_grad():
                uniform = noise(f"node{place + 1}", phi)
                z = node.draw(phi, log_sum, uniform)
                p = node.draw(theta, expected, uniform)
            draws.insert(0, Draw(z, p, theta))
            if place:
                theta = self.maps[place](z)
        return draws

    @torch.no_grad()
    def _settle(self, x: Tensor, state: State, draws: list[Draw]) -> State:
        """Move all nodes and their log-sums, on what was drawn."""
        settings = self.architecture
        error = self.output.message(x, self.maps[0](draws[0].z))
        after: list[Tensor] = []
        for place, (node, layer, draw) in enumerate(
            zip(self._nodes, self._linears(), draws, strict=True)
        ):
            phi, log_sum, expected = state[3 * place : 3 * place + 3]
            down = -node.slope(phi) * (error @ layer.weight)
            if not place:
                down = down + self._price() * node.variance_slope(draw.z)
            gradient = node.family.natural(phi, draw.theta, down, settings.trust)
            step = (settings.step_size * gradient).clamp(-settings.bound, settings.bound)
            bounds = self.config.floor_u, self.config.clamp_u
            log_sums = node.follow(log_sum, draw.z, bounds), node.follow(expected, draw.p, bounds)
            after += [self._bounded(phi - step), *log_sums]
            error = settings.trust * node.message(phi, draw)
        return tuple(after)


Made = TypeVar("Made")


def _named(what: str, name: str, known: dict[str, Made]) -> Made:
    if name not in known:
        raise InputError(
            f"{what}: expected a family that chains have, got {name!r}{suggest(name, known)}"
        )
    return known[name]


def _draws_of(parts: State) -> list[Draw]:
    return [Draw(*parts[first : first + 3]) for first in range(0, len(parts), 3)]
