"""Sizes of the feature maps of convolutional networks, and the images that they take."""

from __future__ import annotations

from collections.abc import Sequence

from pvae_neuro.errors import InputError
from pvae_neuro.network import ImageShape

SMALLEST_SIDE = 8
"""Smallest height and width for convolutions, in pixels."""


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
