"""Encoders of saved models as layers, from the pixels to one number for each latent."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from pvae_neuro.errors import ModelFileError
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
    shape = model.config.image_shape
    if shape is None:
        raise ModelFileError(
            f"model of the family {model.config.family!r}: expected images of a known shape, got "
            f"none; save it again with the shape of its images"
        )
    held = [name for name in model.arrays if name.startswith("encoder.")]
    depth = sum(model.arrays[name].ndim == 4 for name in held)
    height, width = shape[-2:]
    sides = [(-(-height // 2**n), -(-width // 2**n)) for n in range(depth + 1)]
    maps = (
        convolution(model, f"encoder.layers.{2 * n}", large, small, 2, 1)
        for n, (large, small) in enumerate(pairwise(sides))
    )
    return (*maps, dense(model, f"encoder.layers.{2 * depth + 1}"))


ENCODERS: dict[str, Callable[[SavedModel], tuple[Layer, ...]]] = {
    "pvae-linear": _linear,
    "pvae-mlp": _mlp,
    "pvae-conv": _conv,
}
