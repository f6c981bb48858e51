"""The figure of the out-of-distribution experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.experiments.drawing import color_of, label_axes, legend_below
from pvae_neuro.experiments.latents import is_amortized
from pvae_neuro.plots.parity import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DRAWN = ("ipvae-linear", "savae", "iavae", "igvae", "lca")
"""Families that are drawn beside the best encoder of each kind; the others are in the table."""

_HIGHEST = 15.0
"""Error at which panels end, if a model runs away."""


def draw_ood(found: dict[str, Any], angles: list[float], panels: list[str], figure: Figure) -> None:
    """Draw errors over iterations on some sets, and errors and accuracy over angles.

    Parameters
    ----------
    found : dict
        By family, as :func:`pvae_neuro.experiments.ood.run` measured.
    angles : list of float
        In degrees, in the order of the sets.
    panels : list of str
        Sets whose errors are drawn over iterations.
    figure : Figure
    """
    drawn = [name for name in _DRAWN if name in found]
    names = [*drawn, *_best_encoders(found, panels[0])]
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.0, 1.12))
    upper = top.subplots(1, len(panels), squeeze=False)[0]
    for ax, panel in zip(upper, panels, strict=True):
        _draw_iterations(ax, found, names, panel)
    upper[0].set_ylabel("error / variance", fontsize=9)
    upper[-1].plot([], [], color=INK, ls="--", lw=1.4, label="one pass")
    upper[-1].legend(frameon=False, fontsize=8, loc="lower left")
    lower = bottom.subplots(1, 2)
    turned = list(found[names[0]]["errors"])[: len(angles)]
    for name in names:
        color = color_of(name)
        errors = [found[name]["errors"][key][-1] for key in turned]
        lower[0].plot(angles, np.minimum(errors, _HIGHEST), "o-", color=color, ms=4, label=name)
        accuracy = [found[name]["accuracy"].get(key, np.nan) for key in turned]
        lower[1].plot(angles, accuracy, "o-", color=color, ms=4, label=name)
    label_axes(lower[0], "angle of the digits, °", "error / variance", "reconstruction")
    label_axes(lower[1], "angle of the digits, °", "accuracy", "logistic regression, upright")
    lower[0].set_ylim(bottom=0.0)
    lower[1].set_ylim(0.0, 1.0)
    legend_below(bottom, list(lower), columns=7)


def _best_encoders(found: dict[str, Any], panel: str) -> list[str]:
    """Of Poisson and of Gaussian encoders, the one that errs least."""
    chosen = []
    for kind in ("pvae-", "gvae-"):
        own = [name for name in found if is_amortized(name) and name.startswith(kind)]
        if own:
            chosen.append(min(own, key=lambda name: found[name]["errors"][panel][-1]))
    return chosen


def _draw_iterations(ax: Axes, found: dict[str, Any], names: list[str], panel: str) -> None:
    curves = {name: np.array(found[name]["errors"][panel]) for name in names}
    highest = max(float(curve[-1]) for curve in curves.values() if np.isfinite(curve[-1]))
    for name, curve in curves.items():
        if len(curve) == 1:
            # One pass: a level, dashed, as there is nothing to iterate.
            ax.axhline(float(curve[0]), color=color_of(name), ls="--", lw=1.4)
        else:
            ax.plot(np.arange(1, len(curve) + 1), curve, color=color_of(name), lw=1.6)
    ax.set_xscale("log")
    ax.set_xlim(1, max(len(curve) for curve in curves.values()))
    ax.set_ylim(0.0, 1.15 * min(highest, _HIGHEST))
    label_axes(ax, "iteration", "", panel)
