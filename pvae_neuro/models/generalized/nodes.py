"""Named nodes in the forward pass of a network, and how they settle.

A network is written once, as its forward pass, with a call of :meth:`Nodes.node` wherever it has a
node; the call takes what the network predicts there and returns what the node hands on. So the same
weights and the same lines learn by backpropagation, where a node is what is predicted, and by
predictive coding, where it follows the energy of itself and of what it predicts.

The three ways of inference:

* ``together``: all nodes move at once, step by step, along their natural gradients.
* ``sweep``: one pass from the output back, with predictions held fixed. Each node goes where its
  natural gradient is zero, ``φ = θ - ∂E_below/∂m / λ``. With Gaussian nodes the weights then learn
  by the gradients of backpropagation (Whittington, Bogacz 2017, doi:10.1162/NECO_a_00949;
  Millidge, Tschantz, Buckley 2022, arXiv:2006.04182); with others in the limit of large λ.
* ``backprop``: no inference, the gradient of the output's energy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from pvae_neuro.errors import InputError, PvaeNeuroError
from pvae_neuro.models.base import Architecture
from pvae_neuro.models.generalized.families import find_family
from pvae_neuro.models.generalized.family import Family
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.models.sampling.counting import noise_for_width
from pvae_neuro.models.sampling.exact_poisson import uniform_numbers

ALL, SQUARED = "*", "squared"
"""In :attr:`NodeSettings.families`: all nodes, and the Gaussian node in place of any."""


class NodeSettings(Architecture):
    """How the nodes of a model settle.

    Attributes
    ----------
    inference : {"together", "sweep", "backprop"}
        See :mod:`pvae_neuro.models.generalized.nodes`. The number of steps of ``together`` is the
        ``steps`` of a window.
    trust : float
        λ: weight of the energies of the nodes against that of the output.
    step_size : float
        Rate of ``together``, as a share of a node's 1/λ: at 1 a node whose neighbours rest would go
        where its natural gradient is zero, in one step.
    bound : float
        Largest change of a parameter in a step of ``together``. Without it the exponentials of a
        learned variance can overflow.
    families : dict of str to str
        Other families than a model's own, by name of the node. ``squared`` is the Gaussian node
        that standard predictive coding has in its place; ``*`` stands for all nodes.
    """

    inference: Literal["together", "sweep", "backprop"] = "together"
    trust: PositiveFloat = 1.0
    step_size: PositiveFloat = 0.1
    bound: PositiveFloat = 0.5
    families: dict[str, str] = Field(default_factory=dict)

    @property
    def way(self) -> Inference:
        """What the setting ``inference`` names."""
        return INFERENCES[self.inference]


class Prior(NamedTuple):
    """A second prediction of a node, whose weight is not that of the nodes."""

    theta: Tensor
    weight: Tensor | float = 1.0


class Energy(NamedTuple):
    """Parts of the energy, nats per input, averaged over the batch, [] each.

    Attributes
    ----------
    output : Tensor
        What the network's forward pass returned.
    nodes : Tensor
        ``λ KL(φ ‖ θ)`` of all nodes.
    prior : Tensor
        KL divergences from priors, before their weights.
    """

    output: Tensor
    nodes: Tensor
    prior: Tensor


@dataclass
class _Site:
    """A node in the pass at hand."""

    family: Family
    theta: Tensor
    handed: Tensor
    trust: Tensor | float
    pace: Tensor | float
    prior: Prior | None
    leak: Tensor | None
    noise: Tensor | None


Forward = Callable[["Nodes"], Tensor]
"""Runs a network with its nodes; returns the energy of its output, nats per input, [B].

