"""Gratings shown to a model of natural patches: orientation, contrast, and when neurons respond.

**Orientation.** Gratings of every orientation and spatial frequency drift for one cycle before
responses count and for another one while they do. A response is the rate, in spikes an iteration,
averaged over that cycle, less that to a grey field. At its best frequency a neuron has a tuning
curve, with a circular variance and a half width.

**Contrast.** The same gratings at rising contrasts; each neuron is read at its best orientation
and frequency, and the Naka-Rushton function fitted.

**Latency.** Gratings that stand still come on at the first iteration, in several phases; each
neuron is read in its best one, averaged over repetitions. Latency is the time from the onset to
half of the largest rise. In arXiv:2410.19315, figure 8, it falls as contrast rises, as in V1: the
drive of a membrane potential is proportional to contrast, the way it has to go is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.experiments import published
from pvae_neuro.experiments.context import Context, budget_of
from pvae_neuro.experiments.gratings_shown import (
    AMPLITUDE,
    FRAMES_PER_CYCLE,
    FULL,
    QUICK,
    Protocol,
    Standing,
    drifting_rates,
    standing_courses,
)
from pvae_neuro.experiments.latents import weights_digest
from pvae_neuro.experiments.natural import natural_model
from pvae_neuro.experiments.responses import (
    Float64,
    circular_variance,
    fit_contrast_response,
    half_width,
    time_to_half,
)
from pvae_neuro.experiments.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.tuning_figure import draw_tuning
from pvae_neuro.saved.model_file import SavedModel

RESPONSIVE = 0.05
"""Spikes an iteration above grey, from which on a neuron counts as responsive."""

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


def run(context: Context) -> ExperimentResult:
    """Show gratings, and read tuning curves, contrast responses and latencies.

    Parameters
    ----------
    context : Context

    Returns
    -------
    ExperimentResult

    Raises
    ------
    InputError
        If the patches are absent.
    """
    context.tell("train on natural patches", 0, 1)
    model = natural_model(context)
    protocol: Protocol = context.choose(QUICK, FULL)
    digest = weights_digest(model)

    def kept(key: str, measure: Callable[..., Found], *before: Found) -> Found:
        compute = partial(measure, context, model, protocol, *before)
        return context.part(
            key, compute, weights=digest, protocol=asdict(protocol), amplitude=AMPLITUDE
        )

    found = kept("orientation", _orientation)
    found |= kept("contrast", _contrast, found)
    found |= kept("latency", _latency, found)
    figures = _figures(found)
    return ExperimentResult(
        "tuning",
        "Tuning to gratings, contrast response and its latency",
        _COLUMNS,
        [Row(model.config.family, figures, budget=budget_of(model))],
        partial(draw_tuning, found),
        curves=found,
        notes=_notes(context, protocol, found),
        checks=_checks(found, figures),
        size=(9.0, 5.6),
    )


def _orientation(context: Context, model: SavedModel, protocol: Protocol) -> Found:
    degrees, frequencies = protocol.degrees, np.array(protocol.frequencies)
    # One grating more, of no contrast: the grey field.
    angle = np.append(np.repeat(degrees, len(frequencies)), 0.0)
    wave = np.append(np.tile(frequencies, len(degrees)), frequencies[0])
    contrast = np.append(np.ones(len(degrees) * len(frequencies)), 0.0)
    rates = drifting_rates(
        context, "orientation tuning", model, protocol,
        orientation=angle, spatial_frequency=wave, contrast=contrast,
    )  # fmt: skip
    grey = rates[-1]
    # [K, orientations, frequencies], in spikes an iteration above grey.
    above = (rates[:-1] - grey).T.reshape(-1, len(degrees), len(frequencies))
    curves, best = _at_best_frequency(above)
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


def _at_best_frequency(above: Float64) -> tuple[Float64, NDArray[np.int64]]:
    """Tuning curves at each neuron's best frequency, [K, A], and its place among them, [K]."""
    best = above.max(axis=1).argmax(axis=1)
    return above[np.arange(len(above)), :, best], best


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


def _most_responsive(found: Found, count: int) -> tuple[NDArray[np.int64], Float64, Float64]:
    keys = ("neurons", "best_degrees", "best_frequency")
    neurons, angle, wave = (np.array(found[key][:count]) for key in keys)
    return neurons.astype(np.int64), angle, wave


def _latency(context: Context, model: SavedModel, protocol: Protocol, found: Found) -> Found:
    neurons, angle, wave = _most_responsive(found, protocol.neurons)
    read = partial(standing_courses, context, model=model, iterations=protocol.iterations)
    phase = _best_phase(read, Standing(neurons, angle, wave, np.zeros(len(angle))), protocol.phases)
    courses = read(
        "latency", shown=Standing(neurons, angle, wave, phase), contrasts=LATENCY_CONTRASTS,
        repetitions=protocol.repetitions,
    )  # fmt: skip
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


def _best_phase(read: Callable[..., Float64], shown: Standing, count: int) -> Float64:
    """The phase in which each neuron responds most, in degrees, [G]."""
    phases = np.arange(count) * (360.0 / count)
    every = replace(shown.repeated(count, 1), phase=np.tile(phases, len(shown.neurons)))
    courses = read("best phase", shown=every, contrasts=(1.0,))
    responses = courses.mean(axis=(1, 2)).reshape(-1, count)
    best: Float64 = phases[responses.argmax(axis=1)]
    return best


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
            f"latency_{contrast:g}": float(np.nanmedian(latencies[:, place]))
            for place, contrast in enumerate(found["latency_contrasts"])
        },
    }


def _checks(found: Found, figures: dict[str, float]) -> dict[str, bool]:
    latencies = [figures[f"latency_{c:g}"] for c in LATENCY_CONTRASTS]
    contrasts, responses = np.array(found["contrasts"]), np.array(found["contrast_responses"])
    median = np.median(responses[:, contrasts >= LATENCY_CONTRASTS[0]], axis=0)
    return {
        "most responsive neurons are tuned to orientation (circular variance below one half)": (
            figures["circular_variance"] < 0.5
        ),
        f"the median response rises with contrast from {LATENCY_CONTRASTS[0]:g} on": bool(
            (np.diff(median) > 0).all()
        ),
        "latency is shorter at the highest contrast than at the lowest": latencies[-1]
        < latencies[0],
        "median latency falls with each step of contrast": bool((np.diff(latencies) < 0).all()),
    }


def _notes(context: Context, protocol: Protocol, found: Found) -> list[str]:
    read = min(protocol.neurons, len(found["neurons"]))
    return [
        f"{len(found['neurons'])} of {found['latents']} neurons respond with at least "
        f"{RESPONSIVE:g} spikes an iteration above grey at contrast 1; contrast and latency are of "
        f"the {read} most responsive ones.",
        f"Contrast 1 is an amplitude of {AMPLITUDE:g} standard deviations of natural patches; a "
        f"cycle of drift is {FRAMES_PER_CYCLE} frames of {protocol.steps_per_frame} iterations.",
        "Latencies are medians over neurons, in iterations, from initial potentials on. A c50 near "
        "or above 1 says that responses do not saturate within the range of contrasts.",
        *published.UNVERIFIED["tuning"],
        *(["Quick version: 64 latents, a training of a minute."] if context.quick else []),
    ]
