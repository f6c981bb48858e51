"""The iterative models as cases of generalized predictive coding: one step, by class and by nodes.

Each function takes a model and the size of a batch, and returns both ways to compute the same step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pvae_neuro.models.dynamics import CLAMPS
from pvae_neuro.models.generalized.families import find_family
from pvae_neuro.models.generalized.nodes import Nodes, NodeSettings

Step = Callable[[], tuple[Tensor, ...]]


class Case(NamedTuple):
    """The state after a step, by the model's own lines and by nodes."""

    own: Step
    nodes: Step


class Draws:
    """Numbers of a model's type, other ones at each call."""

    def __init__(self, model: Any) -> None:
        self._generator = torch.Generator().manual_seed(1)
        self._dtype = next(model.parameters()).dtype

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, dtype=self._dtype, generator=self._generator)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, dtype=self._dtype, generator=self._generator)


def iterative_poisson(model: Any, batch: int) -> Case:
    """All inner updates of a time step of the iterative Poisson VAE."""
    config, draws, family = model.config, Draws(model), find_family("poisson")
    x, before = draws.uniform(batch, config.pixels), draws.normal(batch, config.latents)
    words = [draws.uniform(batch, config.latents) for _ in range(config.inner_updates)]
    limit = CLAMPS[config.clamp]

    def own() -> tuple[Tensor, ...]:
        u = before
        for word in words:
            u = model.update(u, x, family.hand(u, word), before)
        return (u,)

    def move(name: str, u: Tensor, gradient: Tensor) -> Tensor:
        step = limit(-model.log_step_size.exp() * gradient, config.clamp_du, config.floor_u)
        return limit(u + step, config.clamp_u, config.floor_u)

    def forward(nodes: Nodes) -> Tensor:
        z = nodes.node(
            "u", "poisson", before, trust=config.beta_inner, leak=model.log_bias.exp(), samples=True
        )
        return model.nll(x, model.decode(z))

    def by_nodes() -> tuple[Tensor, ...]:
        drawn = iter(words)
        nodes = Nodes(forward, NodeSettings(), lambda *_: next(drawn), redraw=True, move=move)
        for _ in words:
            nodes.settle()
        return (nodes.phi["u"],)

    return Case(own, by_nodes)


def hierarchical(model: Any, batch: int, moment: bool = True) -> Case:
    """Both levels of the hierarchical model, whose counts tell the upper one a moment of theirs.

    Without ``moment`` the mean that they predict stands for it.
    """
    config, draws, poisson = model.config, Draws(model), find_family("poisson")
    weight = model.architecture.prior_weight
    x, u = draws.uniform(batch, config.pixels), draws.normal(batch, config.latents)
    upper = draws.normal(batch, model.architecture.upper)
    z, z_upper = (poisson.hand(each, draws.uniform(*each.shape)) for each in (u, upper))

    def own() -> tuple[Tensor, ...]:
        moved = model.advance_levels(u, upper, z, model.pull_back(x, z), model.predict(z_upper))
        return tuple(moved[:2])

    def moved(start: Tensor, gradient: Tensor, level: Any) -> Tensor:
        step = (-level.log_step_size.exp() * gradient).clamp(config.floor_u, config.clamp_du)
        return (start + step).clamp(config.floor_u, config.clamp_u)

    def by_nodes() -> tuple[Tensor, ...]:
        residual, predicted = model.pull_back(x, z), model.predict(z_upper)
        theta, inside = predicted.log_rates, predicted.inside
        rates, counts = theta.exp() * inside, (z * inside) @ model.prediction
        told = torch.expm1(model.prediction) if moment else model.prediction
        lower = poisson.natural(u, theta, model.log_bias.exp() - residual, weight)
        down = weight * (rates @ told - counts) + model.upper.log_bias.exp()
        return moved(u, lower, model), moved(
            upper, poisson.natural(upper, upper, down, 0.0), model.upper
        )

    return Case(own, by_nodes)


def iterative_gaussian(model: Any, batch: int) -> Case:
    """Mean and log standard deviation of the iterative Gaussian VAE by the natural gradient."""
    config, own_bounds, draws = model.config, model.architecture, Draws(model)
    x, noise = draws.uniform(batch, config.pixels), draws.uniform(batch, config.latents)
    mu, xi = (draws.normal(batch, config.latents) for _ in range(2))
    phi, family = torch.cat([mu, xi], 1), find_family("gaussian-learned")

    def own() -> tuple[Tensor, ...]:
        eps = math.sqrt(2.0) * torch.erfinv(2.0 * noise - 1.0)
        moved = model.advance(mu, xi, eps, model.pull_back(x, family.hand(phi, noise)))
        return (torch.cat(moved, 1),)

    def move(name: str, phi: Tensor, gradient: Tensor) -> Tensor:
        steps = model.log_step_size.exp()
        parts = zip(phi.chunk(2, 1), gradient.chunk(2, 1), steps, strict=True)
        bounds = (
            (config.clamp_u, config.clamp_du),
            (own_bounds.clamp_log_sigma, own_bounds.clamp_log_sigma_change),
        )
        return torch.cat([
            model.move(value, -step * push, *bound)
            for (value, push, step), bound in zip(parts, bounds, strict=True)
        ], 1)  # fmt: skip

    def forward(nodes: Nodes) -> Tensor:
        leak = model.log_bias.exp()
        z = nodes.node("z", "gaussian-learned", phi, leak=leak, samples=True)
        return model.nll(x, model.decode(z))

    def by_nodes() -> tuple[Tensor, ...]:
        nodes = Nodes(forward, NodeSettings(), lambda *_: noise, move=move)
        nodes.settle()
        return (nodes.phi["z"],)

    return Case(own, by_nodes)


def predictive_coding(model: Any, batch: int) -> Case:
    """All value nodes of Gaussian predictive coding."""
    config, draws = model.config, Draws(model)
    x = draws.uniform(batch, config.pixels)
    sizes = (config.latents, *model.architecture.hidden)
    state = tuple(draws.normal(batch, size) for size in sizes)
    zero = torch.zeros_like(state[0])
    step = model.architecture.step_size

    def forward(nodes: Nodes) -> Tensor:
        top = nodes.node("0", "gaussian", zero, trust=config.beta)
        for number, layer in enumerate(model.layers[:-1], 1):
            top = nodes.node(str(number), "gaussian", layer(top.tanh()))
        return nodes.observe("pixels", "gaussian", model.layers[-1](top.tanh()), x)

    def by_nodes() -> tuple[Tensor, ...]:
        nodes = Nodes(forward, NodeSettings(), move=lambda _, phi, gradient: phi - step * gradient)
        nodes.phi = {str(number): part for number, part in enumerate(state)}
        nodes.settle()
        return tuple(nodes.phi.values())

    return Case(lambda: tuple(model.settle(x, state, config.beta)), by_nodes)
