"""Decoders from latents to pixels: linear, multi-layer with ReLU, and convolutional with ReLU.

ReLU is the only nonlinearity, and the output is linear. The decoder and its transposed Jacobian are
then products by weights and gates, which integer networks can compute too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import Architecture, seeded
from pvae_neuro.network import ImageShape
from pvae_neuro.saved.model_file import Size
from pvae_neuro.utils.suggest import suggest

DECODERS = ("linear", "mlp", "conv")
"""Kinds of :func:`build_decoder`."""

SMALLEST_SIDE = 8
"""Smallest height and width for convolutions, in pixels."""

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


def build_decoder(
    kind: str,
    latents: int,
    pixels: int,
    image_shape: ImageShape | None,
    hidden: Sequence[int] = (256,),
    channels: Sequence[int] = (32, 16),
    generator: torch.Generator | None = None,
    init_scale: float | None = None,
) -> nn.Module:
    """Build an untrained decoder z [B, K] -> x [B, M].

    Parameters
    ----------
    kind : {"linear", "mlp", "conv"}
    latents, pixels : int
        K and M.
    image_shape : tuple of int, optional
        (H, W) or (C, H, W); convolutions need it.
    hidden : sequence of int
        Widths of the hidden layers of an MLP.
    channels : sequence of int
        Feature maps of a convolutional decoder, from the smallest map on.
    generator : torch.Generator, optional
        Source of the initial weights. Hidden layers start as in He et al. 2015 (arXiv:1502.01852).
    init_scale : float, optional
        Standard deviation of the weights of the output layer; by default 1e-4 for a dictionary and
        0.05 for the others, as in the authors' code (arXiv 2410.19315).

    Raises
    ------
    InputError
        If there is no such kind, or the images do not suit it.
    """
    if kind == "linear":
        return LinearDecoder(latents, pixels, generator, init_scale or _LINEAR_SCALE)
    scale = init_scale or _OUTPUT_SCALE
    if kind == "mlp":
        return MLPDecoder(latents, pixels, hidden, generator, scale)
    if kind != "conv":
        raise InputError(f"decoder {kind!r}: no such kind{suggest(kind, DECODERS)}")
    return ConvDecoder(latents, require_image(image_shape, "decoder"), channels, generator, scale)


def require_image(image_shape: ImageShape | None, what: str) -> ImageShape:
    """The shape of the images; InputError if it is not known, since convolutions need it."""
    if image_shape is None:
        raise InputError(
            f"convolutional {what}: expected images of a known shape, got inputs without one; give "
            f"their height and width, or take a linear or MLP {what}"
        )
    return image_shape


def check_image(
    image_shape: ImageShape, channels: Sequence[int], what: str
) -> tuple[int, int, int]:
    """Colours, height and width of images; ``what`` names the network in a message.

    Raises
    ------
    InputError
        If a side is below 8, or there are no channels.
    """
    height, width = image_shape[-2:]
    if min(height, width) < SMALLEST_SIDE or not channels:
        raise InputError(
            f"convolutional {what}: expected images of at least {SMALLEST_SIDE} x {SMALLEST_SIDE} "
            f"pixels and one layer or more, got {height} x {width} and channels {list(channels)}; "
            f"take a linear or MLP {what} for smaller images"
        )
    return (image_shape[0] if len(image_shape) == 3 else 1), height, width


def map_sizes(height: int, width: int, halvings: int) -> list[tuple[int, int]]:
    """Height and width after 0, 1, … halvings, rounded up."""
    return [(-(-height // 2**n), -(-width // 2**n)) for n in range(halvings + 1)]


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
