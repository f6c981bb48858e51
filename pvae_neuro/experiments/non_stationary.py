"""Digits that turn, jump or morph: carrying the state of inference over, against restarting it.

An iterative model carries its state over from frame to frame: each frame starts where the last one
ended, and its prior is the posterior of the moment before (arXiv:2410.19315, equation 7). The same
model, restarted at each frame, must infer every digit anew. Both see the same frames, and the error
is read after the last iteration on each frame, as a fraction of the variance of the frames: 1 is
the error of the mean image. The first frames, on which both start from nothing, are left out.

Carrying over helps while frames are similar and iterations per frame are few; with many iterations,
or very different frames, both must reach the same error. An amortized model has no state, so that
its two errors are equal by construction; they show what one pass reaches.

The integers of the first model, in both of its circuits, are shown the same frames. Their tracking
error is compared with that of the float circuit under the same random words.

The lag says how far what is inferred is behind: reconstructions of the first model, with one
iteration a frame, are compared with earlier frames, and the lag is that of the nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.experiments.shared.claims import Claim, at_most
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.integers import CIRCUITS, integers_of
from pvae_neuro.experiments.shared.recipes import mnist_model
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import band, color_of, label_axes, legend_below
from pvae_neuro.experiments.tracking.errors import (
    DIGITS_PER_BLOCK,
    SKIPPED,
    Curves,
    distance,
    errors,
    track,
    track_integers,
)
from pvae_neuro.experiments.tracking.lag import lags
from pvae_neuro.experiments.tracking.motions import (
    JITTERING,
    MORPHING,
    ROTATING,
    UNITS,
    Motion,
    motions,
)
from pvae_neuro.plots.style import GUIDE, INK
from pvae_neuro.saved.model_file import SavedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAMILIES = ("ipvae-linear", "igvae", "pvae-linear")
FEW_ITERATIONS = 4
"""Up to this many iterations per frame, carrying over must win."""

_MARKERS = "ovs^D"
_COLUMNS = [
    Column("carried", "error, carried over", ".3f"),
    Column("restarted", "error, restarted", ".3f"),
    Column("ratio", "carried / restarted", ".2f"),
    Column("lag", "lag, iterations", ".2f"),
]

LARGEST_DISTANCE = 0.01
"""How far the tracking error of integers may be above that of float, of which it is a share."""

LARGEST_LAG_DISTANCE = 0.25
"""How far the lag of integers may be from that of the float model, in iterations."""

ByModel = dict[str, dict[str, Curves]]
"""By model, and by title of the motion."""


def integers(circuit: str) -> str:
    """Name of the integers of the first model in a circuit."""
    return f"{FAMILIES[0]} in integers ({circuit})"


_PROTOCOL = (
    "MNIST test digits that rotate, jitter or morph; error of a sample at the ends of frames, "
    f"divided by the variance of the frames, without the first {SKIPPED:.0%} of them"
)
_LAG_PROTOCOL = (
    "rotating MNIST test digits, one iteration a frame; lag at which earlier frames are nearest to "
    "sampled reconstructions, between frames by a parabola"
)
CLAIMS = (
    Claim(
        "rotating",
        "beyond",
        f"With up to {FEW_ITERATIONS} iterations a frame, rotating digits are tracked better by "
        "carrying the state over than by restarting",
        "not published",
        _PROTOCOL,
        at_most(f"largest ratio, {ROTATING}", 1.0, form=".3f"),
        "hour",
    ),
    Claim(
        "morphing",
        "beyond",
        f"With up to {FEW_ITERATIONS} iterations a frame, digits that turn into others are tracked "
        "better by carrying the state over than by restarting",
        "not published",
        _PROTOCOL,
        at_most(f"largest ratio, {MORPHING}", 1.0, form=".3f"),
        "hour",
    ),
    Claim(
        "lag-speed",
        "beyond",
        "Inference that carries over lags fewer iterations behind a fast rotation than a slow one",
        "not published",
        _LAG_PROTOCOL,
        at_most("lag, fastest", "lag, slowest", form=".2f"),
        "hour",
    ),
    *(
        Claim(
            f"lag-integers-{circuit}",
            "beyond",
            f"Integers ({circuit}) lag as the float model does",
            "not published",
            _LAG_PROTOCOL,
            at_most(f"lag of integers, {circuit}: distance", LARGEST_LAG_DISTANCE, form=".3f"),
            "hour",
        )
        for circuit in CIRCUITS
    ),
    Claim(
        "jittering",
        "beyond",
        "With one iteration a frame, jittering digits are tracked better by carrying the state "
        "over than by restarting",
        "not published",
        _PROTOCOL,
        at_most(f"largest ratio, {JITTERING}", 1.0, form=".3f"),
        "hour",
    ),
    Claim(
        "gain",
        "beyond",
        "The gain is larger with few iterations a frame than with many",
        "not published",
        f"{_PROTOCOL}; the slowest rotation",
        at_most("ratio, fewest iterations", "ratio, most iterations", form=".3f"),
        "hour",
    ),
    *(
        Claim(
            f"integers-{circuit}",
            "beyond",
            f"Integers ({circuit}) track as their float circuit does",
            "not published",
            f"{_PROTOCOL}; the same random words",
            at_most(f"{integers(circuit)}: distance", LARGEST_DISTANCE, form=".4f"),
            "hour",
        )
        for circuit in CIRCUITS
    ),
)


def run(context: Context) -> ExperimentResult:
    """Show moving digits to every model, with its state carried over and restarted."""
    digits = context.images("mnist", "test", context.pick(20, hour=1000))
    iterations = context.pick(64, hour=96, published=512)
    tried = motions(context.pick(True, published=False))
    first = mnist_model(context, FAMILIES[0])
    networks = {integers(circuit): integers_of(context, first, circuit) for circuit in CIRCUITS}
    models: dict[str, SavedModel] = {FAMILIES[0]: first, **dict.fromkeys(networks, first)}
    curves: ByModel = {FAMILIES[0]: track(context, FAMILIES[0], first, digits, tried, iterations)}
    for name, network in networks.items():
        curves[name] = track_integers(context, name, network, first, digits, tried, iterations)
    for name in FAMILIES[1:]:
        models[name] = mnist_model(context, name)
        curves[name] = track(context, name, models[name], digits, tried, iterations)
    found = lags(
        context, FAMILIES[0], first, networks, _for_lags(tried), digits.take(DIGITS_PER_BLOCK),
        iterations,
    )  # fmt: skip
    rows = [
        Row(
            f"{name}, {motion.title}",
            {
                **errors(curves[name][motion.title], motion.steps),
                **found.get(f"{name}, {motion.title}", {}),
            },
            budget=budget_of(model),
        )
        for name, model in models.items()
        for motion in tried
    ]
    return ExperimentResult(
        "non-stationary",
        "Moving digits, tracked",
        _COLUMNS,
        rows,
        _draw,
        (tried, curves),
        _of_claims(tried, curves) | _of_lag_claims(_for_lags(tried), found),
        curves=curves,
        notes=_notes(context, len(digits.pixels), iterations),
    )


def _for_lags(tried: list[Motion]) -> list[Motion]:
    """Rotations with one iteration a frame, from the slowest."""
    chosen = (motion for motion in tried if (motion.kind, motion.steps) == (ROTATING, 1))
    return sorted(chosen, key=lambda motion: motion.speed)


def _of_claims(tried: list[Motion], curves: ByModel) -> dict[str, float]:
    def ratio(name: str, motion: Motion) -> float:
        return errors(curves[name][motion.title], motion.steps)["ratio"]

    name = FAMILIES[0]
    rotating = [m for m in tried if m.kind == ROTATING]
    slowest = min(m.speed for m in rotating)
    slow = sorted((m for m in rotating if m.speed == slowest), key=lambda m: m.steps)
    return {
        f"largest ratio, {ROTATING}": max(
            ratio(name, m) for m in rotating if m.steps <= FEW_ITERATIONS
        ),
        f"largest ratio, {MORPHING}": max(
            ratio(name, m) for m in tried if m.kind == MORPHING and m.steps <= FEW_ITERATIONS
        ),
        f"largest ratio, {JITTERING}": max(
            ratio(name, m) for m in tried if m.kind == JITTERING and m.steps == 1
        ),
        "ratio, fewest iterations": ratio(name, slow[0]),
        "ratio, most iterations": ratio(name, slow[-1]),
        **{
            f"{integers(circuit)}: distance": max(
                distance(curves[integers(circuit)][m.title], m.steps) for m in tried
            )
            for circuit in CIRCUITS
        },
    }


def _of_lag_claims(rotating: list[Motion], found: dict[str, dict[str, float]]) -> dict[str, float]:
    def of(name: str, motion: Motion) -> float:
        return found[f"{name}, {motion.title}"]["lag"]

    return {
        "lag, slowest": of(FAMILIES[0], rotating[0]),
        "lag, fastest": of(FAMILIES[0], rotating[-1]),
        **{
            f"lag of integers, {circuit}: distance": max(
                abs(of(integers(circuit), m) - of(FAMILIES[0], m)) for m in rotating
            )
            for circuit in CIRCUITS
        },
    }


def _notes(context: Context, digits: int, iterations: int) -> list[str]:
    return [
        f"{digits:,} test digits, {iterations} iterations; errors of sampled reconstructions "
        "divided by the variance of the frames, after the last iteration on each frame, without "
        f"the first {SKIPPED:.0%} of the frames. All models were trained on upright, still digits.",
        "No model was trained on digits that are turned far, so errors grow with the angle "
        "whatever the inference.",
        "Integers draw their counts from the words of their float circuit, other words than those "
        "of the float models above them.",
        "Nothing is published to compare with.",
        *context.pick(["Quick version: trainings of seconds, not of hours."], hour=[]),
    ]


def _draw(figure: Figure, seeds: list[tuple[list[Motion], ByModel]]) -> None:
    tried = seeds[0][0]
    curves = [each for _, each in seeds]
    left, right = figure.subfigures(1, 2, width_ratios=(1.0, 1.6))
    example = _example(tried)
    ax = left.subplots()
    _draw_example(ax, example, curves)
    panels = right.subplots(1, 3, sharey=True)
    for panel, kind in zip(panels, UNITS, strict=True):
        _draw_kind(panel, [m for m in tried if m.kind == kind], curves)
        label_axes(panel, "iterations a frame", "", kind)
    panels[0].set_ylabel("error, carried over / restarted", fontsize=9)
    legend_below(left, [ax], columns=2)
    legend_below(right, list(panels), columns=3)


def _example(tried: list[Motion]) -> Motion:
    """The slowest rotation with few iterations per frame, but more than one."""
    slow = [m for m in tried if m.kind == ROTATING and 1 < m.steps <= FEW_ITERATIONS]
    return min(slow or tried, key=lambda m: (m.speed, -m.steps))


def _draw_example(ax: Axes, motion: Motion, seeds: list[ByModel]) -> None:
    def shown(name: str, key: str) -> list[list[float]]:
        return [curves[name][motion.title][key] for curves in seeds]

    color, restarted = color_of(FAMILIES[0]), shown(FAMILIES[0], "restarted")
    iterations = np.arange(1, len(restarted[0]) + 1)
    band(ax, iterations, restarted, color=GUIDE, lw=1, label="restarted each frame")
    carried = shown(FAMILIES[0], "carried")
    band(ax, iterations, carried, color=color, lw=1.8, label="state carried over")
    for circuit, style in zip(CIRCUITS, ("--", ":"), strict=True):
        carried = shown(integers(circuit), "carried")
        band(ax, iterations, carried, color=INK, ls=style, lw=1, label=f"integers, {circuit}")
    ax.set_ylim(0, min(1.5, 1.1 * float(np.max(restarted))))
    label_axes(ax, "iteration", "error / variance", f"{FAMILIES[0]}, {motion.title}")


def _draw_kind(ax: Axes, tried: list[Motion], seeds: list[ByModel]) -> None:
    from matplotlib.lines import Line2D

    speeds = sorted({m.speed for m in tried})
    # Slow motions are opaque, faster ones lighter.
    styles: list[dict[str, Any]] = [
        {"marker": _MARKERS[i % 5], "ms": 5, "alpha": 1.0 - 0.55 * i / max(len(speeds) - 1, 1)}
        for i in range(len(speeds))
    ]
    for name in FAMILIES:
        for speed, style in zip(speeds, styles, strict=True):
            chosen = [m for m in tried if m.speed == speed]
            ratios = [
                [errors(curves[name][m.title], m.steps)["ratio"] for m in chosen]
                for curves in seeds
            ]
            label = name if speed == speeds[0] else None
            band(
                ax, [m.steps for m in chosen], ratios, color=color_of(name), lw=1.6, label=label,
                **style,
            )  # fmt: skip
    ax.axhline(1.0, color=GUIDE, lw=1, ls=":")
    counts: NDArray[np.int64] = np.unique([m.steps for m in tried])
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts.tolist(), [str(count) for count in counts])
    # Markers are explained inside the panel; the families have a legend below.
    unit = UNITS[tried[0].kind]
    marks = [
        Line2D([], [], color=INK, ls="none", label=f"{speed:g}{unit}", **style)
        for speed, style in zip(speeds, styles, strict=True)
    ]
    ax.legend(handles=marks, frameon=False, fontsize=8, labelcolor=INK, loc="lower right")