It may return a scalar zero where nothing is observed."""

Noise = Callable[[str, Tensor], Tensor]
"""Takes the name of a node and what it would hand on, [..., K]; returns uniform numbers in (0, 1)
of that shape."""


class Nodes:
    """The nodes of one batch.

    Parameters
    ----------
    forward : callable
    settings : NodeSettings
    noise : callable, optional
        For nodes that hand on samples.
    redraw : bool
        Draw anew at each step of inference, and let the errors of nodes that draw compare their
        samples in place of their means, as spiking neurons do. Otherwise each node keeps the noise
        that it drew first.
    move : callable, optional
        Takes the name of a node, its φ and its natural gradient, and returns its next φ; by
        default ``φ - clamp(step_size / λ · gradient, ±bound)``.

    Attributes
    ----------
    phi : dict of str to Tensor
        Parameters of each node that has been reached, in order.
    """

    def __init__(
        self,
        forward: Forward,
        settings: NodeSettings,
        noise: Noise | None = None,
        redraw: bool = False,
        move: Callable[[str, Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.phi: dict[str, Tensor] = {}
        self._forward, self._settings, self._redraw = forward, settings, redraw
        self._noise, self._kept = noise, dict[str, Tensor]()
        self._move = move or self._bounded
        self._sites: dict[str, _Site] = {}
        self._follows = settings.way.follows
        self._infers = False
        self._checked: set[str] = set()
        self._steps = 0

    def _bounded(self, name: str, phi: Tensor, gradient: Tensor) -> Tensor:
        own, pace = self._settings, self._sites[name].pace
        return phi - (own.step_size / own.trust * pace * gradient).clamp(-own.bound, own.bound)

    # ---------------------------------------------------------------- what a forward pass calls

    def node(
        self,
        name: str,
        family: Family | str,
        theta: Tensor,
        prior: Prior | None = None,
        *,
        trust: Tensor | float | None = None,
        pace: Tensor | float = 1.0,
        leak: Tensor | None = None,
        samples: bool = False,
    ) -> Tensor:
        """Place a node where the network predicts ``theta``; returns what it hands on.

        Parameters
        ----------
        name : str
            Unlike that of other nodes.
        family : Family or str
        theta : Tensor
            Predicted parameters, [B, ..., parts K].
        prior : Prior, optional
        trust : Tensor or float, optional
            A weight of its own in place of the settings' λ.
        pace : Tensor or float
            Factor of its steps, where they are those of the settings.
        leak : Tensor, optional
            Price per unit of the mean, [K].
        samples : bool
            Hand on samples, where there is noise.

        Raises
        ------
        InputError
            If there is another node of that name, or the family is unknown or does not fit.
        """
        if name in self._sites:
            raise InputError(f"node {name!r}: there is one of that name; choose another name")
        chosen = self._chosen(name, family)
        phi = self._phi(name, chosen, theta)
        noise = self._uniform(name, chosen, phi) if samples else None
        handed = chosen.hand(phi, noise)
        if not self._follows:
            handed = handed.detach().requires_grad_(self._infers)
        own = self._settings.trust if trust is None else trust
        self._sites[name] = _Site(chosen, theta, handed, own, pace, prior, leak, noise)
        return handed

    def observe(self, name: str, family: Family | str, theta: Tensor, target: Tensor) -> Tensor:
        """Energy of observed values that the network predicts, nats per input, [B].

        The values are those of the batch: the first pass checks them for all.

        Raises
        ------
        InputError
            If the values do not fit the family.
        """
        chosen = self._chosen(name, family)
        if name not in self._checked:
            chosen.check(target, theta, f"observed {name}")
            self._checked.add(name)
        return _per_input(chosen.nll(target, theta))

    def _chosen(self, name: str, family: Family | str) -> Family:
        own = find_family(family) if isinstance(family, str) else family
        other = self._settings.families.get(name, self._settings.families.get(ALL))
        if other is None or other == own.name:
            return own
        found = own.squared() if other == SQUARED else find_family(other)
        if found.parts != own.parts:
            raise InputError(
                f"node {name!r}: expected a family of {own.parts} parameters a unit, as "
                f"{own.name!r} has, got {other!r}, which has {found.parts}"
            )
        return found

    def _phi(self, name: str, family: Family, theta: Tensor) -> Tensor:
        if self._follows:
            self.phi[name] = family.start(theta)
        elif name not in self.phi:
            self.phi[name] = family.start(theta).detach()
        return self.phi[name]

    def _uniform(self, name: str, family: Family, phi: Tensor) -> Tensor | None:
        if self._noise is None:
            return None
        if self._redraw or name not in self._kept:
            self._kept[name] = self._noise(name, family.mean(phi.detach()))
        return self._kept[name]

    # ------------------------------------------------------------------------------- inference

    def infer(self, steps: int) -> Energy:
        """Settle as the settings say; returns the energy, whose gradients the weights follow."""
        return self._settings.way.run(self, steps)

    def together(self, steps: int) -> Energy:
        """Infer in so many steps of all nodes; returns the energy."""
        for _ in range(steps):
            self.settle()
        return self.energy()

    def settle(self) -> None:
        """Move all nodes by one step.

        Raises
        ------
        PvaeNeuroError
            If a node is not finite then.
        """
        output = self._run(infers=True)
        sites = self._sites
        downs = self._downs(output, list(sites.values()), [s.handed for s in sites.values()])
        self._steps += 1
        own = self._settings
        where = f"after step {self._steps} of inference"
        advice = f"trust than {own.trust:g}, or a step size below {own.step_size:g}"
        with torch.no_grad():
            for (name, site), down in zip(sites.items(), downs, strict=True):
                phi = self.phi[name]
                gradient = site.family.natural(phi, site.theta, down, site.trust, site.noise)
                moved = self._move(name, phi, gradient + self._own(site, phi))
                self.phi[name] = _finite(name, moved, where, advice)

    def sweep(self) -> Energy:
        """Infer in one pass from the output back, predictions held fixed; returns the energy.

        Nodes start where they are predicted, whatever they were before.

        Raises
        ------
        PvaeNeuroError
            If a node is not finite then.
        """
        advice = f"trust than {self._settings.trust:g}"
        self.phi.clear()
        output = self._run(infers=True)
        below: list[_Site] = []
        for name, site in reversed(list(self._sites.items())):
            (down,) = self._downs(output, below, [site.handed])
            with torch.no_grad():
                phi = self.phi[name]
                push = site.family.push(phi, down, site.noise)
                moved = phi - (push + self._own(site, phi)) / site.trust
                self.phi[name] = _finite(name, moved, "after a sweep", advice)
            below.insert(0, site)
        return self._summed(output)

    def energy(self) -> Energy:
        """Energy at the nodes as they are; its gradients by the weights need no nodes' own."""
        return self._summed(self._run())

    def _run(self, infers: bool = False) -> Tensor:
        """Run the network; nodes that are new start where they are predicted."""
        self._sites, self._infers = {}, infers
        return self._forward(self)

    def _downs(
        self, output: Tensor, sites: list[_Site], handed: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Derivative of the energy below by what each of some nodes hands on.

        ``sites`` are the nodes whose errors count.
        """
        names = {id(site): name for name, site in self._sites.items()}
        ends = [(output, torch.ones_like(output))]
        for site in sites:
            with torch.no_grad():
                phi = self.phi[names[id(site)]]
                noise = site.noise if self._redraw else None
                error = site.trust * site.family.error(phi, site.theta, noise)
            ends.append((site.theta, error))
        ends = [end for end in ends if end[0].requires_grad]
        found = torch.autograd.grad(
            [end for end, _ in ends], handed, [error for _, error in ends],
            retain_graph=True, allow_unused=True,
        ) if ends else [None] * len(handed)  # fmt: skip
        return tuple(
            torch.zeros_like(leaf) if down is None else down
            for down, leaf in zip(found, handed, strict=True)
        )

    def _own(self, site: _Site, phi: Tensor) -> Tensor | float:
        """What prior and leak of a node add to its natural gradient."""
        added: Tensor | float = 0.0
        if site.prior is not None:
            added = site.family.toward(phi, site.prior.theta, site.prior.weight)
        if site.leak is not None:
            # The price is that of the mean, so it acts as if the mean were handed on.
            added = added + site.family.push(phi, site.leak)
        return added

    def _summed(self, output: Tensor) -> Energy:
        nodes, prior = output.new_zeros(()), output.new_zeros(())
        for name, site in self._sites.items():
            phi = self.phi[name]
            if not self._follows:
                own = site.trust * site.family.kl(phi, site.theta)
                nodes = nodes + _per_input(own).mean()
            if site.prior is not None:
                prior = prior + _per_input(site.family.prior_kl(phi, site.prior.theta)).mean()
        return Energy(output.mean(), nodes, prior)


@dataclass(frozen=True)
class Inference:
    """A way of inference.

    Attributes
    ----------
    run : callable
        Infers on nodes by a number of steps; returns the energy.
    iterates : bool
        Whether nodes move from where they were, step by step.
    follows : bool
        Whether nodes are what is predicted.
    """

    run: Callable[[Nodes, int], Energy]
    iterates: bool = False
    follows: bool = False


INFERENCES = {
    "together": Inference(Nodes.together, iterates=True),
    "sweep": Inference(lambda nodes, _: nodes.sweep()),
    "backprop": Inference(lambda nodes, _: nodes.energy(), follows=True),
}


def _finite(name: str, phi: Tensor, where: str, advice: str) -> Tensor:
    if not torch.isfinite(phi).all():
        raise PvaeNeuroError(
            f"node {name!r}: its parameters are not finite {where}; expected numbers within float "
            f"range: take a larger {advice}"
        )
    return phi


def _per_input(values: Tensor) -> Tensor:
    """Sum over all axes but the batch, [B]."""
    return values.flatten(1).sum(1)


def counter_noise(noise: CounterNoise, wide: int) -> Noise:
    """Uniform numbers for nodes of any width from a window's noise.

    ``wide`` are the neurons per sample that its positions count. A part of a batch draws what the
    whole batch would.
    """

    def uniform(_: str, like: Tensor) -> Tensor:
        narrow = like[0].numel()
        return uniform_numbers(like, noise_for_width(noise, wide, narrow)).view_as(like)

    return uniform


def generator_noise(generator: torch.Generator | None) -> Noise:
    """Uniform numbers for nodes from a generator, or from torch's global one."""
    return lambda _, like: uniform_numbers(like, generator).view_as(like)
