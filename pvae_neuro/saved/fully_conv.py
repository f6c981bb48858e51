"""Fully convolutional models: their settings, and the same weights at another size of image.

Latents lie on a map, with C neurons at each place. Weights, leaks, starts and variances are the
same at every place, so no array depends on the size of the image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import ValidationError

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.network import ImageShape
from pvae_neuro.saved.model_file import ModelConfig, SavedModel, Size, config_of
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.settings import Settings, problems_of

FULLY_CONV_FAMILY = "ipvae-fully-conv"


class FullyConvSettings(Settings):
    """Settings of a fully convolutional decoder.

    Attributes
    ----------
    stride : {2, 4, 8}
        Of each transposed convolution, whose kernel is twice as wide.
    channels : tuple of int
        Feature maps between the latents and the pixels; with none the decoder is linear.
    """

    stride: Literal[2, 4, 8] = 4
    channels: tuple[Size, ...] = ()

    @property
    def reduction(self) -> int:
        """Pixels from one place of the map to the next."""
        return int(self.stride ** (len(self.channels) + 1))


def settings_of(config: ModelConfig) -> FullyConvSettings:
    """Settings of a model's decoder.

    Raises
    ------
    ModelFileError
        If its architecture is none of this family.
    """
    try:
        return FullyConvSettings.model_validate(config.architecture)
    except ValidationError as error:
        raise ModelFileError(f"architecture of {config.family!r}: {problems_of(error)}") from error


def map_shape_of(config: ModelConfig) -> tuple[int, int, int]:
    """Channels, height and width of a model's map of latents.

    Raises
    ------
    InputError
        If the images have no known shape, a side is no multiple of the reduction, or K none of the
        number of places.
    """
    height, width = _places(config.image_shape, settings_of(config))
    channels, rest = divmod(config.latents, height * width)
    if rest:
        places = height * width
        near = " or ".join(str(n * places) for n in (channels, channels + 1) if n)
        raise InputError(
            f"latents: expected a multiple of {places}, the places of a map of {height} x {width}, "
            f"got {config.latents}; take {near}"
        )
    return channels, height, width


@checked
def at_image_shape(model: SavedModel, image_shape: ImageShape) -> SavedModel:
    """The same weights for images of another size.

    Parameters
    ----------
    model : SavedModel
        A fully convolutional one.
    image_shape : tuple of int
        (H, W), or (C, H, W) with the model's own colours. Sides are multiples of the model's
        reduction: the stride of all its layers together.

    Returns
    -------
    SavedModel
        Only sizes in its configuration differ.

    Raises
    ------
    InputError
        If the model is of another family, or the shape does not suit it.
    ModelFileError
        If a model of that size is beyond what a file can hold.
    """
    config = model.config
    if config.family != FULLY_CONV_FAMILY:
        raise InputError(
            f"at_image_shape: expected a model of family {FULLY_CONV_FAMILY}, whose weights are "
            f"the same at every place; got {config.family}"
        )
    channels, height, width = map_shape_of(config)
    colours = config.pixels // (height * width * settings_of(config).reduction ** 2)
    shape = image_shape[-2:] if colours == 1 else (colours, *image_shape[-2:])
    if len(image_shape) == 3 and image_shape[0] != colours:
        raise InputError(
            f"image_shape: expected {colours} colours, as the model has, got {image_shape[0]}"
        )
    rows, columns = _places(image_shape, settings_of(config))
    sizes = {
        "pixels": colours * image_shape[-2] * image_shape[-1],
        "latents": channels * rows * columns,
        "image_shape": shape,
    }
    named = f"model at {' x '.join(map(str, image_shape))} pixels"
    return replace(model, config=config_of({**config.model_dump(), **sizes}, named))


def _places(shape: ImageShape | None, settings: FullyConvSettings) -> tuple[int, int]:
    reduction = settings.reduction
    if shape is None or any(side < 1 or side % reduction for side in shape[-2:]):
        got = "inputs without a shape" if shape is None else " x ".join(map(str, shape[-2:]))
        raise InputError(
            f"fully convolutional decoder: expected images whose sides are multiples of "
            f"{reduction} pixels, got {got}; cut the images to such sides"
        )
    return shape[-2] // reduction, shape[-1] // reduction
