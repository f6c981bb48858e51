"""The predictive circuit of ``ipvae-mlp``: a decoder of dense layers, of any depth."""

from __future__ import annotations

from pvae_neuro.exporters.lowerings.decoder import NetworkDecoder
from pvae_neuro.exporters.lowerings.layers import Layer, dense_layers
from pvae_neuro.saved.model_file import SavedModel


class MLP(NetworkDecoder):
    """Linear layers with rectifiers between them."""

    families = ("ipvae-mlp",)

    def layers(self, model: SavedModel) -> tuple[Layer, ...]:
        """See :meth:`NetworkDecoder.layers`."""
        return dense_layers(model, "decoder.layers")
