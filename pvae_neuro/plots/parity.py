"""Figures of a parity check, over iterations 1 to T."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.plots.style import (
    DIFFERENCE_COLOR,
    FLOAT_COLOR,
    GUIDE,
    INK,
    INTEGER_COLOR,
    axes,
    iterations,
    label,
    legend,
)
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.arrays import real_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_VECTOR_DOTS = 6000
"""More spikes than these become one picture: a file of vectors would be too large to open."""


@checked
def raster(
    counts: ArrayLike, ax: Axes | None = None, *, color: str = INTEGER_COLOR, title: str = ""
) -> Axes:
    """Draw spikes over iterations, one line per neuron; larger counts make larger dots.

    Parameters
    ----------
    counts : [T, K]
        Counts drawn in iterations 1 to T.
    ax : Axes, optional
        Where to draw; the default is a new pyplot figure.
    color, title : str

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If the counts are of another shape.
    MissingDependencyError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> counts = np.random.default_rng(0).poisson(0.1, (32, 100))
    >>> raster(counts, Figure().subplots()).get_xlabel()
    'iteration'
    """
    shown = _two_dimensional("raster", counts)
    ax = axes(ax)
    many = np.count_nonzero(shown) > MOST_VECTOR_DOTS
    # A line for each count: in vector formats its dots are then copies of one.
    for count in np.unique(shown[shown > 0]):
        step, neuron = np.nonzero(shown == count)
        ax.plot(
            step + 1, neuron, "o", ms=math.sqrt(0.7 * count), color=color, mew=0, rasterized=many
        )
    iterations(ax, len(shown))
    ax.set_ylim(-0.5, shown.shape[1] - 0.5)
    label(ax, "iteration", "neuron", title)
    return ax


@checked
def mark_differences(a: ArrayLike, b: ArrayLike, ax: Axes) -> Axes:
    """Circle the places where two rasters [T, K] differ.

    Raises
    ------
    InputError
        If their shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> a, b = np.zeros((4, 3), int), np.eye(4, 3, dtype=int)
    >>> ax = mark_differences(a, b, raster(b, Figure().subplots()))
    >>> len(ax.lines[-1].get_xdata())
    3
    """
    first, second = (_two_dimensional("mark_differences", counts) for counts in (a, b))
    if first.shape != second.shape:
        raise InputError(
            f"mark_differences: expected rasters of one shape, got {list(first.shape)} and "
            f"{list(second.shape)}"
        )
    step, neuron = np.nonzero(first != second)
    ax = axes(ax)
    ax.plot(
        step + 1, neuron, "o", ms=3, mfc="none", mec=DIFFERENCE_COLOR, mew=0.6, zorder=3,
        rasterized=len(step) > MOST_VECTOR_DOTS,
    )  # fmt: skip
    return ax


@checked
def potentials(
    by_float: ArrayLike,
    by_integer: ArrayLike,
    ax: Axes | None = None,
    *,
    clamp: float | None = None,
    title: str = "",
) -> Axes:
    """Draw the potential of one neuron: float as a line, integers as dots, and its upper clamp.

    Parameters
    ----------
    by_float, by_integer : float [T]
        Log-rate u after iterations 1 to T.
    ax : Axes, optional
        Where to draw; the default is a new pyplot figure.
    clamp : float, optional
        Upper bound of u, drawn as a dashed line.
    title : str

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If the two are not [T].
    MissingDependencyError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> u = np.linspace(-2, 3, 20)
    >>> ax = potentials(u, np.round(u, 2), Figure().subplots(), clamp=3.65)
    >>> ax.get_ylim()[1] > 3.65
    True
    """
    pair = {"float": by_float, "integer": by_integer}
    curves = {name: _one_dimensional(name, values) for name, values in pair.items()}
    ax = axes(ax)
    for name, style in _POTENTIAL_STYLES.items():
        ax.plot(np.arange(1, len(curves[name]) + 1), curves[name], label=name, **style)
    iterations(ax, max(map(len, curves.values())))
    if clamp is not None:
        ax.axhline(clamp, color=GUIDE, lw=1.2, ls=(0, (4, 2)), label="clamp", zorder=1)
    label(ax, "iteration", "u", title)
    return ax


_POTENTIAL_STYLES: dict[str, dict[str, Any]] = {
    "float": {"color": FLOAT_COLOR, "lw": 1.6},
    "integer": {"color": INTEGER_COLOR, "ls": "", "marker": ".", "ms": 4.5},
}


@checked
def by_iteration(
    values: Mapping[str, ArrayLike], ax: Axes | None = None, *, ylabel: str = "", title: str = ""
) -> Axes:
    """Draw quantities over iterations; the first as a line, the others dashed on top of it.

    Parameters
    ----------
    values : dict of str to float [T]
    ax : Axes, optional
        Where to draw; the default is a new pyplot figure.
    ylabel, title : str

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If one of them is not [T].
    MissingDependencyError
        If matplotlib is not installed.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> ax = by_iteration({"float": [3, 2, 1.5], "integer": [3, 2, 1.6]}, Figure().subplots())
    >>> ax.lines[0].get_xdata().tolist()
    [1, 2, 3]
    """
    curves = {name: _one_dimensional(name, series) for name, series in values.items()}
    ax = axes(ax)
    colors = (FLOAT_COLOR, INTEGER_COLOR, INK)
    for place, (name, series) in enumerate(curves.items()):
        style: Any = {"ls": "-", "lw": 2.4} if place == 0 else {"ls": (0, (3, 2)), "lw": 1.8}
        steps = np.arange(1, len(series) + 1)
        ax.plot(steps, series, color=colors[place % len(colors)], label=name, **style)
    iterations(ax, max(map(len, curves.values()), default=1))
    legend(ax)
    label(ax, "iteration", ylabel, title)
    return ax


@checked
def difference_by_iteration(
    difference: ArrayLike,
    ax: Axes | None = None,
    *,
    margin: ArrayLike | None = None,
    limits: tuple[float | None, float | None] = (None, None),
    ylabel: str = "",
    title: str = "",
) -> Axes:
    """Draw how integers differ from float over iterations, around zero.

    Parameters
    ----------
    difference : float [T]
    ax : Axes, optional
        Where to draw; the default is a new pyplot figure.
    margin : float or float [T], optional
        Half the width of a band around the line, such as three standard errors.
    limits : tuple of float or None
        Lower and upper limit, drawn as dashed lines.
    ylabel, title : str

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If it is not [T], or the margin is neither a number nor [T].
    MissingDependencyError
        If matplotlib is not installed.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> given = Figure().subplots()
    >>> ax = difference_by_iteration([0.1, 0.2, 0.1], given, margin=0.1, limits=(None, 1.0))
    >>> ax is given
    True
    """
    values = _one_dimensional("difference", difference)
    width = None if margin is None else _widths(margin, len(values))
    ax = axes(ax)
    steps = np.arange(1, len(values) + 1)
    iterations(ax, len(values))
    ax.axhline(0.0, color=GUIDE, lw=0.8, zorder=1)
    for limit in limits:
        if limit is not None:
            ax.axhline(limit, color=DIFFERENCE_COLOR, lw=1.2, ls=(0, (4, 2)), zorder=1)
    ax.plot(steps, values, color=INTEGER_COLOR, lw=1.8)
    if width is not None:
        ax.fill_between(
            steps, values - width, values + width, color=INTEGER_COLOR, alpha=0.25, lw=0
        )
    label(ax, "iteration", ylabel, title)
    return ax


def _one_dimensional(name: str, values: ArrayLike) -> NDArray[np.float64]:
    found = real_array(name, values).astype(np.float64)
    if found.ndim != 1:
        raise InputError(f"{name}: expected a value per iteration [T], got {list(found.shape)}")
    return found


def _widths(margin: ArrayLike, steps: int) -> NDArray[np.float64]:
    found = real_array("margin", margin).astype(np.float64)
    if found.shape not in ((), (steps,)):
        raise InputError(
            f"margin: expected a number or a value per iteration [{steps}], got {list(found.shape)}"
        )
    # What is not known has no band.
    return np.broadcast_to(np.where(np.isfinite(found), found, np.nan), steps)


def _two_dimensional(name: str, counts: ArrayLike) -> NDArray[Any]:
    found = real_array(name, counts)
    if found.ndim != 2:
        raise InputError(f"{name}: expected counts [T, K], got {list(found.shape)}")
    return found
