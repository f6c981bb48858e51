"""The predictive circuit of ``ipvae-conv``: a dense layer, then transposed convolutions.

Each convolution has kernel 4, stride 2 and padding 1 and doubles height and width; odd sides lose
the last row or column, and the shapes are stored, so that the way back is exact.
"""

from __future__ import annotations

from itertools import count, takewhile

from pvae_neuro.exporters.lowerings.decoder import NetworkDecoder
from pvae_neuro.exporters.lowerings.layers import (
    Layer,
    dense,
    halved_sides,
    transposed_convolution,
)
from pvae_neuro.saved.model_file import SavedModel

STRIDE, PADDING = 2, 1


class Conv(NetworkDecoder):
    """A small map of rectifiers from the latents, then maps of twice the sides."""

    families = ("ipvae-conv",)

    def layers(self, model: SavedModel) -> tuple[Layer, ...]:
        """See :meth:`NetworkDecoder.layers`."""
        numbered = (f"decoder.convolutions.{number}" for number in count())
        names = list(takewhile(lambda name: f"{name}.weight" in model.arrays, numbered))
        sides = halved_sides(model, len(names))[::-1]
        maps = (
            transposed_convolution(model, name, small, large, STRIDE, PADDING)
            for name, small, large in zip(names, sides, sides[1:], strict=False)
        )
        return dense(model, "decoder.project"), *maps
