"""What all figures share: colours, axes, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvae_neuro.errors import InputError
from pvae_neuro.utils.optional import require
from pvae_neuro.utils.show import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLOAT_COLOR = "#2b6cb0"
INTEGER_COLOR = "#dd6b20"
DIFFERENCE_COLOR = "#c53030"
INK = "#2d3748"
GUIDE = "#94a3b8"
"""Colour of limits and of zero."""


def require_matplotlib() -> None:
    """Raise :class:`MissingDependencyError` where matplotlib is missing."""
    require("matplotlib.figure", "report", "figures")


def axes(ax: Axes | None) -> Axes:
    """The axes to draw on: those given, else some on a new pyplot figure.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    InputError
        If these are no axes.
    """
    require_matplotlib()
    if ax is None:
        from matplotlib import pyplot

        made: Axes = pyplot.subplots(layout="constrained")[1]
        return made
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise InputError(f"ax: expected matplotlib axes, got {show(ax)}")
    return ax


def iterations(ax: Axes, last: int) -> None:
    """Let the horizontal axis hold the iterations 1 to ``last``."""
    from matplotlib.ticker import MaxNLocator

    margin = max(0.5, 0.01 * last)
    ax.set_xlim(1 - margin, last + margin)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def label(ax: Axes, xlabel: str, ylabel: str, title: str) -> None:
    """Name both axes and remove the upper and right sides of the frame."""
    ax.set_xlabel(xlabel, fontsize=9, color=INK)
    ax.set_ylabel(ylabel, fontsize=9, color=INK)
    if title:
        ax.set_title(title, fontsize=10, color=INK, loc="left")
    ax.tick_params(labelsize=9, colors=INK)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(INK)
    hide_frame(ax, "top", "right")


def legend(ax: Axes) -> None:
    """Show the legend of named lines, without a frame."""
    ax.legend(frameon=False, fontsize=9, labelcolor=INK)


def hide_frame(ax: Axes, *sides: str) -> None:
    """Remove sides of the frame."""
    for side in sides:
        ax.spines[side].set_visible(False)
