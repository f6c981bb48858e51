"""Figure of what widths cost and save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pvae_neuro.errors import InputError
from pvae_neuro.plots.style import (
    DIFFERENCE_COLOR,
    FLOAT_COLOR,
    GUIDE,
    INTEGER_COLOR,
    label,
    legend,
    require_matplotlib,
)
from pvae_neuro.utils.arguments import checked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = (INTEGER_COLOR, FLOAT_COLOR, DIFFERENCE_COLOR, GUIDE)
_PANELS = (
    ("weight_bits", "bits of a weight", "mse_percent", "MSE above float, %"),
    ("weight_bits", "bits of a weight", "zeros_points", "zeros above float, points"),
    ("kilobytes", "memory, kB", "mse", "MSE"),
    ("synops", "synaptic operations an iteration", "mse", "MSE"),
)


@checked
def pareto_figure(points: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw MSE and zeros against widths, memory and synaptic operations.

    Parameters
    ----------
    points : sequence of mappings
        As in ``pareto(...).to_dict()["points"]``.

    Returns
    -------
    Figure
        Points to which no other is preferable are filled.

    Raises
    ------
    InputError
        If there is no point.
    MissingDependencyError
        If matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    if not points:
        raise InputError("pareto_figure: expected at least one point, got none")
    figure = Figure(figsize=(9, 7), layout="constrained")
    curves = dict.fromkeys((str(p["topology"]), int(p["frac_bits"])) for p in points)
    for ax, (x, xlabel, y, ylabel) in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
        for number, curve in enumerate(curves):
            held = [p for p in points if (p["topology"], p["frac_bits"]) == curve]
            _curve(ax, held, x, y, _COLORS[number % len(_COLORS)], "{}, {} bits".format(*curve))
        if x == "synops":
            ax.set_xscale("log")
        if y == "mse_percent":
            ax.set_yscale("symlog")
        label(ax, xlabel, ylabel, "")
    legend(figure.axes[0])
    return figure


def _curve(
    ax: Axes, points: Sequence[Mapping[str, Any]], x: str, y: str, color: str, name: str
) -> None:
    held = sorted(points, key=lambda point: point[x])
    ax.plot([p[x] for p in held], [p[y] for p in held], "-", lw=1, color=color, label=name)
    for point in held:
        face = color if point["best"] else "white"
        ax.plot(point[x], point[y], "o", ms=5, color=color, mfc=face)
