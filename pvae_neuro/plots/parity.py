"""Figures of a parity check. Each helper draws on the ``ax`` it is given and returns it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.utils.optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLOAT_COLOR = "#2b6cb0"
INTEGER_COLOR = "#dd6b20"
DIFFERENCE_COLOR = "#c53030"
INK = "#2d3748"


def image_grid(rows: dict[str, NDArray[np.floating[Any]]], ax: Axes | None = None) -> Axes:
    """Draw rows of images, each row under its name.

    Parameters
    ----------
    rows : dict of str to float [n, H, W] or [n, H, W, C]
        All of one shape. The scale spans the values of the first row.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = ax or new_axes()
    stacks = [_padded(np.asarray(images, float)) for images in rows.values()]
    first = np.asarray(next(iter(rows.values())), float)
    mosaic = np.concatenate([np.concatenate(list(stack), axis=1) for stack in stacks], axis=0)
    low, high = first.min(), first.max()
    if mosaic.ndim == 3:
        # Colours have no scale of their own in matplotlib: they must lie in [0, 1].
        mosaic = np.nan_to_num(np.clip((mosaic - low) / max(high - low, 1e-12), 0, 1), nan=1.0)
    ax.imshow(mosaic, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    height = stacks[0].shape[1]
    ax.set_yticks([height * (i + 0.5) - 0.5 for i in range(len(rows))], list(rows))
    ax.tick_params(length=0, labelsize=9, labelcolor=INK)
    ax.set_xticks([])
    _hide_frame(ax, "left", "bottom", "top", "right")
    return ax


def _padded(images: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    edges = [(0, 0), (1, 1), (1, 1), (0, 0)]
    return np.pad(images, edges[: images.ndim], constant_values=np.nan)


def raster(
    counts: NDArray[Any], ax: Axes | None = None, *, color: str = INTEGER_COLOR, title: str = ""
) -> Axes:
    """Draw spikes over iterations, one line per neuron; larger counts make larger dots.

    Parameters
    ----------
    counts : [T, K]
    ax : Axes, optional
    color, title : str

    Returns
    -------
    Axes
    """
    ax = ax or new_axes()
    step, neuron = np.nonzero(counts)
    size = 2.0 * np.asarray(counts, float)[step, neuron]
    ax.scatter(step, neuron, s=size, color=color, linewidths=0)
    ax.set_xlim(-0.5, len(counts) - 0.5)
    ax.set_ylim(-0.5, counts.shape[1] - 0.5)
    _label(ax, "iteration", "neuron", title)
    return ax


def mark_differences(a: NDArray[Any], b: NDArray[Any], ax: Axes) -> Axes:
    """Circle the places where two rasters [T, K] differ."""
    step, neuron = np.nonzero(np.asarray(a) != np.asarray(b))
    ax.scatter(
        step, neuron, s=26, facecolors="none", edgecolors=DIFFERENCE_COLOR, linewidths=0.8, zorder=3
    )
    return ax


def traces(
    potentials_float: NDArray[np.floating[Any]],
    potentials_integer: NDArray[np.floating[Any]],
    ax: Axes | None = None,
    *,
    title: str = "",
) -> Axes:
    """Draw the potential of one neuron: float as a line, integers as dots.

    Parameters
    ----------
    potentials_float, potentials_integer : float [T]
        Log-rate, after each update.
    ax : Axes, optional
    title : str

    Returns
    -------
    Axes
    """
    ax = ax or new_axes()
    ax.plot(potentials_float, color=FLOAT_COLOR, lw=1.6, label="float")
    ax.plot(potentials_integer, ".", color=INTEGER_COLOR, ms=4.5, label="integer")
    _label(ax, "iteration", "u", title)
    return ax


def by_iteration(
    values: Mapping[str, Sequence[float] | NDArray[np.floating[Any]]],
    ax: Axes | None = None,
    *,
    ylabel: str = "",
    title: str = "",
) -> Axes:
    """Draw quantities over iterations; the first as a line, the others dashed on top of it.

    Parameters
    ----------
    values : dict of str to [T]
    ax : Axes, optional
    ylabel, title : str

    Returns
    -------
    Axes
    """
    ax = ax or new_axes()
    colors = (FLOAT_COLOR, INTEGER_COLOR, INK)
    for place, (name, series) in enumerate(values.items()):
        style: Any = {"ls": "-", "lw": 2.4} if place == 0 else {"ls": (0, (3, 2)), "lw": 1.8}
        steps = np.arange(1, len(series) + 1)
        ax.plot(steps, series, color=colors[place % len(colors)], label=name, **style)
    ax.legend(frameon=False, fontsize=9)
    _label(ax, "iteration", ylabel, title)
    return ax


def new_axes() -> Axes:
    """Make axes on a new pyplot figure.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib import pyplot

    ax: Axes = pyplot.subplots(layout="constrained")[1]
    return ax


def require_matplotlib() -> None:
    """Raise :class:`MissingDependencyError` where matplotlib is missing."""
    require("matplotlib.figure", "report", "figures")


def as_images(
    flat: NDArray[np.floating[Any]], image_shape: tuple[int, ...] | None
) -> NDArray[np.floating[Any]]:
    """Give flat inputs [n, M] the shape of images.

    Parameters
    ----------
    flat : float [n, M]
    image_shape : tuple of int or None
        (H, W) or (C, H, W). Without one, the squarest shape that holds M pixels.

    Returns
    -------
    float [n, H, W], or [n, H, W, C] with colour
    """
    pixels = flat.shape[1]
    shape = image_shape or _squarest(pixels)
    if math.prod(shape) != pixels:
        raise InputError(f"image_shape {'x'.join(map(str, shape))} does not hold {pixels} pixels")
    images = flat.reshape(len(flat), *shape)
    return images if len(shape) == 2 else np.moveaxis(images, 1, -1)


def _squarest(pixels: int) -> tuple[int, int]:
    height = max(h for h in range(1, int(pixels**0.5) + 1) if pixels % h == 0)
    return height, pixels // height


def _label(ax: Axes, xlabel: str, ylabel: str, title: str) -> None:
    ax.set_xlabel(xlabel, fontsize=9, color=INK)
    ax.set_ylabel(ylabel, fontsize=9, color=INK)
    if title:
        ax.set_title(title, fontsize=10, color=INK, loc="left")
    ax.tick_params(labelsize=8, colors=INK)
    _hide_frame(ax, "top", "right")


def _hide_frame(ax: Axes, *sides: str) -> None:
    for side in sides:
        ax.spines[side].set_visible(False)
