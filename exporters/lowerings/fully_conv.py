"""The predictive circuit of ``ipvae-fully-conv``: transposed convolutions from a map of latents.

Kernels are stored once, whatever the size of the image; what a model has for each channel or colour
becomes a constant of each neuron.
"""

from __future__ import annotations

from dataclasses import replace

from pvae_neuro.exporters.lowerings.decoder import NetworkDecoder
from pvae_neuro.exporters.lowerings.layers import Layer, layer_names, transposed_convolution
from pvae_neuro.saved.fully_conv import FULLY_CONV_FAMILY, map_shape_of, settings_of
from pvae_neuro.saved.model_file import SavedModel


class FullyConv(NetworkDecoder):
    """Maps of rectifiers, each with more rows and columns, from a map of latents."""

    families = (FULLY_CONV_FAMILY,)

    def level(self, model: SavedModel) -> SavedModel:
        """See :meth:`NetworkDecoder.level`; arrays have a value for each neuron or pixel."""
        level = super().level(model)
        sizes = {
            "log_bias": model.config.latents,
            "initial_potential": model.config.latents,
            "log_sigma": model.config.pixels,
        }
        shared = {name: level.arrays[name] for name in sizes}
        each = {name: array.repeat(sizes[name] // len(array)) for name, array in shared.items()}
        return replace(level, arrays={**level.arrays, **each})

    def layers(self, model: SavedModel) -> tuple[Layer, ...]:
        """See :meth:`NetworkDecoder.layers`."""
        stride = settings_of(model.config).stride
        _, height, width = map_shape_of(model.config)
        names = layer_names(model, "decoder.layers")
        sides = [(height * stride**n, width * stride**n) for n in range(len(names) + 1)]
        return tuple(
            transposed_convolution(model, name, small, large, stride, stride // 2)
            for name, small, large in zip(names, sides, sides[1:], strict=False)
        )
