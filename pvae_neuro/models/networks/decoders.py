"""Decoders from latents to pixels: linear, multi-layer with ReLU, two convolutional ones, residual.

ReLU is the only nonlinearity of those in this file, and the output is linear. The decoder and its
transposed Jacobian are then products by weights and gates, which integer networks can compute too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import Architecture, seeded
from pvae_neuro.models.networks.maps import check_image, map_sizes, require_image
from pvae_neuro.models.networks.residual import PUBLISHED_WIDTH, ResidualDecoder
from pvae_neuro.network import ImageShape
from pvae_neuro.saved.model_file import Size
from pvae_neuro.utils.suggest import suggest

_LINEAR_SCALE = 1e-4
_OUTPUT_SCALE = 0.05
_LARGEST_BIAS = 0.1


class DecoderArchitecture(Architecture):
    """Settings of a decoder.

    Attributes
    ----------
    decoder : {"linear", "mlp", "conv"}
        Its kind.
    hidden : tuple of int
        Widths of the hidden layers of an MLP, from the latents on.
    channels : tuple of int
        Feature maps of a convolutional decoder, from the smallest map on; each layer doubles
        height and width.
    """

    decoder: Literal["linear", "mlp", "conv"] = "mlp"
    hidden: tuple[Size, ...] = (256,)
    channels: tuple[Size, ...] = (32, 16)


class LinearDecoder(nn.Module):
    """``x = Φ z``, without bias; ``dictionary`` is Φ, [M, K]."""

    def __init__(
        self, latents: int, pixels: int, generator: torch.Generator | None, init_scale: float
    ) -> None:
        super().__init__()
        normal = torch.randn(pixels, latents, generator=generator)
        self.dictionary = nn.Parameter(init_scale * normal)

    def forward(self, z: Tensor) -> Tensor:
        """Latents [B, K] to pixels [B, M]."""
        return z @ self.dictionary.T


class MLPDecoder(nn.Module):
    """Linear layers with ReLU between them; ``init_scale`` is that of the output weights."""

    def __init__(
        self,
        latents: int,
        pixels: int,
        hidden: Sequence[int],
        generator: torch.Generator | None,
        init_scale: float,
    ) -> None:
        super().__init__()
        widths = [latents, *hidden]
        with seeded(generator):
            parts = with_relu(_open_gates(nn.Linear(*pair)) for pair in pairwise(widths))
            self.layers = nn.Sequential(*parts, _output(nn.Linear(widths[-1], pixels), init_scale))

    def forward(self, z: Tensor) -> Tensor:
        """Latents [B, K] to pixels [B, M]."""
        x: Tensor = self.layers(z)
        return x


class ConvDecoder(nn.Module):
    """A linear layer to a small feature map, then transposed convolutions that double it.

    The convolutions have kernel 4 and stride 2; odd sides lose the last row or column.
    ``init_scale`` is that of the output weights.

    Raises
    ------
    InputError
        If a side is below 8, or there are no channels.
    """

    def __init__(
        self,
        latents: int,
        image_shape: ImageShape,
        channels: Sequence[int],
        generator: torch.Generator | None,
        init_scale: float,
    ) -> None:
        super().__init__()
        colours, height, width = check_image(image_shape, channels, "decoder")
        self._sizes = map_sizes(height, width, len(channels))[::-1]
        self._first = (channels[0], *self._sizes[0])
        ends = [*channels[1:], colours]
        with seeded(generator):
            self.project = _open_gates(nn.Linear(latents, math.prod(self._first)))
            layers = [
                nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
                for inputs, outputs in zip(channels, ends, strict=True)
            ]
            hidden = [_open_gates(layer) for layer in layers[:-1]]
            self.convolutions = nn.ModuleList([*hidden, _output(layers[-1], init_scale)])

    def forward(self, z: Tensor) -> Tensor:
        """Latents [B, K] to pixels [B, M]."""
        maps: Tensor = self.project(z).view(-1, *self._first)
        for layer, (height, width) in zip(self.convolutions, self._sizes[1:], strict=True):
            maps = layer(functional.relu(maps))[:, :, :height, :width]
        return maps.flatten(1)


class FullyConvDecoder(nn.Module):
    """Transposed convolutions from maps of latents to pixels, for images of any size.

    Each has a kernel of twice its stride and multiplies height and width by the stride; ReLU is
    between them. ``init_scale`` is that of the output weights.

    Parameters
    ----------
    map_shape : (int, int, int)
        Channels, height and width of the latents.
    ends : sequence of int
        Channels of the feature maps, then colours.
    stride : int
        Of every layer.
    generator : torch.Generator, optional
    init_scale : float
    """

    def __init__(
        self,
        map_shape: tuple[int, int, int],
        ends: Sequence[int],
        stride: int,
        generator: torch.Generator | None,
        init_scale: float,
    ) -> None:
        super().__init__()
        self._map_shape = map_shape
        with seeded(generator):
            layers = [
                nn.ConvTranspose2d(inputs, outputs, 2 * stride, stride, stride // 2)
                for inputs, outputs in pairwise((map_shape[0], *ends))
            ]
            hidden = [_open_gates(layer) for layer in layers[:-1]]
            self.layers = nn.Sequential(*with_relu(hidden), _output(layers[-1], init_scale))

    def forward(self, z: Tensor) -> Tensor:
        """Latents [B, K], channel first, to pixels [B, M]."""
        x: Tensor = self.layers(z.view(-1, *self._map_shape))
        return x.flatten(1)


@dataclass(frozen=True)
class DecoderPlan:
    """What a decoder is built from; see :func:`build_decoder`."""

    latents: int
    pixels: int
    image_shape: ImageShape | None
    hidden: Sequence[int]
    channels: Sequence[int]
    width: int
    generator: torch.Generator | None
    init_scale: float | None

    @property
    def image(self) -> ImageShape:
        """The shape of the images; InputError if it is not known."""
        return require_image(self.image_shape, "decoder")


DECODERS: dict[str, Callable[[DecoderPlan], nn.Module]] = {
    "linear": lambda p: LinearDecoder(
        p.latents, p.pixels, p.generator, p.init_scale or _LINEAR_SCALE
    ),
    "mlp": lambda p: MLPDecoder(
        p.latents, p.pixels, p.hidden, p.generator, p.init_scale or _OUTPUT_SCALE
    ),
    "conv": lambda p: ConvDecoder(
        p.latents, p.image, p.channels, p.generator, p.init_scale or _OUTPUT_SCALE
    ),
    "residual": lambda p: ResidualDecoder(
        p.latents, p.image, p.width, p.generator, p.init_scale or 1.0
    ),
}
"""Kinds of :func:`build_decoder`."""


def build_decoder(
    kind: str,
    latents: int,
    pixels: int,
    image_shape: ImageShape | None,
    hidden: Sequence[int] = (256,),
    channels: Sequence[int] = (32, 16),
    generator: torch.Generator | None = None,
    init_scale: float | None = None,
    width: int = PUBLISHED_WIDTH,
) -> nn.Module:
    """Build an untrained decoder z [B, K] -> x [B, M].

    Parameters
    ----------
    kind : str
        A key of :data:`DECODERS`.
    latents, pixels : int
        K and M.
    image_shape : tuple of int, optional
        (H, W) or (C, H, W); convolutions need it.
    hidden : sequence of int
        Widths of the hidden layers of an MLP.
    channels : sequence of int
        Feature maps of a convolutional decoder, from the smallest map on.
    generator : torch.Generator, optional
        Source of the initial weights. Hidden layers start as in He et al. 2015 (arXiv:1502.01852),
        those of a residual decoder as torch's own.
    init_scale : float, optional
        Standard deviation of the weights of the output layer; by default 1e-4 for a dictionary and
        0.05 for the others, as in the authors' code (arXiv 2410.19315). For a residual decoder, the
        norm of its output kernels, by default 1.
    width : int
        Of a residual decoder; its smallest map has eight times as many channels.

    Raises
    ------
    InputError
        If there is no such kind, or the images do not suit it.
    """
    if kind not in DECODERS:
        raise InputError(f"decoder {kind!r}: no such kind{suggest(kind, DECODERS)}")
    plan = DecoderPlan(
        latents, pixels, image_shape, hidden, channels, width, generator, init_scale
    )  # fmt: skip
    return DECODERS[kind](plan)


def with_relu(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """The layers, each followed by a ReLU."""
    return [part for layer in layers for part in (layer, nn.ReLU())]


def _open_gates(layer: nn.Linear | nn.ConvTranspose2d) -> nn.Module:
    """Initialize a layer before a ReLU: He's weights, biases above zero.

    Sparse counts are mostly zero, and for a count of zero the bias alone decides whether the gate
    lets the error pass back; biases of zero would close all gates.
    """
    inputs = layer.weight.shape[1]
    if isinstance(layer, nn.ConvTranspose2d):
        # With stride 2, a quarter of the kernel's 16 weights reach each pixel.
        inputs = layer.weight.shape[0] * 4
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2.0 / inputs))
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, 0.0, _LARGEST_BIAS)
    return layer


def _output(layer: nn.Linear | nn.ConvTranspose2d, scale: float) -> nn.Module:
    nn.init.normal_(layer.weight, 0.0, scale)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
