"""Encoders of saved models as layers, from the pixels to one number for each latent."""

from __future__ import annotations

from collections.abc import Callable

from pvae_neuro.exporters.lowerings.layers import Layer, convolution, dense, dense_layers
from pvae_neuro.saved.model_file import SavedModel


def encoder_layers(model: SavedModel) -> tuple[Layer, ...]:
    """Layers of the encoder of a family of :data:`ENCODERS`.

    Raises
    ------
    ModelFileError
        If the model's arrays are not those of such an encoder.
    """
    return ENCODERS[model.config.family](model)


def _linear(model: SavedModel) -> tuple[Layer, ...]:
    return (dense(model, "encoder"),)


def _mlp(model: SavedModel) -> tuple[Layer, ...]:
    return dense_layers(model, "encoder.layers")


def _conv(model: SavedModel) -> tuple[Layer, ...]:
    """Convolutions of kernel 3, stride 2 and padding 1, each with a rectifier; then all to all."""
    kernels = [
        n for n, array in model.arrays.items() if n.startswith("encoder.") and array.ndim == 4
    ]
    height, width = (model.config.image_shape or (0, 0))[-2:]
    layers = list[Layer]()
    for number in range(len(kernels)):
        halved = -(-height // 2), -(-width // 2)
        name = f"encoder.layers.{2 * number}"
        layers.append(convolution(model, name, (height, width), halved, 2, 1))
        height, width = halved
    return (*layers, dense(model, f"encoder.layers.{2 * len(kernels) + 1}"))


ENCODERS: dict[str, Callable[[SavedModel], tuple[Layer, ...]]] = {
    "pvae-linear": _linear,
    "pvae-mlp": _mlp,
    "pvae-conv": _conv,
}
