"""Base of the families whose inference is that of nodes."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import Iteration, Model, State, Window, WindowSettings
from pvae_neuro.models.generalized.families import family_names
from pvae_neuro.models.generalized.nodes import (
    ALL,
    SQUARED,
    Nodes,
    NodeSettings,
    Noise,
    counter_noise,
    generator_noise,
)
from pvae_neuro.utils.suggest import suggest


class Pass(NamedTuple):
    """What a forward pass gives.

    Attributes
    ----------
    energy : Tensor
        Of the output, nats per input, [B]; zeros where nothing is observed.
    z : Tensor
        What the node hands on that the outputs are decoded from, [B, K].
    """

    energy: Tensor
    z: Tensor


class NodeModel(Model):
    """A model that is written as its forward pass with nodes.

    A window of training infers on its nodes as the architecture says, then takes the energy as its
    loss: ``nll`` is that of outputs and nodes, ``kl`` that of priors. The state is the parameters
    φ of all nodes, and empty before the first iteration, when they are what is predicted.

    Windows carry nodes on, so many windows of one step are incremental predictive coding
    (Salvatori et al. 2024, arXiv:2212.00720).

    Attributes
    ----------
    observed : str
        Class attribute: name of the observed output.
    observed_family : str
        Its family.
    """

    architecture_type = NodeSettings
    observed: ClassVar[str]
    observed_family: str

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Refuse settings that name no node or no family, or another family of the output."""
        places = (ALL, *self.node_names, self.observed)
        families = (SQUARED, *family_names())
        for place, family in self.architecture.families.items():
            for what, name, known in (("node", place, places), ("family", family, families)):
                if name not in known:
                    raise InputError(
                        f"families of {self.config.family!r}: no such {what} as "
                        f"{name!r}{suggest(name, known)}"
                    )
        chosen, own = self.architecture.families, self.observed_family
        output = chosen.get(self.observed, chosen.get(ALL, own))
        if output not in (own, SQUARED):
            raise InputError(
                f"families of {self.config.family!r}: expected {own!r} or {SQUARED!r} for the "
                f"output {self.observed!r}, which is decoded by the family {own!r}, got "
                f"{output!r}; give {self.observed!r} one of these"
            )

    @property
    @abstractmethod
    def node_names(self) -> tuple[str, ...]:
        """Names of the nodes, in the order of the pass."""

    @abstractmethod
    def forward_pass(
        self, nodes: Nodes, x: Tensor, given: Tensor, target: Tensor | None, beta: float
    ) -> Pass:
        """Run the network on inputs x [B, M], ``given`` by :meth:`before_nodes`.

        ``beta`` is the weight of priors. Without a target only what needs none is observed.
        """

    def before_nodes(self, x: Tensor) -> Tensor:
        """What of the pass no node changes, computed once for all steps of inference."""
        return x

    def start(self, x: Tensor) -> State:
        """No state: nodes start where they are predicted."""
        return ()

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Infer, then compute the energy; see :meth:`Model.window`.

        Raises
        ------
        InputError
            If a state is carried into a sweep, which starts anew at each window.
        """
        way = self.architecture.way
        if state and not (way.iterates or way.follows):
            raise InputError(
                f"windows: inference by sweep of {self.config.family!r} starts anew at each "
                f"window; expected 1 window per batch, or the inference 'together'"
            )
        noise = counter_noise(settings.noise, self.config.latents)
        nodes, passes = self._nodes(x, settings.target, settings.beta, noise, state)
        energy = nodes.infer(settings.steps)
        after = tuple(phi.detach() for phi in nodes.phi.values())
        return Window(energy.output + energy.nodes, energy.prior, after, passes[-1].z.detach())

    @torch.no_grad()
    def settled(
        self, x: Tensor, state: State, noise: Noise | None, target: Tensor | None = None
    ) -> tuple[State, Pass]:
        """Nodes after one more step of inference, and the pass that they then give.

        Without a state, and where inference is no iteration, they are what is predicted.
        """
        state = state if self.architecture.way.iterates else ()
        nodes, passes = self._nodes(x, target, self.config.beta, noise, state)
        if state:
            with torch.enable_grad():
                nodes.settle()
        nodes.energy()
        return tuple(nodes.phi.values()), passes[-1]

    def _nodes(
        self, x: Tensor, target: Tensor | None, beta: float, noise: Noise | None, state: State
    ) -> tuple[Nodes, list[Pass]]:
        passes: list[Pass] = []
        given = self.before_nodes(x)

        def forward(nodes: Nodes) -> Tensor:
            passes[:] = [self.forward_pass(nodes, x, given, target, beta)]
            return passes[0].energy

        nodes = Nodes(forward, self.architecture, noise)
        nodes.phi = dict(zip(self.node_names, state, strict=False))
        return nodes, passes

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Infer by one more step; see :meth:`Model.iterate`."""
        after, found = self.settled(x, state, generator_noise(generator))
        change = x.new_zeros(len(x))
        if state and self.architecture.way.iterates:
            steps = [(a - b).flatten(1) for a, b in zip(after, state, strict=True)]
            change = torch.cat(steps, 1).norm(dim=1)
        mean = self.latent_mean(after, found)
        return Iteration(after, found.z, self.decode(found.z), mean, change)

    def latent_mean(self, state: State, found: Pass) -> Tensor:
        """Mean of the latents after an iteration, [B, K]; by default what is handed on."""
        return found.z
