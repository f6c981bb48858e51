"""Images derived from others: turned, shifted, cropped, standardized, put together as mosaics."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.images import Float32, Images, check_size
from pvae_neuro.data.pictures import to_grey
from pvae_neuro.errors import InputError
from pvae_neuro.sim.noise import check_seed
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.optional import require

# Patches along each side of a mosaic.
_TILES = 2


@checked
def rotate_images(images: Images, degrees: float) -> Images:
    """Turn images about their centre, counter-clockwise; labels stay.

    Interpolation is linear; pixels from outside are zero, clipped into ``[low, high]``.

    Raises :class:`InputError` if the images are flat or the angle is not finite, and
    :class:`MissingDependencyError` without SciPy.
    """
    turned = rotate_planes(images.planes(), degrees, images.low, images.high)
    name = f"{images.name}, turned by {degrees:g} degrees"
    return replace(images, pixels=turned.reshape(images.pixels.shape), name=name)


@checked
def crop_patches_to(images: Images, size: int | tuple[int, int] = 28) -> Images:
    """Cut the centre out of larger images, as grey images in [0, 1]; labels stay.

    Colour becomes luminance, and ``[low, high]`` is mapped linearly onto [0, 1].

    Raises :class:`InputError` if the images are flat or too small.
    """
    height, width = check_size(size)
    grey = _grey_planes(images)
    if grey.shape[1] < height or grey.shape[2] < width:
        raise InputError(
            f"{images.name}: expected images of at least {height}x{width} pixels, got "
            f"{grey.shape[1]}x{grey.shape[2]}; tile_patches puts several of them together"
        )
    crop = _centre(grey, height, width)
    scaled = (crop - np.float32(images.low)) / np.float32(images.high - images.low)
    return _in_unit_range(scaled, replace(images, name=f"{images.name}, cropped"))


@checked
def tile_patches(patches: Images, size: int | tuple[int, int] = 28, seed: int = 0) -> Images:
    """Put patches together to larger images: mosaics, a quarter as many, without labels.

    Four patches, drawn at random without replacement, are laid side by side (2 x 2) and the centre
    is cut out. A mosaic is not a natural image: statistics within a patch are those of the
    photographs (of whitened ones, if the patches are whitened), but it has two seams. Each mosaic
    is mapped onto [0, 1] by its own lowest and highest value, because the declared range of
    whitened patches is many times their standard deviation. Where there are photographs, use
    crops of them: :func:`crop_patches_to`, or :func:`~pvae_neuro.data.extract_patches` without
    whitening.

    Raises :class:`InputError` if there are fewer than four patches, or four do not cover the size.
    """
    height, width = check_size(size)
    grey = _grey_planes(patches)
    count, rows, columns = len(grey) // _TILES**2, grey.shape[1], grey.shape[2]
    if count < 1 or rows * _TILES < height or columns * _TILES < width:
        raise InputError(
            f"{patches.name}: expected at least 4 patches of at least {-(-height // _TILES)}x"
            f"{-(-width // _TILES)} pixels to cover {height}x{width}, got {len(grey)} of "
            f"{rows}x{columns}"
        )
    order = np.random.default_rng(check_seed(seed)).permutation(len(grey))[: count * _TILES**2]
    tiles = grey[order].reshape(count, _TILES, _TILES, rows, columns).transpose(0, 1, 3, 2, 4)
    mosaic = _centre(tiles.reshape(count, _TILES * rows, _TILES * columns), height, width)
    named = replace(patches, labels=None, name=f"mosaics of {patches.name}")
    return _in_unit_range(_stretch(mosaic), named)


@checked
def standardize_images(images: Images) -> Images:
    """Give every image zero mean and unit standard deviation over its pixels; labels stay.

    Patches of photographs differ much in contrast; standardized, each counts the same in an error
    that is summed over patches. Flat images become zero. The declared range, ``±sqrt(M)``, holds
    any M pixels of unit deviation.
    """
    centred = images.pixels - images.pixels.mean(axis=1, keepdims=True, dtype=np.float64)
    spread = centred.std(axis=1, keepdims=True)
    # The mean of equal numbers need not be that number.
    flat = images.pixels.max(axis=1, keepdims=True) == images.pixels.min(axis=1, keepdims=True)
    scaled = np.where(flat, 0.0, centred / np.where(flat, 1.0, spread)).astype(np.float32)
    limit = math.sqrt(scaled.shape[1])
    name = f"{images.name}, standardized"
    return Images(scaled, images.labels, images.image_shape, -limit, limit, name)


def rotate_planes(planes: Float32, degrees: float, low: float, high: float) -> Float32:
    """Turn planes [N, C, H, W] about their centre, counter-clockwise, clipped to [low, high]."""
    if not math.isfinite(degrees):
        raise InputError(f"degrees: expected a finite angle, got {degrees}")
    angle = math.fmod(degrees, 360.0)
    if angle == 0.0:
        return planes.copy()
    ndimage = require("scipy.ndimage", "train", "turning images")
    turned = ndimage.rotate(planes, angle, axes=(3, 2), reshape=False, order=1, cval=0.0)
    return np.clip(turned, np.float32(low), np.float32(high)).astype(np.float32, copy=False)


def shift_planes(
    planes: Float32, shifts: npt.NDArray[np.int64], low: float, high: float
) -> Float32:
    """Shift each image of [N, C, H, W] by its own whole pixels [N, 2], down and to the right.

    Pixels from outside are zero; the result is clipped to [low, high].
    """
    count, _, height, width = planes.shape
    rows, inside_rows = _sources(shifts[:, 0], height)
    columns, inside_columns = _sources(shifts[:, 1], width)
    image = np.arange(count)[:, None, None]
    # NumPy puts the axes of advanced indices beside a slice first: [N, H, W, C].
    moved = planes[image, :, rows[:, :, None], columns[:, None, :]].transpose(0, 3, 1, 2)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return np.clip(np.where(inside, moved, np.float32(0)), np.float32(low), np.float32(high))


def _sources(
    shift: npt.NDArray[np.int64], length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The index that each position of a shifted axis comes from, and whether it is inside."""
    source = np.arange(length) - shift[:, None]
    inside = (source >= 0) & (source < length)
    return np.clip(source, 0, length - 1), inside


def _grey_planes(images: Images) -> Float32:
    planes = images.planes()
    return planes[:, 0] if planes.shape[1] == 1 else to_grey(planes)


def _centre(planes: Float32, height: int, width: int) -> Float32:
    top, left = (planes.shape[1] - height) // 2, (planes.shape[2] - width) // 2
    return planes[:, top : top + height, left : left + width]


def _stretch(planes: Float32) -> Float32:
    low = planes.min(axis=(1, 2), keepdims=True)
    span = planes.max(axis=(1, 2), keepdims=True) - low
    return (planes - low) / np.where(span > 0, span, np.float32(1))


def _in_unit_range(planes: Float32, like: Images) -> Images:
    count, height, width = planes.shape
    pixels = np.clip(planes, 0.0, 1.0, dtype=np.float32).reshape(count, -1)
    return Images(np.ascontiguousarray(pixels), like.labels, (height, width), 0.0, 1.0, like.name)
