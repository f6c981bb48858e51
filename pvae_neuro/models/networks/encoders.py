"""Encoders from pixels to the parameters of a posterior: linear, MLP, convolutional, residual."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import seeded
from pvae_neuro.models.networks.decoders import with_relu
from pvae_neuro.models.networks.maps import check_image, map_sizes, require_image
from pvae_neuro.models.networks.residual import PUBLISHED_WIDTH, ResidualEncoder
from pvae_neuro.network import ImageShape
from pvae_neuro.utils.suggest import suggest


class MLPEncoder(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(
        self, pixels: int, outputs: int, hidden: Sequence[int], generator: torch.Generator | None
    ) -> None:
        super().__init__()
        widths = [pixels, *hidden]
        with seeded(generator):
            parts = with_relu(_begin(nn.Linear(*pair)) for pair in pairwise(widths))
            self.layers = nn.Sequential(*parts, nn.Linear(widths[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Pixels [B, M] to [B, outputs]."""
        result: Tensor = self.layers(x)
        return result


class ConvEncoder(nn.Module):
    """Convolutions of kernel 3 and stride 2 with ReLU, then a linear layer.

    Raises
    ------
    InputError
        If a side is below 8, or there are no channels.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        outputs: int,
        channels: Sequence[int],
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self._image = check_image(image_shape, channels, "encoder")
        widths = [self._image[0], *channels]
        last = math.prod(map_sizes(*self._image[1:], len(channels))[-1]) * widths[-1]
        with seeded(generator):
            parts = with_relu(_begin(nn.Conv2d(*pair, 3, 2, 1)) for pair in pairwise(widths))
            self.layers = nn.Sequential(*parts, nn.Flatten(), nn.Linear(last, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Pixels [B, M] to [B, outputs]."""
        result: Tensor = self.layers(x.view(-1, *self._image))
        return result


@dataclass(frozen=True)
class EncoderPlan:
    """What an encoder is built from; see :func:`build_encoder`."""

    pixels: int
    outputs: int
    image_shape: ImageShape | None
    hidden: Sequence[int]
    channels: Sequence[int]
    width: int
    generator: torch.Generator | None

    @property
    def image(self) -> ImageShape:
        """The shape of the images; InputError if it is not known."""
        return require_image(self.image_shape, "encoder")


def _linear(plan: EncoderPlan) -> nn.Module:
    with seeded(plan.generator):
        return nn.Linear(plan.pixels, plan.outputs, bias=False)


ENCODERS: dict[str, Callable[[EncoderPlan], nn.Module]] = {
    "linear": _linear,
    "mlp": lambda p: MLPEncoder(p.pixels, p.outputs, p.hidden, p.generator),
    "conv": lambda p: ConvEncoder(p.image, p.outputs, p.channels, p.generator),
    "residual": lambda p: ResidualEncoder(p.image, p.outputs, p.width, p.generator),
}
"""Kinds of :func:`build_encoder`."""


def build_encoder(
    kind: str,
    pixels: int,
    outputs: int,
    image_shape: ImageShape | None,
    hidden: Sequence[int] = (256,),
    channels: Sequence[int] = (16, 32),
    generator: torch.Generator | None = None,
    width: int = PUBLISHED_WIDTH,
) -> nn.Module:
    """Build an untrained encoder x [B, M] -> [B, outputs].

    Parameters
    ----------
    kind : str
        A key of :data:`ENCODERS`. A linear encoder has no bias.
    pixels, outputs : int
        M, and the number of outputs.
    image_shape : tuple of int, optional
        (H, W) or (C, H, W); convolutions need it.
    hidden : sequence of int
        Widths of the hidden layers of an MLP.
    channels : sequence of int
        Feature maps of a convolutional encoder, from the image on.
    generator : torch.Generator, optional
        Source of the initial weights: as in He et al. 2015 (arXiv:1502.01852) in hidden layers,
        torch's default in the output layer; a residual encoder starts as in the authors' code.
    width : int
        Feature maps of a residual encoder's first convolution; they double as the maps halve.

    Raises
    ------
    InputError
        If there is no such kind, or the images do not suit it.
    """
    if kind not in ENCODERS:
        raise InputError(f"encoder {kind!r}: no such kind{suggest(kind, ENCODERS)}")
    plan = EncoderPlan(pixels, outputs, image_shape, hidden, channels, width, generator)
    return ENCODERS[kind](plan)


def _begin(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
