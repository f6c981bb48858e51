"""Pictures: rows of images, differences, elements of a dictionary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.plots.style import INK, axes, hide_frame
from pvae_neuro.sim.noise import check_whole
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.arrays import real_array
from pvae_neuro.utils.show import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pvae_neuro.network import ImageShape

Floats = NDArray[np.floating[Any]]
ELEMENTS_PER_ROW, MOST_PER_ROW = 16, 1 << 16


@checked
def image_grid(rows: Mapping[str, ArrayLike], ax: Axes | None = None) -> Axes:
    """Draw rows of images, each row under its name.

    Parameters
    ----------
    rows : dict of str to float [n, H, W] or [n, H, W, C]
        All of one shape. The scale spans the values of the first row, for all rows; so black and
        white are the same in all of them.
    ax : Axes, optional
        Where to draw; the default is a new pyplot figure.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If there is no row, a row is not of such a shape, or shapes differ.
    MissingDependencyError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> digits = np.random.default_rng(0).random((5, 28, 28))
    >>> ax = image_grid({"input": digits, "negative": 1 - digits}, Figure().subplots())
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['input', 'negative']
    """
    stacks = _stacks(rows)
    ax = axes(ax)
    first = stacks[next(iter(stacks))]
    low, high = float(first.min()), float(first.max())
    mosaic = _mosaic(stacks)
    if mosaic.ndim == 3:
        # Colours have no scale of their own in matplotlib: they must lie in [0, 1]. Gaps between
        # images are transparent.
        gap = np.isnan(mosaic[..., :1])
        scaled = np.clip((np.nan_to_num(mosaic) - low) / max(high - low, 1e-12), 0, 1)
        mosaic = np.concatenate([scaled, 1.0 - gap], axis=2)
    _show(ax, mosaic, list(stacks), "gray", low, high)
    return ax


@checked
def difference_grid(
    difference: ArrayLike,
    ax: Axes | None = None,
    *,
    limit: float | None = None,
    name: str = "difference",
) -> Axes:
    r"""Draw differences of images on a scale of their own: blue below zero, red above.

    Parameters
    ----------
    difference : float [n, H, W] or [n, H, W, C]
        Of colours the mean is drawn.
    ax : Axes, optional
        Where to draw; the default is a new pyplot figure.
    limit : float, optional
        Value of the darkest red; the default is the largest magnitude. It is written beside the
        row, under its name.
    name : str

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If it is not of such a shape.
    MissingDependencyError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> ax = difference_grid(np.full((2, 4, 4), -0.25), Figure().subplots())
    >>> ax.get_yticklabels()[0].get_text()
    'difference\n±0.25'
    """
    values = _stacks({name: difference})[name]
    ax = axes(ax)
    if values.ndim == 4:
        values = values.mean(axis=3)
    reach = float(np.abs(values).max(initial=0.0)) if limit is None else limit
    shown = f"{name}\n±{reach:.2g}"
    # A scale needs an extent, also where nothing differs.
    _show(ax, _mosaic({shown: values}), [shown], "RdBu_r", -(reach or 1.0), reach or 1.0)
    return ax


@checked
def dictionary(
    vectors: ArrayLike,
    ax: Axes | None = None,
    *,
    image_shape: ImageShape | None = None,
    per_row: int = ELEMENTS_PER_ROW,
    title: str = "",
) -> Axes:
    """Draw elements of a dictionary, each on its own scale: what counts is its shape.

    Parameters
    ----------
    vectors : float [n, M]
        What one spike of each neuron adds to the reconstruction.
    ax : Axes, optional
        Where to draw; the default is a new pyplot figure.
    image_shape : tuple of int, optional
        (H, W) or (C, H, W); see :func:`as_images`.
    per_row : int
    title : str

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If there is no element, or the shape does not fit.
    MissingDependencyError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> vectors = np.random.default_rng(0).normal(size=(40, 64))
    >>> ax = dictionary(vectors, Figure().subplots(), image_shape=(8, 8), per_row=10)
    >>> ax.images[0].get_array().shape
    (40, 100)
    """
    shown = real_array("dictionary", vectors).astype(float)
    if shown.ndim != 2 or not shown.size:
        raise InputError(
            f"dictionary: expected elements [n, M], at least one; got shape {list(shown.shape)}"
        )
    scaled = shown / np.maximum(np.abs(shown).max(axis=1, keepdims=True), 1e-12)
    per_row = min(check_whole("per_row", per_row, 1, MOST_PER_ROW), len(scaled))
    blank = np.full((-len(scaled) % per_row, scaled.shape[1]), np.nan)
    images = as_images(np.concatenate([scaled, blank]), image_shape)
    rows = {f"{i}": images[i : i + per_row] for i in range(0, len(images), per_row)}
    mosaic = _mosaic(rows)
    if mosaic.ndim == 3:
        gap = np.isnan(mosaic[..., :1])
        mosaic = np.concatenate([np.nan_to_num(mosaic) / 2 + 0.5, 1.0 - gap], axis=2)
    ax = axes(ax)
    _show(ax, mosaic, [""] * len(rows), "gray", -1.0, 1.0)
    if title:
        ax.set_title(title, fontsize=10, color=INK, loc="left")
    return ax


@checked
def as_images(flat: ArrayLike, image_shape: ImageShape | None = None) -> Floats:
    """Give flat inputs [n, M] the shape of images.

    Parameters
    ----------
    flat : float [n, M]
    image_shape : tuple of int, optional
        (H, W) or (C, H, W). Without one, the squarest shape that holds M pixels.

    Returns
    -------
    float [n, H, W], or [n, H, W, C] with colour

    Raises
    ------
    InputError
        If the shape does not hold M pixels.

    Examples
    --------
    >>> import numpy as np
    >>> as_images(np.zeros((2, 12))).shape
    (2, 3, 4)
    >>> as_images(np.zeros((2, 12)), (3, 2, 2)).shape
    (2, 2, 2, 3)
    """
    values = real_array("as_images", flat).astype(float)
    if values.ndim != 2:
        raise InputError(f"as_images: expected flat images [n, M], got {list(values.shape)}")
    pixels = values.shape[1]
    shape = _squarest(pixels) if image_shape is None else _shape(image_shape)
    if math.prod(shape) != pixels:
        raise InputError(f"image_shape {'x'.join(map(str, shape))} does not hold {pixels} pixels")
    images = values.reshape(len(values), *shape)
    return images if len(shape) == 2 else np.moveaxis(images, 1, -1)


def _shape(given: ImageShape) -> tuple[int, ...]:
    sides = real_array("image_shape", given)
    if sides.dtype.kind not in "iu" or sides.shape not in ((2,), (3,)) or (sides < 1).any():
        raise InputError(f"image_shape: expected (H, W) or (C, H, W), got {show(given)}")
    return tuple(sides.tolist())


def _squarest(pixels: int) -> tuple[int, int]:
    height = max((h for h in range(1, int(pixels**0.5) + 1) if pixels % h == 0), default=0)
    return height, pixels // height if height else 0


def _stacks(rows: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    stacks = {name: real_array(name, images).astype(float) for name, images in rows.items()}
    shapes = {images.shape for images in stacks.values()}
    if len(shapes) != 1 or any(len(s) not in (3, 4) or 0 in s for s in shapes):
        got = ", ".join(str(list(shape)) for shape in shapes) or "none"
        raise InputError(
            f"images: expected one or more rows, all [n, H, W] or all [n, H, W, C], of one shape; "
            f"got {got}"
        )
    return stacks


def _mosaic(stacks: Mapping[str, Floats]) -> Floats:
    edges = [(0, 0), (1, 1), (1, 1), (0, 0)]
    rows = [
        np.concatenate(list(np.pad(images, edges[: images.ndim], constant_values=np.nan)), axis=1)
        for images in stacks.values()
    ]
    return np.concatenate(rows, axis=0)


def _show(ax: Axes, mosaic: Floats, names: list[str], cmap: str, low: float, high: float) -> None:
    # Not interpolated: vector formats then keep the pixels as they are.
    ax.imshow(mosaic, cmap=cmap, vmin=low, vmax=high, interpolation="none")
    height = len(mosaic) // len(names)
    ax.set_yticks([height * (i + 0.5) - 0.5 for i in range(len(names))], names)
    ax.tick_params(length=0, labelsize=9, labelcolor=INK)
    ax.set_xticks([])
    hide_frame(ax, "left", "bottom", "top", "right")
