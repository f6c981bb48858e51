"""Gaussian predictive coding: value nodes settle at the least prediction error.

Layers of value nodes ``v_0`` (top) to ``v_L`` (the input, clamped); each layer predicts the next
by ``p_l = W_l f(v_{l-1}) + b_l``, with the error ``e_l = v_l - p_l``. The energy is the sum of
``½|e_l|²`` and of ``½ beta |v_0|²``, the Gaussian prior of the top (Rao, Ballard 1999; Whittington,
Bogacz 2017, eqs. 2.7 to 2.18). Inference descends it by

    dv_l = -e_l + f'(v_l) * (W_{l+1}ᵀ e_{l+1}),

which needs only the errors next to a node; learning descends it in the weights.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from pvae_neuro.models.base import (
    Architecture,
    Iteration,
    Model,
    State,
    Window,
    WindowSettings,
    linear_layers,
)
from pvae_neuro.saved.predictive_coding import PredictiveCodingSettings


def _tanh_slope(node: Tensor) -> Tensor:
    return 1.0 - torch.tanh(node).square()


def _relu_slope(node: Tensor) -> Tensor:
    # At zero, where inference begins, a slope of zero would keep the top at zero for ever.
    return (node >= 0).to(node.dtype)


_ACTIVATIONS = {"tanh": (torch.tanh, _tanh_slope), "relu": (torch.relu, _relu_slope)}
"""The nonlinearity f and its derivative, by name."""


class PredictiveCodingArchitecture(PredictiveCodingSettings, Architecture):
    """See :class:`~pvae_neuro.saved.predictive_coding.PredictiveCodingSettings`."""


class PredictiveCoding(Model):
    """Predictive coding: infer first, then learn.

    The latents are the top nodes. ``Window.nll`` is the energy of the errors, ``Window.kl`` that of
    the prior, ``½|v_0|²``, whose precision is ``beta``.

    Attributes
    ----------
    layers : ModuleList
        Linear layers with biases, downwards: W_l [n_l, n_{l-1}] and b_l [n_l]. Their initial
        weights are torch's default, or have the standard deviation ``init_scale``.
    """

    architecture_type = PredictiveCodingArchitecture
    defaults: ClassVar[dict[str, Any]] = {
        "latents": 64, "steps": 50, "beta": 0.01, "batch_size": 100, "windows": 1,
        "learning_rate": 3e-3, "weight_decay": 0.0,
    }  # fmt: skip

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create the layers, from the top down."""
        sizes = [self.config.latents, *self.architecture.hidden, self.config.pixels]
        self.layers = linear_layers(pairwise(sizes), generator, init_scale)

    def _linears(self) -> list[nn.Linear]:
        return cast(list[nn.Linear], list(self.layers))

    def predict(self, nodes: State) -> State:
        """Predictions ``p_1`` to ``p_L`` from nodes ``v_0`` to ``v_{L-1}``, each [B, n_l]."""
        return tuple(
            layer(self._fire(node)) for layer, node in zip(self.layers, nodes, strict=True)
        )

    def errors(self, x: Tensor, nodes: State) -> State:
        """Prediction errors ``e_1`` to ``e_L``, each [B, n_l]; the last is that of the input x."""
        targets = zip((*nodes[1:], x), self.predict(nodes), strict=True)
        return tuple(value - guess for value, guess in targets)

    def energy(self, x: Tensor, nodes: State) -> Tensor:
        """Half the squared prediction errors of all layers, without the prior, [B]."""
        return torch.stack([0.5 * e.square().sum(1) for e in self.errors(x, nodes)]).sum(0)

    @torch.no_grad()
    def settle(self, x: Tensor, nodes: State, beta: float) -> State:
        """Run one step of inference on all nodes at once; returns the nodes after it.

        ``beta`` is the precision of the top's prior.
        """
        errors = self.errors(x, nodes)
        # The error of the top against its prior, whose mean is zero.
        own = (beta * nodes[0], *errors[:-1])
        step = self.architecture.step_size
        return tuple(
            torch.add(node, self._slope(node) * (below @ layer.weight) - error, alpha=step)
            for node, error, below, layer in zip(nodes, own, errors, self._linears(), strict=True)
        )

    def _fire(self, node: Tensor) -> Tensor:
        return _ACTIVATIONS[self.architecture.activation][0](node)

    def _slope(self, node: Tensor) -> Tensor:
        return _ACTIVATIONS[self.architecture.activation][1](node)

    @torch.no_grad()
    def start(self, x: Tensor) -> State:
        """The top at its prior mean, zero, and the nodes below at its predictions."""
        nodes = [x.new_zeros(len(x), self.config.latents)]
        for layer in self._linears()[:-1]:
            nodes.append(layer(self._fire(nodes[-1])))
        return tuple(nodes)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Settle, then compute the energy at the settled nodes; see :meth:`Model.window`."""
        for _ in range(settings.steps):
            state = self.settle(x, state, settings.beta)
        prior = 0.5 * state[0].square().sum(1).mean()
        return Window(self.energy(x, state).mean(), prior, state, state[0])

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Run one step of inference; it draws nothing. See :meth:`Model.iterate`."""
        after = self.settle(x, state, self.config.beta)
        change = (torch.cat(after, dim=1) - torch.cat(state, dim=1)).norm(dim=1)
        return Iteration(after, after[0], self.decode(after[0]), after[0], change)

    def decode(self, z: Tensor) -> Tensor:
        """Predict inputs [B, M] from the top nodes [B, K], through all layers."""
        for layer in self.layers:
            z = layer(self._fire(z))
        return z


class IncrementalPredictiveCoding(PredictiveCoding):
    """Incremental predictive coding: weights learn at every step of inference.

    A window is one step of inference and ends in a step of the optimiser; each batch runs many
    windows, which carry the nodes on (Salvatori et al. 2024, arXiv:2212.00720, algorithm 2).
    """

    defaults: ClassVar[dict[str, Any]] = {
        **PredictiveCoding.defaults, "steps": 1, "windows": 50, "learning_rate": 5e-4,
    }  # fmt: skip
