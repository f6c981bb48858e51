"""A variational autoencoder whose encoder, latents and decoder are a chain of nodes.

Pixels predict an encoder's nodes, those the latents' mean and log standard deviation; a sample of
the latents predicts a decoder's nodes, those the pixels (Pinchetti et al. 2022, arXiv:2211.03481,
section 5). Beside what the encoder predicts, the latents have a standard normal prior, whose weight
is beta. Hidden nodes are Gaussian and hand on tanh of what they hold.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from pvae_neuro.models.base import State, linear_layers
from pvae_neuro.models.generalized.families import LearnedGaussian, find_family
from pvae_neuro.models.generalized.model import NodeModel, Pass
from pvae_neuro.models.generalized.nodes import Nodes, NodeSettings, Prior
from pvae_neuro.models.sampling.gaussian import gaussian_kl, gaussian_sample
from pvae_neuro.saved.model_file import Size

NAMES = ("encoder", "latents", "decoder")
PIXELS = "pixels"
"""Name of the observed output, for ``families``."""

# 1 + ½ε² for noise of three standard deviations: beyond what a trust covers, steps diverge.
_STRONG_DRAW = 5.5


class VAEArchitecture(NodeSettings):
    """Settings of the variational autoencoder, beside those of its nodes.

    Attributes
    ----------
    hidden : int
        Units of the encoder's and of the decoder's node.
    pixels : {"bernoulli", "gaussian"}
        Family of the pixels; as Bernoulli probabilities they lie in [0, 1].
    gains : bool
        Whether, with ``together``, the trust of each node grows with the weights through which it
        acts on the one that it predicts, and steps are relative to it: see :meth:`NodeVAE.trusts`.
        Such a trust reads weights beyond the neighbours' and is not local.
    """

    array_settings = ("pixels",)

    trust: float = Field(default=20.0, gt=0.0)
    step_size: float = Field(default=0.2, gt=0.0)
    hidden: Size = 128
    pixels: Literal["bernoulli", "gaussian"] = "bernoulli"
    gains: bool = False


class NodeVAE(NodeModel):
    """Variational autoencoder of a chain of nodes.

    Attributes
    ----------
    layers : ModuleList
        Linear layers with biases: to the encoder's node, to μ and ξ, to the decoder's node, to the
        pixels. Their initial weights are torch's default, or have the standard deviation
        ``init_scale``.
    """

    architecture_type = VAEArchitecture
    observed = PIXELS
    defaults: ClassVar[dict[str, Any]] = {
        "latents": 16, "steps": 20, "beta": 1.0, "learning_rate": 3e-3, "weight_decay": 0.0,
    }  # fmt: skip

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create the layers, from the pixels on."""
        pixels, hidden, latents = self.config.pixels, self.architecture.hidden, self.config.latents
        shapes = (pixels, hidden), (hidden, 2 * latents), (latents, hidden), (hidden, pixels)
        self.layers = linear_layers(shapes, generator, init_scale)
        self.observed_family = self.architecture.pixels
        super().build(generator, init_scale)
        # Where parameters are counted only, other tensors have no values.
        ends = torch.tensor([self.config.input_low, self.config.input_high], device="cpu")
        find_family(self.observed_family).check(ends, ends, f"observed {PIXELS}")

    @property
    def node_names(self) -> tuple[str, ...]:
        """``encoder``, ``latents``, ``decoder``."""
        return NAMES

    def before_nodes(self, x: Tensor) -> Tensor:
        """What the pixels predict of the encoder's node."""
        found: Tensor = self.layers[0](x)
        return found

    def forward_pass(
        self, nodes: Nodes, x: Tensor, given: Tensor, target: Tensor | None, beta: float
    ) -> Pass:
        """Encode and reconstruct x; see :meth:`NodeModel.forward_pass`."""
        _, infer, decode, show = self.layers
        own: VAEArchitecture = self.architecture
        trusts: list[Tensor | float] = [own.trust] * len(NAMES)
        if own.gains and own.way.iterates:
            trusts = self.trusts(given)
        paces = [own.trust / trust for trust in trusts]
        hidden = nodes.node(NAMES[0], "gaussian", given, trust=trusts[0], pace=paces[0]).tanh()
        predicted = infer(hidden)
        prior = Prior(torch.zeros_like(predicted), beta)
        z = nodes.node(
            NAMES[1], "gaussian-learned", predicted, prior, trust=trusts[1], pace=paces[1],
            samples=True,
        )  # fmt: skip
        hidden = nodes.node(NAMES[2], "gaussian", decode(z), trust=trusts[2], pace=paces[2]).tanh()
        return Pass(nodes.observe(PIXELS, self.observed_family, show(hidden), x), z)

    @torch.no_grad()
    def trusts(self, given: Tensor) -> list[Tensor | float]:
        """Trust of each node where it grows with the weights below, [B, 1] each or [].

        λ and the curvature of the energy below along the node's natural gradient, or more: squared
        weights are added up, slopes of tanh, at most 1, are left out. So whatever a node predicts
        pushes it at most as strongly as its own prediction pulls, and the steps do not overshoot.
        """
        _, infer, decode, show = cast(list[nn.Linear], list(self.layers))
        own: VAEArchitecture = self.architecture
        xi = infer(torch.tanh(given)).chunk(2, 1)[1]
        decoder = own.trust + find_family(own.pixels).curvature * show.weight.square().sum()
        # F⁻¹ is (σ², ½); a sample moves with μ by 1 and with ξ by σε: σ² (1 + ½ε²).
        drawn = _STRONG_DRAW * torch.exp(2.0 * xi) * decode.weight.square().sum(0)
        latents = own.trust + decoder * drawn.sum(1, keepdim=True)
        by_mu, by_xi = infer.weight.square().sum(1).chunk(2)
        predicted = torch.exp(-2.0 * xi) * by_mu + 2.0 * by_xi
        return [own.trust + latents * predicted.sum(1, keepdim=True), latents, decoder]

    @property
    def observation_variance(self) -> Tensor:
        """See :meth:`Model.observation_variance`; of Bernoulli pixels the largest, ¼."""
        # Of the family's natural parameters: the variance is the curvature.
        return torch.full((self.config.pixels,), find_family(self.observed_family).curvature)

    def decode(self, z: Tensor) -> Tensor:
        """Expected pixels [B, M] of latents [B, K]."""
        _, _, decode, show = self.layers
        return find_family(self.observed_family).mean(show(torch.tanh(decode(z))))

    def latent_mean(self, state: State, found: Pass) -> Tensor:
        """μ."""
        return LearnedGaussian().mean(state[1])

    @torch.no_grad()
    def divergence(self, x: Tensor, before: State, after: State) -> Tensor:
        """KL divergence from the standard normal prior; see :meth:`Model.divergence`."""
        return gaussian_kl(*after[1].chunk(2, 1))

    @torch.no_grad()
    def evidence_bound(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Evidence lower bound of the encoder's posterior by one sample, nats per input, [B]."""
        encode, infer, decode, show = self.layers
        mu, xi = infer(torch.tanh(encode(x))).chunk(2, 1)
        hidden = torch.tanh(decode(gaussian_sample(mu, xi, generator)))
        nll = find_family(self.observed_family).nll(x, show(hidden))
        return -nll.sum(1) - gaussian_kl(mu, xi).sum(1)
