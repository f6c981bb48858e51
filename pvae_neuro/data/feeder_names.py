"""Feeders by name."""

from __future__ import annotations

import inspect
from typing import Any

from pvae_neuro.data.feeders import (
    Feeder,
    FrameSource,
    Jittering,
    Rotating,
    Sequence,
    Stationary,
)
from pvae_neuro.data.gratings import DriftingGrating
from pvae_neuro.data.images import Images
from pvae_neuro.errors import InputError
from pvae_neuro.utils.suggest import suggest

_KINDS: dict[str, type[FrameSource]] = {
    "stationary": Stationary,
    "sequence": Sequence,
    "rotating": Rotating,
    "jittering": Jittering,
    "drifting-grating": DriftingGrating,
}

FEEDERS = tuple(_KINDS)
"""Names that :func:`make_feeder` knows."""

# What the images give, not the options.
_FIRST = ("self", "images")


def make_feeder(name: str, images: Images | None = None, **options: Any) -> Feeder:
    """Make a feeder by its name.

    Parameters
    ----------
    name : str
        One of :data:`FEEDERS`.
    images : Images, optional
        The scenes of ``stationary``, ``rotating`` and ``jittering``. For ``sequence`` its images
        are the frames of one scene, unless the option ``frames`` gives others; for
        ``drifting-grating`` they give size and range, unless options do.
    **options
        Of the class of that name.

    Returns
    -------
    Feeder

    Raises
    ------
    InputError
        If the name or an option is unknown (the nearest ones are named), or its value does not fit.
    """
    if name not in _KINDS:
        raise InputError(f"feeder {name!r}: expected the name of a feeder{suggest(name, FEEDERS)}")
    kind = _KINDS[name]
    known = [option for option in inspect.signature(kind).parameters if option not in _FIRST]
    for option in options:
        if option not in known:
            raise InputError(f"feeder {name!r}: has no option {option!r}{suggest(option, known)}")
    return _FROM_IMAGES.get(name, _of_scenes)(kind, name, images, options)


def _of_scenes(kind: Any, name: str, images: Images | None, options: dict[str, Any]) -> FrameSource:
    return kind(_needed(name, images), **options)


def _sequence(kind: Any, name: str, images: Images | None, options: dict[str, Any]) -> FrameSource:
    if "frames" in options:
        return kind(**options)
    shown = _needed(name, images)
    if shown.image_shape is None:
        raise InputError(f"{shown.name}: expected images with a height and a width, got flat ones")
    shape = shown.image_shape
    return kind(shown.pixels.reshape(len(shown.pixels), 1, *shape), **options)


def _grating(kind: Any, name: str, images: Images | None, options: dict[str, Any]) -> FrameSource:
    if images is None:
        return kind(**options)
    if images.image_shape is None or len(images.image_shape) != 2:
        raise InputError(
            f"{images.name}: expected grey images, whose size the gratings take, got shape "
            f"{images.image_shape}; give the option size and no images"
        )
    defaults = {"size": images.image_shape, "low": images.low, "high": images.high}
    return kind(**{**defaults, **options})


def _needed(name: str, images: Images | None) -> Images:
    if images is None:
        raise InputError(f"feeder {name!r}: expected images to show, got none")
    return images


_FROM_IMAGES = {"sequence": _sequence, "drifting-grating": _grating}
