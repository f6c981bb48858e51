"""The figures of the report: small ones, which a page can set side by side or below each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.plots.images import as_images, difference_grid, image_grid
from pvae_neuro.plots.parity import (
    by_iteration,
    difference_by_iteration,
    mark_differences,
    potentials,
    raster,
)
from pvae_neuro.plots.style import FLOAT_COLOR, INK, INTEGER_COLOR, legend
from pvae_neuro.plots.svg import inline_svg
from pvae_neuro.verification.against_float import STANDARD_ERRORS, FloatResult
from pvae_neuro.verification.traces import Traces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRACED_NEURONS = 6
IMAGES_PER_PANEL = 4
# Inches: a panel is about 330 px wide on a page, so that a text of 9 points is 12 px high.
WIDTH, HEIGHT = 3.3, 2.1


@dataclass(frozen=True)
class Group:
    """Figures that belong together.

    Attributes
    ----------
    title, note : str
    panels : tuple of str
        Elements ``<svg>``.
    """

    title: str
    note: str
    panels: tuple[str, ...]


def report_figures(result: FloatResult, traces: Traces, salt: str) -> list[Group]:
    """All figures of a comparison with float; ``salt`` differs between the parts of a page."""
    from matplotlib import style

    # What a user has set for figures of their own does not change the page.
    with style.context("default"):
        return [
            Group(title, note, tuple(_drawn(panels, f"{salt} {title}")))
            for title, note, panels in (
                _pictures(traces),
                _curves(result, traces),
                _rasters(traces),
                _potentials(traces),
            )
        ]


Panels = Mapping[str, "Figure"]


def _drawn(panels: Panels, salt: str) -> Iterator[str]:
    for label, figure in panels.items():
        yield inline_svg(figure, label, f"{salt} {label}")


def _figure(height: float) -> Figure:
    # Not through pyplot: a library must not start a display or keep figures open.
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height))


def _axes(height: float = HEIGHT) -> Axes:
    """Axes of a figure with room for its texts; a layout engine takes as long as the drawing."""
    ax: Axes = _figure(height).add_axes((0.19, 0.4 / height, 0.79, 1 - 0.65 / height))
    return ax


def _figures(axes: Mapping[str, Axes]) -> Panels:
    return {name: cast("Figure", ax.figure) for name, ax in axes.items()}


def _pictures(traces: Traces) -> tuple[str, str, Panels]:
    flat = {
        "input": traces.inputs,
        "float": traces.reconstruction_float,
        "integer": traces.reconstruction_integer,
    }
    images = {name: as_images(values, traces.image_shape) for name, values in flat.items()}
    difference = images["integer"] - images["float"]
    limit = float(np.abs(difference).max(initial=0.0))
    deviation = float(np.sqrt(np.square(difference).mean()))
    low, high = float(traces.inputs.min()), float(traces.inputs.max())
    note = (
        f"One Poisson sample of the last state, float and integer under the same random words; "
        f"black is {low:.3g}, white {high:.3g}. Below, on a scale of its own, the difference, "
        f"integer minus float: blue to {-limit:.2g}, red to {limit:.2g}; its root mean square is "
        f"{deviation:.2g}."
    )
    panels = {}
    for first in range(0, len(difference), IMAGES_PER_PANEL):
        rows = slice(first, first + IMAGES_PER_PANEL)
        shown = {name: stack[rows] for name, stack in images.items()}
        last = first + len(difference[rows])
        panels[f"samples {first + 1} to {last}"] = _picture(shown, difference[rows], limit)
    return "Inputs and reconstructions", note, panels


def _picture(rows: dict[str, NDArray[Any]], difference: NDArray[Any], limit: float) -> Figure:
    count, height, width = difference.shape[:3]
    # Fewer images than a panel holds are not drawn larger. Widths in inches: first the names.
    names, room = 0.8, WIDTH - 0.8
    side = room / max(count, IMAGES_PER_PANEL)
    row, gap = side * height / width, 0.12
    figure = _figure(4 * row + gap)
    whole, share = 4 * row + gap, count * side / WIDTH
    upper = figure.add_axes((names / WIDTH, 1 - 3 * row / whole, share, 3 * row / whole))
    lower = figure.add_axes((names / WIDTH, 0, share, row / whole))
    image_grid(rows, upper)
    difference_grid(difference, lower, limit=limit)
    return figure


def _curves(result: FloatResult, traces: Traces) -> tuple[str, str, Panels]:
    theirs, ours = result.by_float, result.by_integer
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = 100 * (ours.mse / theirs.mse - 1)
    axes = {
        "squared error": _pair(theirs.mse, ours.mse),
        "squared error, integer − float, %": difference_by_iteration(
            percent,
            _axes(),
            margin=STANDARD_ERRORS * result.mse_errors,
            limits=(None, result.mse.tolerance),
        ),
        "R² about the mean image": _pair(theirs.r2_mean_image, ours.r2_mean_image),
        "silent neurons, %": _pair(100 * theirs.zeros, 100 * ours.zeros),
        "spikes of a sample": _pair(
            _per_sample(traces.counts_float), _per_sample(traces.counts_integer)
        ),
        f"counts at the largest, {traces.max_count}, %": _pair(
            100 * theirs.capped, 100 * ours.capped
        ),
    }
    note = (
        f"Of the counts drawn after each iteration; the error is summed over pixels. Means over "
        f"all samples and seeds, spikes over the first {len(traces.inputs)}. The band is "
        f"{STANDARD_ERRORS:g} standard errors wide to either side, the dashed red line is the "
        f"tolerance after the last iteration."
    )
    for name, ax in axes.items():
        ax.set_title(name, fontsize=10, color=INK, loc="left")
    return "By iteration", note, _figures(axes)


def _pair(theirs: ArrayLike, ours: ArrayLike) -> Axes:
    return by_iteration({"float": theirs, "integer": ours}, _axes())


def _per_sample(counts: NDArray[Any]) -> NDArray[np.float64]:
    return counts.sum(axis=2, dtype=np.float64).mean(axis=0)


def _rasters(traces: Traces) -> tuple[str, str, Panels]:
    by_float, by_integer = traces.counts_float[0], traces.counts_integer[0]
    axes = {
        "float": raster(by_float, _axes(2.8), color=FLOAT_COLOR, title="float"),
        "integer": raster(by_integer, _axes(2.8), color=INTEGER_COLOR, title="integer"),
    }
    mark_differences(by_float, by_integer, axes["integer"])
    different = int(np.count_nonzero(by_float != by_integer))
    note = (
        f"Counts drawn after each iteration; a larger dot is a larger count. Red circles mark the "
        f"{different:,} of {by_float.size:,} counts that differ."
    )
    return "Spikes of the first sample", note, _figures(axes)


def _potentials(traces: Traces) -> tuple[str, str, Panels]:
    activity = traces.counts_integer[0].sum(axis=0, dtype=np.int64)
    neurons = np.sort(np.argsort(activity, kind="stable")[::-1][:TRACED_NEURONS])
    by_float, by_integer = traces.potentials_float[0], traces.potentials_integer[0]
    axes = {}
    for place, neuron in enumerate(neurons.tolist()):
        ax = potentials(
            by_float[:, neuron], by_integer[:, neuron], _axes(),
            clamp=traces.largest_potential, title=f"neuron {neuron}",
        )  # fmt: skip
        if place == 0:
            legend(ax)
        axes[f"neuron {neuron}"] = ax
    note = (
        f"Log-rate u after each iteration, of its {len(axes)} most active neurons: float as a "
        f"line, integers as dots. The dashed line is the clamp: u stays below "
        f"{traces.largest_potential:.3g}, a rate of {np.exp(traces.largest_potential):.3g} spikes."
    )
    return "Membrane potentials of the first sample", note, _figures(axes)
