"""What models of digits are shown that they were not trained on, as far as the data are at hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pvae_neuro.data import Images, crop_patches_to, rotate_images, tile_patches
from pvae_neuro.errors import InputError
from pvae_neuro.experiments.context import Context
from pvae_neuro.experiments.trainings import PATCHES

UPRIGHT, OMNIGLOT, EMNIST, NATURAL = "upright digits", "Omniglot", "EMNIST", "natural patches"
OMNIGLOT_FILE = "omniglot_small1.npz"
"""A part of Omniglot, below the data folder, where torchvision's is not there."""

_SIDE = 28


@dataclass
class Shown:
    """Sets of images by name, and why others are missing.

    Attributes
    ----------
    sets : dict of str to Images
        28 x 28, in [0, 1].
    angles : dict of float to str
        Rotation in degrees, counter-clockwise, and the name of the set of digits turned by it; 0
        for the upright ones.
    notes : list of str
        Sources and absences.
    """

    sets: dict[str, Images] = field(default_factory=dict)
    angles: dict[float, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def shown_sets(context: Context, count: int, angles: tuple[float, ...]) -> Shown:
    """Read all sets that there are.

    Parameters
    ----------
    context : Context
    count : int
        Images of each, at most.
    angles : tuple of float
        By which digits are turned, in degrees.

    Returns
    -------
    Shown

    Raises
    ------
    InputError
        If MNIST is absent; other sets are left out with the reason in the notes.
    """
    shown = Shown()
    digits = context.images("mnist", "test", count)
    shown.sets[UPRIGHT] = digits
    shown.angles[0.0] = UPRIGHT
    for angle in angles:
        name = f"turned by {angle:g}°"
        shown.sets[name] = rotate_images(digits, angle)
        shown.angles[angle] = name
    _add(context, shown, count, OMNIGLOT, ("omniglot", OMNIGLOT_FILE))
    _add(context, shown, count, EMNIST, ("emnist",))
    _add_natural(context, shown, count)
    return shown


def _add(context: Context, shown: Shown, count: int, name: str, sources: tuple[str, ...]) -> None:
    """The first source that is there."""
    for source in sources:
        try:
            images = context.images(source, "test")
        except InputError:
            continue
        shown.sets[name] = _spread(images, count)
        shown.notes.append(f"{name}: {images.name}.")
        return
    shown.notes.append(f"{name} is left out: not in the data folder ({', '.join(sources)}).")


def _add_natural(context: Context, shown: Shown, count: int) -> None:
    try:
        images = crop_patches_to(context.images("cifar10", "test"), _SIDE)
        shown.notes.append(f"{NATURAL}: crops of CIFAR-10, grey; published: of ImageNet32.")
    except InputError:
        try:
            images = tile_patches(context.images(PATCHES, "test"), _SIDE, context.seed)
        except InputError:
            shown.notes.append(f"{NATURAL} are left out: neither CIFAR-10 nor {PATCHES} is there.")
            return
        shown.notes.append(
            f"{NATURAL}: mosaics of four whitened 16x16 patches, cut to 28x28, each stretched to "
            "[0, 1]; published: grey ImageNet32, cropped."
        )
    shown.sets[NATURAL] = _spread(images, count)


def _spread(images: Images, count: int) -> Images:
    """Images from all over a set that is ordered by class."""
    places = np.linspace(0, len(images.pixels) - 1, min(count, len(images.pixels))).astype(int)
    labels = None if images.labels is None else images.labels[places]
    return replace(images, pixels=images.pixels[places], labels=labels)
