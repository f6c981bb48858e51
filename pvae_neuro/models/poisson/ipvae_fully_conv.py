"""The iterative Poisson VAE with a map of latents, for images of any size.

The decoder is a stack of transposed convolutions; leaks, starts and variances are those of channels
and colours, not of places. Inference is that of :mod:`~pvae_neuro.models.poisson.ipvae_jacobian`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pvae_neuro.models.base import Architecture
from pvae_neuro.models.networks.decoders import FullyConvDecoder
from pvae_neuro.models.poisson.ipvae_jacobian import JacobianIPVAE
from pvae_neuro.models.poisson.potentials import Potentials
from pvae_neuro.saved.fully_conv import FullyConvSettings, map_shape_of

_OUTPUT_SCALE = 0.05


class FullyConvArchitecture(FullyConvSettings, Architecture):
    """Settings of the family."""


class FullyConvIPVAE(JacobianIPVAE):
    """Iterative Poisson VAE whose latents are maps.

    Attributes
    ----------
    log_sigma : Parameter
        As in :class:`~pvae_neuro.models.poisson.pixels.GaussianPixels`, for each colour.
    """

    architecture_type = FullyConvArchitecture
    # A number of latents for digits and for patches of 16 x 16 pixels. Kernels meet many places of
    # each image, and so learn by larger steps.
    defaults: ClassVar[dict[str, Any]] = {
        **JacobianIPVAE.defaults, "latents": 784, "beta": 4.0, "init_scale": 0.05,
        "learning_rate": 2e-2, "dictionary_rate": 1.0,
    }  # fmt: skip

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create ``log_sigma``, the decoder and the potentials."""
        config, settings = self.config, self.architecture
        shape = map_shape_of(config)
        places = shape[1] * shape[2]
        colours = config.pixels // (places * settings.reduction**2)
        self.log_sigma = nn.Parameter(torch.zeros(colours))
        self.decoder = FullyConvDecoder(
            shape, (*settings.channels, colours), settings.stride, generator,
            init_scale or _OUTPUT_SCALE,
        )  # fmt: skip
        self.potentials = MapPotentials(config, shape[0], generator)

    def _squashed_log_sigma(self) -> Tensor:
        places = self.config.pixels // len(self.log_sigma)
        return super()._squashed_log_sigma().repeat_interleave(places)


class MapPotentials(Potentials):
    """Potentials of a map of latents: the neurons of a channel share leak and start."""

    def each(self, values: Tensor) -> Tensor:
        """The value of its channel for each neuron, [K]."""
        return values.repeat_interleave(self.config.latents // len(values))
