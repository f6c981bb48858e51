"""Responses to gratings of a model of natural patches: orientation, contrast, and latency.

**Orientation.** Gratings of every orientation and spatial frequency drift for one cycle before
responses count and for another one while they do. A response is the rate, in spikes per iteration,
averaged over that cycle, minus the rate under a grey field. At its best frequency a neuron has a
tuning curve, with a circular variance and a half width.

**Contrast.** The same gratings with rising contrasts; each neuron is read at its best orientation
and frequency, and the Naka-Rushton function is fitted.

**Latency.** Standing gratings appear at the first iteration, in several phases; each neuron is read
at its best one, averaged over repetitions. Latency is the time from the onset to half of the
largest rise. In arXiv:2410.19315, figure 8, it falls as contrast rises, as in V1: the drive of a
membrane potential is proportional to contrast, and the distance to its threshold is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.evaluation.measures.responses import (
    ContrastResponse,
    circular_variance,
    fit_contrast_response,
    half_width,
    time_to_half,
)
from pvae_neuro.experiments.shared import published
from pvae_neuro.experiments.shared.claims import Claim, at_most, holds, unverifiable
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.gratings import (
    AMPLITUDE,
    FRAMES_PER_CYCLE,
    FULL,
    QUICK,
    Protocol,
    Standing,
    drifting_rates,
    standing_courses,
)
from pvae_neuro.experiments.shared.recipes import gabor_like_model
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import color_of, label_axes
from pvae_neuro.plots.style import GUIDE, INK
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float64 = NDArray[np.float64]

RESPONSIVE = 0.05
"""Spikes per iteration above grey from which a neuron counts as responsive."""

LATENCY_CONTRASTS = (0.125, 0.25, 0.5, 1.0)

_COLUMNS = [
    Column("responsive", "responsive neurons, share", ".3f"),
    Column("circular_variance", "circular variance, median", ".3f"),
    Column("half_width", "half width, °, median", ".1f"),
    Column("half_contrast", "c50, median", ".3f"),
    Column("exponent", "exponent n, median", ".2f"),
    Column("explained", "variance explained by Naka-Rushton, median", ".3f"),
    *(Column(f"latency_{c:g}", f"latency at contrast {c:g}, iterations", ".1f")
      for c in LATENCY_CONTRASTS),
]  # fmt: skip

Found = dict[str, Any]

_PROTOCOL = "linear iterative Poisson VAE on whitened patches of other photographs; gratings"
CLAIMS = (
    Claim(
        "orientation",
        "ipvae",
        "Neurons that respond are tuned to orientation",
        "shown, without numbers",
        f"{_PROTOCOL}; median circular variance below one half",
        at_most("circular variance", 0.5, form=".3f"),
        "hour",
    ),
    Claim(
        "contrast",
        "ipvae",
        "Responses rise with contrast",
        "shown, without numbers",
        f"{_PROTOCOL}; of the most responsive neurons, at their best orientation and frequency",
        holds("rises", f"the median response rises from {LATENCY_CONTRASTS[0]:g} on"),
        "hour",
    ),
    Claim(
        "latency",
        "ipvae",
        "Latency falls as contrast rises",
        "figure 8, without numbers",
        f"{_PROTOCOL}; median time from the onset to half of the largest rise",
        holds("falls", "the median latency falls with each step of contrast"),
        "hour",
    ),
    Claim(
        "latency-levels",
        "ipvae",
        "Latencies by contrast",
        "figure 8, without numbers",
        "ours are in the table of the experiment",
        unverifiable("published as a qualitative figure only"),
    ),
)


def run(context: Context) -> ExperimentResult:
    """Show gratings, and read tuning curves, contrast responses and latencies."""
    context.progress("train on natural patches", 0, 1)
    model = gabor_like_model(context)
    protocol = context.pick(QUICK, published=FULL)

    def measure(key: str, compute: Callable[..., Found], *before: Found) -> Found:
        return context.cached(
            key, model, partial(compute, context, model, protocol, *before),
            protocol=asdict(protocol), amplitude=AMPLITUDE, responsive=RESPONSIVE,
            contrasts=LATENCY_CONTRASTS, frames_per_cycle=FRAMES_PER_CYCLE,
        )  # fmt: skip

    found = measure("orientation", _orientation)
    found |= measure("contrast", _contrast, found)
    found |= measure("latency", _latency, found)
    figures = _figures(found)
    return ExperimentResult(
        "tuning",
        "Tuning to gratings, contrast response and its latency",
        _COLUMNS,
        [Row(model.config.family, figures, budget=budget_of(model))],
        _draw,
        found,
        _of_claims(found, figures),
        curves=found,
        notes=_notes(context, protocol, found),
        size=(9.0, 5.6),
    )


# What is shown


def _orientation(context: Context, model: SavedModel, protocol: Protocol) -> Found:
    degrees, frequencies = protocol.degrees, np.array(protocol.frequencies)
    # One more grating, of no contrast: the grey field.
    angle = np.append(np.repeat(degrees, len(frequencies)), 0.0)
    wave = np.append(np.tile(frequencies, len(degrees)), frequencies[0])
    contrast = np.append(np.ones(len(degrees) * len(frequencies)), 0.0)
    rates = drifting_rates(
        context, "orientation tuning", model, protocol,
        orientation=angle, spatial_frequency=wave, contrast=contrast,
    )  # fmt: skip
    grey = rates[-1]
    # [K, orientations, frequencies], in spikes per iteration above grey.
    above = (rates[:-1] - grey).T.reshape(-1, len(degrees), len(frequencies))
    best = above.max(axis=1).argmax(axis=1)
    curves = above[np.arange(len(above)), :, best]
    peak = curves.max(axis=1)
    chosen = np.flatnonzero(peak >= RESPONSIVE)
    chosen = chosen[np.argsort(-peak[chosen], kind="stable")]
    rectified = np.maximum(curves[chosen], 0.0)
    return {
        "latents": len(curves),
        "neurons": chosen.tolist(),
        "degrees": degrees.tolist(),
        "curves": curves[chosen].tolist(),
        "best_degrees": degrees[curves[chosen].argmax(axis=1)].tolist(),
        "best_frequency": frequencies[best[chosen]].tolist(),
        "circular_variance": circular_variance(rectified, degrees).tolist(),
        "half_width": [half_width(curve, degrees) for curve in rectified],
    }


def _contrast(context: Context, model: SavedModel, protocol: Protocol, found: Found) -> Found:
    contrasts = np.array(protocol.contrasts)
    neurons, angle, wave = _most_responsive(found, protocol.neurons)
    rates = drifting_rates(
        context, "contrast response", model, protocol,
        orientation=np.repeat(angle, len(contrasts)),
        spatial_frequency=np.repeat(wave, len(contrasts)),
        contrast=np.tile(contrasts, len(neurons)),
    ).reshape(len(neurons), len(contrasts), -1)  # fmt: skip
    responses = rates[np.arange(len(neurons)), :, neurons]
    fits = [fit_contrast_response(contrasts, response) for response in responses]
    return {
        "contrasts": contrasts.tolist(),
        "contrast_responses": responses.tolist(),
        "contrast_fits": [asdict(fit) for fit in fits],
    }


def _latency(context: Context, model: SavedModel, protocol: Protocol, found: Found) -> Found:
    neurons, angle, wave = _most_responsive(found, protocol.neurons)
    read = partial(standing_courses, context, model=model, iterations=protocol.iterations)
    shown = Standing(neurons, angle, wave, np.zeros(len(angle)))
    phased = replace(shown, phase=_best_phase(read, shown, protocol.phases))
    courses = read(
        "latency", shown=phased, contrasts=LATENCY_CONTRASTS, repetitions=protocol.repetitions
    )
    base = np.exp(model.arrays["initial_potential"][neurons].astype(np.float64))
    latencies = [
        [time_to_half(course, float(start)) for course in rows]
        for rows, start in zip(courses, base, strict=True)
    ]
    return {
        "latency_contrasts": list(LATENCY_CONTRASTS),
        "latencies": latencies,
        "courses": courses.mean(axis=0).tolist(),
    }


def _most_responsive(found: Found, count: int) -> tuple[NDArray[np.int64], Float64, Float64]:
    """Neurons, and their best orientations and frequencies."""
    keys = ("neurons", "best_degrees", "best_frequency")
    neurons, angle, wave = (np.array(found[key][:count]) for key in keys)
    return neurons.astype(np.int64), angle, wave


def _best_phase(read: Callable[..., Float64], shown: Standing, count: int) -> Float64:
    """The phase at which each neuron responds most, in degrees, [G]."""
    phases = np.arange(count) * (360.0 / count)
    phased = replace(shown.repeated(count, 1), phase=np.tile(phases, len(shown.neurons)))
    courses = read("best phase", shown=phased, contrasts=(1.0,))
    responses = courses.mean(axis=(1, 2)).reshape(-1, count)
    best: Float64 = phases[responses.argmax(axis=1)]
    return best


# Figures, checks and notes


def _figures(found: Found) -> dict[str, float]:
    latencies = np.array(found["latencies"], np.float64)
    fits = found["contrast_fits"]
    return {
        "responsive": len(found["neurons"]) / found["latents"],
        "circular_variance": float(np.nanmedian(found["circular_variance"])),
        "half_width": float(np.nanmedian(found["half_width"])),
        **{
            key: float(np.median([fit[key] for fit in fits]))
            for key in ("half_contrast", "exponent", "explained")
        },
        **{
            f"latency_{contrast:g}": float(np.nanmedian(latencies[:, i]))
            for i, contrast in enumerate(found["latency_contrasts"])
        },
    }


def _of_claims(found: Found, figures: dict[str, float]) -> dict[str, float]:
    latencies = [figures[f"latency_{c:g}"] for c in LATENCY_CONTRASTS]
    contrasts, responses = np.array(found["contrasts"]), np.array(found["contrast_responses"])
    median = np.median(responses[:, contrasts >= LATENCY_CONTRASTS[0]], axis=0)
    return {
        "circular variance": figures["circular_variance"],
        "rises": float((np.diff(median) > 0).all()),
        "falls": float((np.diff(latencies) < 0).all()),
    }


def _notes(context: Context, protocol: Protocol, found: Found) -> list[str]:
    read = min(protocol.neurons, len(found["neurons"]))
    return [
        f"{len(found['neurons'])} of {found['latents']} neurons respond with at least "
        f"{RESPONSIVE:g} spikes per iteration above grey at contrast 1; contrast response and "
        f"latency are of the {read} most responsive ones.",
        f"Contrast 1 is an amplitude of {AMPLITUDE:g} standard deviations of natural patches; a "
        f"cycle of drift is {FRAMES_PER_CYCLE} frames of {protocol.steps_per_frame} iterations.",
        "Latencies are medians over neurons, in iterations, starting from the initial potentials. "
        "A c50 near or above 1 means that responses do not saturate within the range of contrasts.",
        *published.UNVERIFIED["tuning"],
        *context.pick(["Quick version: 64 latents, a training of a minute."], hour=[]),
    ]


# The figure: single neurons behind the medians of the population

_COLOR = color_of(LINEAR_FAMILY)
_FAINT: dict[str, Any] = {"color": GUIDE, "lw": 0.6, "alpha": 0.35}
_SHOWN = 60


def _draw(figure: Figure, seeds: list[Found]) -> None:
    found = _pooled(seeds)
    axes = figure.subplots(2, 3)
    _draw_curves(axes[0, 0], found)
    _draw_histogram(axes[0, 1], found["circular_variance"], np.linspace(0, 1, 21))
    label_axes(axes[0, 1], "circular variance", "neurons", "selectivity")
    _draw_histogram(axes[0, 2], found["half_width"], np.linspace(0, 90, 19))
    label_axes(axes[0, 2], "half width at half height, °", "neurons", "width of tuning")
    _draw_contrast(axes[1, 0], found)
    _draw_courses(axes[1, 1], found)
    _draw_latencies(axes[1, 2], found)
    for ax in axes.flat:
        ax.legend(frameon=False, fontsize=8)
    # Room for the legend above the curves.
    axes[1, 1].legend(frameon=False, fontsize=7, ncols=2, loc="upper center")


def _pooled(seeds: list[Found]) -> Found:
    """Neurons of all seeds as one population; courses are means over seeds."""
    by_neuron = (
        *("curves", "circular_variance", "half_width", "contrast_responses", "contrast_fits"),
        "latencies",
    )
    pooled = {key: [value for found in seeds for value in found[key]] for key in by_neuron}
    courses = np.mean([found["courses"] for found in seeds], axis=0).tolist()
    return {**seeds[0], **pooled, "courses": courses}


def _draw_curves(ax: Axes, found: Found) -> None:
    degrees, curves = np.array(found["degrees"]), np.array(found["curves"])
    spacing = 180.0 / len(degrees)
    offsets = (np.arange(len(degrees)) - len(degrees) // 2) * spacing
    centered = np.stack([np.roll(c, len(c) // 2 - int(c.argmax())) / c.max() for c in curves])
    ax.plot(offsets, centered[:_SHOWN].T, **_FAINT)
    ax.plot(offsets, np.median(centered, axis=0), color=_COLOR, lw=2, label="median")
    ax.set_xticks([-90, -45, 0, 45, 90])
    label_axes(ax, "orientation from the best, °", "response / best", "orientation tuning")


def _draw_histogram(ax: Axes, values: list[float], bins: Any) -> None:
    numbers = np.array(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    ax.hist(numbers, bins, color=_COLOR, alpha=0.75)
    ax.axvline(float(np.median(numbers)), color=INK, lw=1.2, ls="--", label="median")


def _draw_contrast(ax: Axes, found: Found) -> None:
    contrasts, responses = np.array(found["contrasts"]), np.array(found["contrast_responses"])
    fine = np.geomspace(contrasts[1] / 2, 1.0, 100)
    fitted = np.stack([ContrastResponse(**fit).at(fine) for fit in found["contrast_fits"]])
    ax.plot(fine, fitted[:_SHOWN].T, **_FAINT)
    ax.plot(fine, np.median(fitted, axis=0), color=_COLOR, lw=2, label="median of fits")
    # A logarithmic axis has no contrast 0.
    ax.plot(contrasts[1:], np.median(responses, axis=0)[1:], "o", color=_COLOR, label="median")
    ax.set_xscale("log")
    ax.set_ylim(0, 1.1 * float(np.percentile(responses.max(axis=1), 90)))
    label_axes(ax, "contrast", "rate, spikes/iteration", "contrast response")


def _draw_courses(ax: Axes, found: Found) -> None:
    courses = np.array(found["courses"])
    for i, (contrast, course) in enumerate(zip(found["latency_contrasts"], courses, strict=True)):
        strength = 0.3 + 0.7 * (i + 1) / len(courses)
        times = np.arange(1, len(course) + 1)
        label = f"contrast {contrast:g}"
        ax.plot(times, course, color=_COLOR, alpha=strength, lw=1.6, label=label)
    ax.set_ylim(0, 1.4 * float(courses.max()))
    label_axes(ax, "iterations since onset", "mean rate, spikes/iteration", "after the onset")


def _draw_latencies(ax: Axes, found: Found) -> None:
    contrasts, latencies = found["latency_contrasts"], np.array(found["latencies"], np.float64)
    ax.plot(contrasts, latencies[:_SHOWN].T, **_FAINT)
    low, median, high = np.nanpercentile(latencies, [25, 50, 75], axis=0)
    ax.fill_between(contrasts, low, high, color=_COLOR, alpha=0.2, lw=0, label="quartiles")
    ax.plot(contrasts, median, "o-", color=_COLOR, lw=2, label="median")
    ax.set_xscale("log", base=2)
    ax.set_xticks(contrasts, [f"{c:g}" for c in contrasts])
    ax.set_ylim(0, 1.15 * float(np.nanpercentile(latencies, 95)))
    label_axes(ax, "contrast", "time to half maximum, iterations", "latency")
