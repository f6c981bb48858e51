"""A transformer that predicts the next symbol of a text, with nodes of two families.

Each block has a categorical node at its attention, whose φ are the logits and whose mean is the
attention that it hands on, and a Gaussian node at its hidden units, after tanh. Standard predictive
coding has Gaussian nodes throughout, which hold attention itself; with them, the authors report, a
transformer learns far worse (Pinchetti et al. 2022, arXiv:2211.03481). Layers, initial weights and
widths are our own.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from pvae_neuro.data.images import Images
from pvae_neuro.errors import InputError
from pvae_neuro.models.base import seeded
from pvae_neuro.models.generalized.families import Categorical, Gaussian
from pvae_neuro.models.generalized.model import NodeModel, Pass
from pvae_neuro.models.generalized.nodes import Nodes, NodeSettings
from pvae_neuro.saved.model_file import Size

NEXT = "next"
"""Name of the observed output, for ``families``."""

# A logit that leaves no attention; infinite ones would make differences that are no numbers.
_UNSEEN = -1e9
_SURROGATES = range(0xD800, 0xE000)
_SHOWN = 5
_ASCII = "\n" + "".join(map(chr, range(0x20, 0x7F)))


class LanguageArchitecture(NodeSettings):
    """Settings of the language model, beside those of its nodes.

    Attributes
    ----------
    alphabet : str
        Symbols that the model knows, sorted by code point; in training by default those of the
        text.
    blocks, heads : int
    hidden : int
        Hidden units of a block, for each symbol.
    gains : bool
        Whether, with ``together``, the trust of attention grows with the weights through which it
        acts on hidden units, and all steps are relative to the trust of their node: see
        :meth:`Block.gain`. Otherwise all nodes have the same trust and the same rate.
    largest : float, optional
        Singular value to which each step of learning limits the weights of the blocks and of the
        output; by default they are free.
    """

    array_settings = ("alphabet", "heads")

    inference: Literal["together", "sweep", "backprop"] = "sweep"
    trust: PositiveFloat = 10.0
    step_size: PositiveFloat = 1.0
    alphabet: str = Field(default=_ASCII, min_length=1)
    blocks: Size = 1
    heads: Size = 1
    hidden: Size = 256
    gains: bool = True
    largest: PositiveFloat | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.alphabet != "".join(sorted(set(self.alphabet))):
            raise ValueError("alphabet: expected each symbol once, sorted by code point")
        return self


class Block(nn.Module):
    """A block of the transformer: attention to earlier symbols, then hidden units of each symbol.

    Parameters
    ----------
    number : int
        From 1; its nodes are named ``attention N`` and ``hidden N``.
    width : int
    own : LanguageArchitecture
    """

    def __init__(self, number: int, width: int, own: LanguageArchitecture) -> None:
        super().__init__()
        self.names = f"attention {number}", f"hidden {number}"
        self.own = own
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries, self.keys, self.values, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, own.hidden), nn.Linear(own.hidden, width)

    def forward(self, stream: Tensor, nodes: Nodes) -> Tensor:
        """Stream after the block, [B, C, width], of that before it."""
        attention, hidden = self.names
        normed = self.before(stream)
        queries, keys, values = (
            part(normed).unflatten(-1, (self.own.heads, -1)).transpose(1, 2)
            for part in (self.queries, self.keys, self.values)
        )
        seen = torch.ones(*2 * stream.shape[1:2], dtype=torch.bool, device=stream.device).tril()
        logits = queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])
        logits = logits.masked_fill(~seen, _UNSEEN)
        growth = self._growth(stream, values, logits)
        # Nodes that hold attention itself could move it to symbols that are not seen.
        trust, pace = self.own.trust * growth, 1.0 / growth
        look = nodes.node(attention, Categorical(), logits, trust=trust, pace=pace) * seen
        stream = stream + self.mix((look @ values).transpose(1, 2).flatten(2))
        units = torch.tanh(self.up(self.between(stream)))
        return stream + self.down(nodes.node(hidden, Gaussian(), units))

    @torch.no_grad()
    def _growth(self, stream: Tensor, values: Tensor, logits: Tensor) -> Tensor | float:
        """Trust of the attention relative to the settings', [B, heads, C, 1] or 1."""
        if not self.own.gains or not self.own.way.iterates:
            return 1.0
        return 1.0 + self.gain(stream, values, logits.softmax(-1))

    def gain(self, stream: Tensor, values: Tensor, look: Tensor) -> Tensor:
        """How strongly the attention of a symbol acts on its hidden units, [B, heads, C, 1].

        About the largest squared derivative of all hidden units by the attention to one symbol that
        is seen: slopes of tanh, at most 1, and the projection of LayerNorm are left out. The errors
        of hidden units add about so much, times their trust, to the curvature of the energy along
        the attention's natural gradient, whatever the attention is.
        """
        paths = self.mix.weight.reshape(len(self.mix.weight), self.own.heads, -1)
        acting = torch.einsum(
            "bhcv,whv,uw->bhcu", values, paths, self.up.weight * self.between.weight
        )
        strongest = acting.square().sum(-1).cummax(-1).values[..., None]
        mixed = stream + self.mix((look @ values).transpose(1, 2).flatten(2))
        return strongest / mixed.var(-1, unbiased=False)[:, None, :, None]


