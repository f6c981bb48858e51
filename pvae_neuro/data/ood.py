"""Images that a model was not trained on: turned, cropped out of scenes, or put together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pvae_neuro.data.arrays import Float32, check_seed, check_size, to_planes
from pvae_neuro.data.images import Images
from pvae_neuro.data.pictures import to_grey
from pvae_neuro.data.turning import rotate_planes
from pvae_neuro.errors import InputError

_TILES = 2


def rotate_images(images: Images, degrees: float) -> Images:
    """Turn images about their centre.

    Parameters
    ----------
    images : Images
        With a height and a width.
    degrees : float
        Counter-clockwise.

    Returns
    -------
    Images
        Interpolated linearly, zeros from outside, within ``[low, high]``; labels stay.

    Raises
    ------
    InputError
        If the images are flat or the angle is not finite.
    EngineUnavailableError
        If SciPy is not installed.
    """
    planes = to_planes(images.pixels, images.image_shape, images.name)
    turned = rotate_planes(planes, degrees, images.low, images.high)
    name = f"{images.name}, turned by {degrees:g} degrees"
    return replace(images, pixels=turned.reshape(images.pixels.shape), name=name)


def crop_patches_to(images: Images, size: int | tuple[int, int] = 28) -> Images:
    """Cut the centre out of larger images, as grey images in [0, 1].

    Parameters
    ----------
    images : Images
        At least ``size`` in height and width. Colour becomes luminance.
    size : int or (int, int)
        (H, W) of the crop; 28 fits models of digits.

    Returns
    -------
    Images
        ``[low, high]`` mapped linearly onto [0, 1]; labels stay.

    Raises
    ------
    InputError
        If the images are flat or too small.
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
    return _as_digits(images, scaled, f"{images.name}, cropped", images.labels is not None)


def tile_patches(patches: Images, size: int | tuple[int, int] = 28, seed: int = 0) -> Images:
    """Put patches together to images of another size: mosaics, not natural images.

    Four patches drawn at random, without replacement until all were used, are laid side by side
    (2 x 2) and the centre is cut out. Statistics within a patch are those of the photographs (of
    whitened ones, if the patches are whitened); the two seams in the middle are not. Each mosaic
    is mapped onto [0, 1] by its own lowest and highest value, since the declared range of whitened
    patches is many times their deviation. Use crops of photographs (:func:`crop_patches_to`, or
    :func:`~pvae_neuro.data.extract_patches` without whitening) where there are photographs.

    Parameters
    ----------
    patches : Images
        At least half of ``size`` in height and width.
    size : int or (int, int)
        (H, W) of the result.
    seed : int
        Of the draw.

    Returns
    -------
    Images
        A quarter as many as patches, without labels.

    Raises
    ------
    InputError
        If there are fewer than four patches, or four do not cover the size.
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
    return _as_digits(patches, _stretch(mosaic), f"mosaics of {patches.name}", False)


def _grey_planes(images: Images) -> Float32:
    planes = to_planes(images.pixels, images.image_shape, images.name)
    return planes[:, 0] if planes.shape[1] == 1 else to_grey(planes)


def _centre(planes: Float32, height: int, width: int) -> Float32:
    top, left = (planes.shape[1] - height) // 2, (planes.shape[2] - width) // 2
    return planes[:, top : top + height, left : left + width]


def _stretch(planes: Float32) -> Float32:
    low = planes.min(axis=(1, 2), keepdims=True)
    span = planes.max(axis=(1, 2), keepdims=True) - low
    return (planes - low) / np.where(span > 0, span, np.float32(1))


def _as_digits(images: Images, planes: Float32, name: str, labelled: bool) -> Images:
    count, height, width = planes.shape
    pixels = np.clip(planes, 0.0, 1.0, dtype=np.float32).reshape(count, -1)
    labels = images.labels if labelled else None
    return Images(np.ascontiguousarray(pixels), labels, (height, width), 0.0, 1.0, name)
