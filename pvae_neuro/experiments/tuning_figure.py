"""The figure of the tuning experiment: the population and its medians."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.experiments.drawing import color_of, label_axes
from pvae_neuro.experiments.responses import ContrastResponse
from pvae_neuro.plots.parity import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FAINT: dict[str, Any] = {"color": "#94a3b8", "lw": 0.6, "alpha": 0.35}
_SHOWN = 60


def draw_tuning(found: dict[str, Any], figure: Figure) -> None:
    """Draw tuning curves, their widths, contrast responses and latencies.

    Parameters
    ----------
    found : dict
        What :func:`pvae_neuro.experiments.tuning.run` measured.
    figure : Figure
    """
    axes = figure.subplots(2, 3)
    _draw_curves(axes[0, 0], found)
    _draw_histogram(axes[0, 1], found["circular_variance"], np.linspace(0, 1, 21))
    label_axes(axes[0, 1], "circular variance", "neurons", "selectivity")
    _draw_histogram(axes[0, 2], found["half_width"], np.linspace(0, 90, 19))
    label_axes(axes[0, 2], "half width at half height, °", "neurons", "width of tuning")
    _draw_contrast(axes[1, 0], found)
    _draw_courses(axes[1, 1], found)
    _draw_latencies(axes[1, 2], found)


def _draw_curves(ax: Axes, found: dict[str, Any]) -> None:
    degrees, curves = np.array(found["degrees"]), np.array(found["curves"])
    spacing = 180.0 / len(degrees)
    offsets = (np.arange(len(degrees)) - len(degrees) // 2) * spacing
    centered = np.stack([np.roll(c, len(c) // 2 - int(c.argmax())) / c.max() for c in curves])
    ax.plot(offsets, centered[:_SHOWN].T, **_FAINT)
    ax.plot(offsets, np.median(centered, axis=0), color=color_of("ipvae"), lw=2, label="median")
    ax.set_xticks([-90, -45, 0, 45, 90])
    ax.legend(frameon=False, fontsize=8)
    label_axes(ax, "orientation from the best, °", "response / best", "orientation tuning")


def _draw_histogram(ax: Axes, values: list[float], bins: Any) -> None:
    numbers = np.array(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    ax.hist(numbers, bins, color=color_of("ipvae"), alpha=0.75)
    ax.axvline(float(np.median(numbers)), color=INK, lw=1.2, ls="--", label="median")
    ax.legend(frameon=False, fontsize=8)


def _draw_contrast(ax: Axes, found: dict[str, Any]) -> None:
    contrasts, responses = np.array(found["contrasts"]), np.array(found["contrast_responses"])
    fine = np.geomspace(contrasts[1] / 2, 1.0, 100)
    fitted = np.stack([ContrastResponse(**fit).at(fine) for fit in found["contrast_fits"]])
    color = color_of("ipvae")
    ax.plot(fine, fitted[:_SHOWN].T, **_FAINT)
    ax.plot(fine, np.median(fitted, axis=0), color=color, lw=2, label="median of fits")
    # Contrast 0 has no place on a logarithmic axis.
    ax.plot(contrasts[1:], np.median(responses, axis=0)[1:], "o", color=color, label="median")
    ax.set_xscale("log")
    ax.set_ylim(0, 1.1 * float(np.percentile(responses.max(axis=1), 90)))
    ax.legend(frameon=False, fontsize=8)
    label_axes(ax, "contrast", "rate, spikes/iteration", "contrast response")


def _draw_courses(ax: Axes, found: dict[str, Any]) -> None:
    courses = np.array(found["courses"])
    for place, (contrast, course) in enumerate(
        zip(found["latency_contrasts"], courses, strict=True)
    ):
        strength = 0.3 + 0.7 * (place + 1) / len(courses)
        times = np.arange(1, len(course) + 1)
        ax.plot(times, course, color=color_of("ipvae"), alpha=strength, lw=1.6,
                label=f"contrast {contrast:g}")  # fmt: skip
    # Room for the legend above the curves.
    ax.set_ylim(0, 1.4 * float(courses.max()))
    ax.legend(frameon=False, fontsize=7, ncols=2, loc="upper center")
    label_axes(ax, "iterations since onset", "mean rate, spikes/iteration", "after the onset")


def _draw_latencies(ax: Axes, found: dict[str, Any]) -> None:
    contrasts, latencies = found["latency_contrasts"], np.array(found["latencies"], np.float64)
    ax.plot(contrasts, latencies[:_SHOWN].T, **_FAINT)
    low, median, high = np.nanpercentile(latencies, [25, 50, 75], axis=0)
    color = color_of("ipvae")
    ax.fill_between(contrasts, low, high, color=color, alpha=0.2, lw=0, label="quartiles")
    ax.plot(contrasts, median, "o-", color=color, lw=2, label="median")
    ax.set_xscale("log", base=2)
    ax.set_xticks(contrasts, [f"{c:g}" for c in contrasts])
    ax.set_ylim(0, 1.15 * float(np.nanpercentile(latencies, 95)))
    ax.legend(frameon=False, fontsize=8)
    label_axes(ax, "contrast", "time to half maximum, iterations", "latency")
