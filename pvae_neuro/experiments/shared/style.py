"""The common look of figures: a colour per family; ours filled, published hollow and dashed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.experiments.shared.families import COLORS
from pvae_neuro.plots.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float64 = NDArray[np.float64]

OURS: dict[str, Any] = {"ls": "-", "lw": 1.8}
PUBLISHED: dict[str, Any] = {"ls": (0, (3, 2)), "lw": 1.0, "marker": "o", "ms": 5, "mfc": "white"}
"""Line styles, arguments of ``Axes.plot``."""


def color_of(family: str) -> str:
    """Colour of a model family."""
    return COLORS[family]


def band(ax: Axes, x: ArrayLike, seeds: Sequence[ArrayLike], *, color: str, **style: Any) -> None:
    """Draw the mean of a curve over seeds and, where there are several, one deviation around it.

    ``x`` [T] is the same for all of ``seeds``, each [T]; ``style`` are arguments of ``Axes.plot``.
    """
    mean, sd = _mean_and_sd(seeds)
    ax.plot(x, mean, color=color, **style)
    if len(seeds) > 1:
        ax.fill_between(x, mean - sd, mean + sd, color=color, alpha=0.2, lw=0)


def crosses(
    ax: Axes,
    x_seeds: Sequence[ArrayLike],
    y_seeds: Sequence[ArrayLike],
    *,
    color: str,
    **style: Any,
) -> None:
    """Draw points that vary over seeds in both directions: means, with one deviation each way.

    Points [P] are joined in the order of their mean x; ``style`` are arguments of ``Axes.plot``.
    """
    x, x_sd = _mean_and_sd(x_seeds)
    y, y_sd = _mean_and_sd(y_seeds)
    order = np.argsort(x, kind="stable")
    ax.plot(x[order], y[order], color=color, **style)
    if len(x_seeds) > 1:
        ax.errorbar(x, y, xerr=x_sd, yerr=y_sd, fmt="none", ecolor=color, elinewidth=0.9)


def _mean_and_sd(seeds: Sequence[ArrayLike]) -> tuple[Float64, Float64]:
    values = np.array(seeds, np.float64)
    return values.mean(axis=0), values.std(axis=0, ddof=min(1, len(values) - 1))


def label_axes(ax: Axes, xlabel: str, ylabel: str, title: str = "") -> None:
    """Name both axes, with units, and remove the upper and right sides of the frame."""
    ax.set_xlabel(xlabel, fontsize=9, color=INK)
    ax.set_ylabel(ylabel, fontsize=9, color=INK)
    if title:
        ax.set_title(title, fontsize=10, color=INK, loc="left")
    ax.tick_params(labelsize=8, colors=INK)
    ax.grid(True, color="#e2e8f0", lw=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def log_errors(ax: Axes) -> None:
    """A logarithmic y axis for errors within a few powers of ten: plain numbers, close together."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    steps = (1, 2, 5) if high > 5 * low else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    ax.yaxis.set_major_locator(LogLocator(subs=steps))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, axes: Sequence[Axes], columns: int = 6) -> None:
    """One legend for all axes, under them, each label once; needs constrained layout."""
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            list(entries.values()), list(entries), loc="outside lower center",
            ncols=min(columns, len(entries)), frameon=False, fontsize=8, labelcolor=INK,
        )  # fmt: skip