class LanguageModel(NodeModel):
    """Transformer on windows of C symbols, C + 1 code points each; the latents are its width.

    They are the stream after the last block at the last symbol, from which the next is predicted.

    Attributes
    ----------
    symbols, positions : Embedding
    blocks : ModuleList
    norm : LayerNorm
    output : Linear
    """

    architecture_type = LanguageArchitecture
    observed = NEXT
    observed_family = "categorical"
    defaults: ClassVar[dict[str, Any]] = {
        "latents": 64, "steps": 2, "beta": 0.0, "batch_size": 50, "epochs": 2,
        "learning_rate": 3e-2, "weight_decay": 0.0, "gradient_clip": 1e4,
    }  # fmt: skip

    @classmethod
    def settings_of(cls, images: Images) -> dict[str, Any]:
        """The alphabet of a text.

        Raises
        ------
        InputError
            If these are no code points of symbols.
        """
        codes = np.unique(images.pixels)
        if (
            images.image_shape is not None
            or (codes != np.rint(codes)).any()
            or any(int(code) in _SURROGATES for code in codes)
        ):
            raise InputError(
                f"{images.name}: expected windows of a text as code points, got "
                f"{images.pixels.shape[1]:,} values from {codes[0]:g} to {codes[-1]:g} each; give "
                f"a .txt file"
            )
        return {"alphabet": "".join(chr(int(code)) for code in codes)}

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create the layers, from the symbols on."""
        own: LanguageArchitecture = self.architecture
        width, context = self.config.latents, self.config.pixels - 1
        if context < 1:
            raise InputError(
                f"{self.config.family!r}: expected inputs of a symbol or more and the one that "
                f"follows, got {self.config.pixels} in all"
            )
        if width % own.heads:
            raise InputError(
                f"heads of {self.config.family!r}: expected a number that divides the width "
                f"{width}, got {own.heads}"
            )
        self.codes = torch.tensor([float(ord(symbol)) for symbol in own.alphabet])
        with seeded(generator):
            self.symbols = nn.Embedding(len(own.alphabet), width)
            self.positions = nn.Embedding(context, width)
            self.blocks = nn.ModuleList(
                Block(number, width, own) for number in range(1, own.blocks + 1)
            )
            self.norm = nn.LayerNorm(width)
            self.output = nn.Linear(width, len(own.alphabet))
            nn.init.normal_(self.positions.weight, std=0.02)
            if init_scale is not None:
                for weight in self.parameters():
                    if weight.ndim == 2:
                        nn.init.normal_(weight, std=init_scale)
        super().build(generator, init_scale)

    @torch.no_grad()
    def project(self) -> None:
        """Limit the singular values of weights, where the settings say so."""
        largest = self.architecture.largest
        for layer in self.modules() if largest else ():
            if isinstance(layer, nn.Linear):
                layer.weight *= (largest / torch.linalg.matrix_norm(layer.weight, 2)).clamp(max=1)

    @property
    def node_names(self) -> tuple[str, ...]:
        """``attention 1``, ``hidden 1`` and so on."""
        return tuple(name for block in self._blocks() for name in block.names)

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def before_nodes(self, x: Tensor) -> Tensor:
        """The stream before the first block, [B, C, width]."""
        found: Tensor = self.symbols(self._places(x[:, :-1])) + self.positions.weight
        return found

    def forward_pass(
        self, nodes: Nodes, x: Tensor, given: Tensor, target: Tensor | None, beta: float
    ) -> Pass:
        """Predict the next symbols; see :meth:`NodeModel.forward_pass`.

        The target is their places in the alphabet, [B, C].
        """
        stream = given
        for block in self._blocks():
            stream = block(stream, nodes)
        stream = self.norm(stream)
        last = stream[:, -1]
        if target is None:
            return Pass(last.new_zeros(len(x)), last)
        wanted = functional.one_hot(target, len(self.codes)).to(last.dtype)
        return Pass(nodes.observe(NEXT, Categorical(), self.output(stream), wanted), last)

    def _places(self, codes: Tensor, name: str = "inputs") -> Tensor:
        """Place of each symbol in the alphabet; InputError if one has none."""
        known = self.codes.to(codes.device)
        places = torch.searchsorted(known, codes.contiguous()).clamp(max=len(known) - 1)
        unknown = torch.unique(codes[known[places] != codes])
        if len(unknown):
            shown = ", ".join(repr(chr(int(code))) for code in unknown[:_SHOWN])
            more = ", ..." if len(unknown) > _SHOWN else ""
            raise InputError(
                f"{name}: expected symbols on which the model was trained, {len(known):,} in all, "
                f"got others: {shown}{more}; leave them out, or train on a text that has them"
            )
        return places

    def decode(self, z: Tensor) -> Tensor:
        """Probabilities of the symbol after the window [B, symbols] from latents [B, K]."""
        found: Tensor = self.output(z).softmax(1)
        return found

    def targets(self, images: Images) -> Tensor:
        """Places of the next symbols in the alphabet, int64 [N, C].

        Raises
        ------
        InputError
            If the model does not know a symbol.
        """
        return self._places(torch.tensor(images.pixels), images.name)[:, 1:]

    def squared_error(self, x: Tensor, z: Tensor, target: Tensor | None) -> Tensor:
        """Squared error of the probabilities of the last symbol, summed over symbols, [B]."""
        found = self.decode(z)
        if target is None:
            return torch.full_like(found[:, 0], torch.nan)
        return (found - functional.one_hot(target[:, -1], len(self.codes))).square().sum(1)

    @torch.no_grad()
    def scores(self, x: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        """``nll``, the mean over the symbols of a window; nodes are what is predicted."""
        if target is None:
            raise InputError(f"{self.config.family!r}: expected the symbols that follow, got none")
        nodes = Nodes(lambda _: x.new_zeros(len(x)), NodeSettings(inference="backprop"))
        found = self.forward_pass(nodes, x, self.before_nodes(x), target, 0.0)
        return {"nll": found.energy / target.shape[1]}
