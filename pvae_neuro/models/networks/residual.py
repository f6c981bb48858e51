"""Residual convolutional networks, as the P-VAE was published with them (arXiv 2405.14473).

The paper says "convolutional"; layers and sizes follow its released code (PoissonVAE,
``main/vae.py`` and ``base/common.py``), and so do the numbers of parameters: 6,794,246 of a Poisson
VAE on MNIST at K = 512 and a width of 32, 6,925,318 of a Gaussian one. For images of other sizes
ours generalize: the encoder halves its maps until they are at most 4 pixels wide, the decoder
doubles maps of 2 x 2.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from pvae_neuro.models.base import seeded
from pvae_neuro.models.networks.dropout import Dropout
from pvae_neuro.models.networks.maps import check_image, map_sizes
from pvae_neuro.network import ImageShape

PUBLISHED_WIDTH = 32
"""Feature maps of the first convolution."""

# Sides of the encoder's last maps, at most, and of the decoder's first.
_LAST_SIDE, _FIRST_SIDE = 4, 2
# The decoder's first maps, as a multiple of the width, and the fewest that any layer has.
_WIDEST, _NARROWEST = 8, 4
# Of the dense block: hidden units, as a multiple of the others, and the share that drops out.
_EXPANSION, _DROPPED = 8, 0.1
_OUTPUT_SCALE = 0.1


class NormedConv(nn.Conv2d):
    """A convolution whose kernels have learned norms, ``exp(log_norm)``, one for each output map.

    ``norm`` is their start.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, norm: float = 1.0,
        padding: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            inputs, outputs, kernel, stride, kernel // 2 if padding is None else padding
        )
        self.log_norm = nn.Parameter(torch.full((outputs,), math.log(norm)))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, inputs, H, W] to maps [B, outputs, H', W']."""
        length = torch.linalg.vector_norm(self.weight, dim=(1, 2, 3)) + torch.finfo(x.dtype).eps
        scale = (torch.exp(self.log_norm) / length).view(-1, 1, 1, 1)
        return self._conv_forward(x, scale * self.weight, self.bias)


class Gate(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): each map times a share that all maps decide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 4)
        self.down, self.up = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, H, W], scaled."""
        share = torch.sigmoid(self.up(functional.relu(self.down(x.mean((2, 3))))))
        return x * share[:, :, None, None]


class Cell(nn.Module):
    """Swish and convolution, once or more, and a gate; added to the input.

    A cell that halves or doubles its maps does so in its first convolution; its input passes by
    through a convolution of kernel 1.
    """

    def __init__(
        self, inputs: int, outputs: int, layers: int, halves: bool = False, doubles: bool = False
    ) -> None:
        super().__init__()
        stride = 2 if halves else 1
        self.doubles, self.halves = doubles, halves
        self.past = NormedConv(inputs, outputs, 1, stride) if halves or doubles else nn.Identity()
        ends = [inputs, *[outputs] * layers]
        self.convolutions = nn.ModuleList(
            NormedConv(ends[n], outputs, 3, stride if n == 0 else 1) for n in range(layers)
        )
        self.gate = Gate(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, inputs, H, W] to maps [B, outputs, H', W']."""
        first = functional.silu(x)
        past = self.past(first if self.halves else x)
        if self.doubles:
            # A convolution of kernel 1 and doubling commute; the smaller map is cheaper.
            past, first = _doubled(past), _doubled(first)
        x = self.convolutions[0](first)
        for convolution in self.convolutions[1:]:
            x = convolution(functional.silu(x))
        return past + self.gate(x)


class DenseBlock(nn.Module):
    """A layer of eight times the width and back, with a residual, then layer normalization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = _EXPANSION * width
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = Dropout(_DROPPED)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Activities [B, width] to activities of the same shape."""
        normed: Tensor = self.norm(x + self.down(self.dropout(functional.relu(self.up(x)))))
        return normed


class ResidualEncoder(nn.Module):
    """Cells of two convolutions that halve the maps, a pool, a dense block and a linear layer.

    Raises
    ------
    InputError
        If a side is below 8.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        outputs: int,
        width: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self._image = colours, *sides = check_image(image_shape, (width,), "encoder")
        # The stem has no padding.
        larger = max(sides) - 2
        halvings = math.ceil(math.log2(larger / _LAST_SIDE))
        last = width * 2**halvings
        with seeded(generator):
            self.stem = NormedConv(colours, width, 3, padding=0)
            cells = [Cell(width, width, 2)]
            for channels in (width * 2**n for n in range(halvings)):
                cells += [
                    Cell(channels, 2 * channels, 2, halves=True),
                    Cell(2 * channels, 2 * channels, 2),
                ]
            self.cells = nn.Sequential(*cells)
            kernel = math.ceil((min(sides) - 2) / 2**halvings)
            self.pool = NormedConv(last, last, kernel, padding=0)
            self.dense = DenseBlock(last)
            self.output = nn.Linear(last, outputs)
            nn.init.normal_(self.output.weight, 0.0, _OUTPUT_SCALE)
            nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels [B, M] to [B, outputs]."""
        maps = self.cells(_channels_last(self.stem(x.view(-1, *self._image))))
        pooled = maps.mean((2, 3)) + self.pool(functional.silu(maps)).mean((2, 3))
        result: Tensor = self.output(self.dense(pooled))
        return result


class ResidualDecoder(nn.Module):
    """A linear layer to maps of 2 x 2, then cells of one convolution that double them.

    ``init_scale`` is the norm of the output's kernels.

    Raises
    ------
    InputError
        If a side is below 8.
    """

    def __init__(
        self,
        latents: int,
        image_shape: ImageShape,
        width: int,
        generator: torch.Generator | None,
        init_scale: float,
    ) -> None:
        super().__init__()
        colours, *self._sides = check_image(image_shape, (width,), "decoder")
        doublings = math.ceil(math.log2(max(self._sides) / _FIRST_SIDE))
        widths = [max(_WIDEST * width >> n, _NARROWEST) for n in range(doublings + 1)]
        self._first = (widths[0], _FIRST_SIDE, _FIRST_SIDE)
        with seeded(generator):
            self.project = nn.Linear(latents, math.prod(self._first))
            self.first = Cell(widths[0], widths[0], 1)
            self.stages = nn.ModuleList(
                nn.Sequential(Cell(larger, smaller, 1, doubles=True), Cell(smaller, smaller, 1))
                for larger, smaller in pairwise(widths)
            )
            self.output = NormedConv(widths[-1], colours, 1, norm=init_scale)

    def forward(self, z: Tensor) -> Tensor:
        """Latents [B, K] to pixels [B, M]."""
        maps: Tensor = self.first(_channels_last(self.project(z).view(-1, *self._first)))
        height, width = self._sides
        half = map_sizes(height, width, 1)[1]
        for stage in self.stages[:-1]:
            maps = stage(maps)
        maps = self.stages[-1](functional.interpolate(maps, size=half, mode="nearest"))
        pixels: Tensor = self.output(maps[:, :, :height, :width])
        return pixels.flatten(1)


def _channels_last(maps: Tensor) -> Tensor:
    """The same maps in an order of memory in which few channels convolve a third faster."""
    return maps.contiguous(memory_format=torch.channels_last)


def _doubled(maps: Tensor) -> Tensor:
    return functional.interpolate(maps, scale_factor=2, mode="nearest")
