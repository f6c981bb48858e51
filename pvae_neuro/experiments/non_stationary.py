"""Digits that rotate and jitter: how well inference that never starts anew keeps up.

An iterative model carries its state over from frame to frame, so that each frame begins where the
last one ended; its prior is its own posterior of a moment ago (arXiv:2410.19315, equation 7). The
same model restarted at each frame must find every digit from nothing. Each is shown the same
frames, and its error is read after the last iteration on each frame, as a share of the variance of
the frames: 1 is the error of the mean image. The first frames, on which both begin from nothing,
are left out.

Carrying over pays while frames are near to one another and iterations on each are few; with many
iterations, or frames far apart, both must come to the same. An amortized model has no state:
its two errors are equal, and say what one pass reaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.data import Feeder, Images, make_feeder
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.experiments.context import Context, budget_of
from pvae_neuro.experiments.drawing import color_of, label_axes, legend_below
from pvae_neuro.experiments.latents import is_amortized, telling, weights_digest
from pvae_neuro.experiments.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.trainings import mnist_model
from pvae_neuro.plots.parity import INK
from pvae_neuro.saved.model_file import SavedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAMILIES = ("ipvae-linear", "igvae", "pvae-linear")
ROTATING, JITTERING = "rotating", "jittering"
SKIPPED = 0.25
"""Share of the frames, at the beginning, that errors leave out."""

FEW_ITERATIONS = 4
"""Up to how many iterations on a frame carrying over must win."""

_MARKERS = "ovs^D"
_UNITS = {ROTATING: "°/frame", JITTERING: " px sd"}
_COLUMNS = [
    Column("carried", "error, carried over", ".3f"),
    Column("restarted", "error, restarted", ".3f"),
    Column("ratio", "carried / restarted", ".2f"),
]

Curves = dict[str, list[float]]


@dataclass(frozen=True)
class Motion:
    """How digits move.

    Attributes
    ----------
    kind : str
        :data:`ROTATING` or :data:`JITTERING`.
    speed : float
        Degrees a frame, or standard deviation of the shifts in pixels.
    steps : int
        Iterations on each frame.
    """

    kind: str
    speed: float
    steps: int

    @property
    def title(self) -> str:
        """Kind, speed and iterations, as a row is named."""
        return f"{self.kind} {self.speed:g}{_UNITS[self.kind]}, {self.steps} a frame"

    def feeder(self, digits: Images, iterations: int, seed: int) -> Feeder:
        """Frames of the digits for a number of iterations."""
        frames = -(-iterations // self.steps)
        options: dict[str, Any] = {"frames": frames, "steps_per_frame": self.steps}
        if self.kind == ROTATING:
            return make_feeder(ROTATING, digits, degrees_per_frame=self.speed, **options)
        return make_feeder(JITTERING, digits, sd=self.speed, seed=seed, **options)


def motions(quick: bool) -> list[Motion]:
    """Speeds and iterations on a frame that are tried."""
    speeds = (
        {ROTATING: (2.0, 10.0), JITTERING: (1.0,)}
        if quick
        else {ROTATING: (1.0, 2.0, 5.0, 10.0, 30.0), JITTERING: (0.5, 1.0, 2.0)}
    )
    counts = (1, 4, 16) if quick else (1, 2, 4, 8, 16, 32)
    return [Motion(kind, v, n) for kind, values in speeds.items() for v in values for n in counts]


def run(context: Context) -> ExperimentResult:
    """Show moving digits to every model, with its state carried over and without.

    Parameters
    ----------
    context : Context

    Returns
    -------
    ExperimentResult

    Raises
    ------
    InputError
        If MNIST is absent.
    """
    digits = context.images("mnist", "test", context.choose(40, 1000))
    iterations = context.choose(96, 512)
    tried = motions(context.quick)
    rows: list[Row] = []
    curves: dict[str, dict[str, Curves]] = {}
    for name in FAMILIES:
        context.tell(f"train {name}", FAMILIES.index(name), len(FAMILIES))
        model = mnist_model(context, name)
        curves[name] = _track(context, name, model, digits, tried, iterations)
        for motion in tried:
            figures = errors(curves[name][motion.title], motion.steps)
            rows.append(Row(f"{name}, {motion.title}", figures, budget=budget_of(model)))
    return ExperimentResult(
        "non-stationary",
        "Rotating and jittering digits, tracked",
        _COLUMNS,
        rows,
        partial(_draw, tried, curves),
        curves=curves,
        notes=_notes(context, len(digits.pixels), iterations),
        checks=_checks(tried, curves),
    )


def _track(
    context: Context,
    name: str,
    model: SavedModel,
    digits: Images,
    tried: list[Motion],
    iterations: int,
) -> dict[str, Curves]:
    progress = telling(context, f"track, {name}", 2 * len(tried) * iterations * len(digits.pixels))

    def follow(motion: Motion) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, restart in (("carried", False), ("restarted", True)):
            frames = motion.feeder(digits, iterations, context.seed)
            trace = infer(
                model, frames, iterations, context.seed, restart=restart, progress=progress
            )
            found[key] = (trace.mse / trace.variance).tolist()
        return found

    return {
        motion.title: context.part(
            name, partial(follow, motion), weights=weights_digest(model), motion=motion.title,
            images=len(digits.pixels), iterations=iterations,
        )
        for motion in tried
    }  # fmt: skip


def errors(curves: Curves, steps: int) -> dict[str, float]:
    """Error at the end of a frame, over all frames but the first ones.

    Parameters
    ----------
    curves : dict of str to list of float
        Error by iteration, ``carried`` and ``restarted``.
    steps : int
        Iterations on each frame.

    Returns
    -------
    dict of str to float
        Both errors, and ``ratio``, the first by the second.
    """
    carried, restarted = (_at_frame_ends(curves[key], steps) for key in ("carried", "restarted"))
    return {"carried": carried, "restarted": restarted, "ratio": carried / restarted}


def _at_frame_ends(curve: list[float], steps: int) -> float:
    ends = np.asarray(curve)[steps - 1 :: steps]
    return float(ends[int(SKIPPED * len(ends)) :].mean())


def _checks(tried: list[Motion], curves: dict[str, dict[str, Curves]]) -> dict[str, bool]:
    name = FAMILIES[0]
    found = {motion: errors(curves[name][motion.title], motion.steps) for motion in tried}
    slowest = min(m.speed for m in tried if m.kind == ROTATING)
    few = [m for m in tried if m.kind == ROTATING and m.steps <= FEW_ITERATIONS]
    shifted = [m for m in tried if m.kind == JITTERING and m.steps == 1]
    most = max((m for m in tried if m.speed == slowest), key=lambda m: m.steps)
    least = min((m for m in tried if m.speed == slowest), key=lambda m: m.steps)
    return {
        f"{name}: with up to {FEW_ITERATIONS} iterations a frame, rotating digits are tracked "
        "better by carrying the state over than by restarting": all(
            found[m]["ratio"] < 1 for m in few
        ),
        f"{name}: with one iteration a frame, so are jittering digits": all(
            found[m]["ratio"] < 1 for m in shifted
        ),
        f"{name}: the gain is larger at {least.steps} iteration(s) a frame than at {most.steps}, "
        f"rotating at {slowest:g}{_UNITS[ROTATING]}": found[least]["ratio"] < found[most]["ratio"],
        "amortized models gain nothing by carrying over": all(
            abs(errors(curves[other][m.title], m.steps)["ratio"] - 1) < 1e-6
            for other in FAMILIES
            if is_amortized(other)
            for m in tried
        ),
    }


def _notes(context: Context, digits: int, iterations: int) -> list[str]:
    return [
        f"{digits:,} test digits, {iterations} iterations; errors of sampled reconstructions by "
        "the variance of the frames, after the last iteration on each frame, without the first "
        f"{SKIPPED:.0%} of the frames. All models were trained on upright digits that stand still.",
        "A digit that has turned far is one that no model was trained on, so that errors grow with "
        "the angle whatever the inference.",
        "Nothing is published to compare with.",
        *(["Quick version: trainings of seconds, not of hours."] if context.quick else []),
    ]


def _draw(tried: list[Motion], curves: dict[str, dict[str, Curves]], figure: Figure) -> None:
    left, right = figure.subfigures(1, 2, width_ratios=(1.0, 1.15))
    example = _example(tried)
    ax = left.subplots()
    _draw_example(ax, example, curves[FAMILIES[0]][example.title])
    panels = right.subplots(1, 2, sharey=True)
    for panel, kind in zip(panels, (ROTATING, JITTERING), strict=True):
        _draw_kind(panel, [m for m in tried if m.kind == kind], curves)
        label_axes(panel, "iterations a frame", "", kind)
    panels[0].set_ylabel("error, carried over / restarted", fontsize=9)
    legend_below(left, [ax], columns=2)
    legend_below(right, list(panels), columns=3)


def _example(tried: list[Motion]) -> Motion:
    """The slowest rotation with few iterations a frame, but more than one."""
    slow = [m for m in tried if m.kind == ROTATING and 1 < m.steps <= FEW_ITERATIONS]
    return min(slow or tried, key=lambda m: (m.speed, -m.steps))


def _draw_example(ax: Axes, motion: Motion, curves: Curves) -> None:
    color = color_of(FAMILIES[0])
    iterations = np.arange(1, len(curves["carried"]) + 1)
    ax.plot(iterations, curves["restarted"], color="#94a3b8", lw=1, label="restarted each frame")
    ax.plot(iterations, curves["carried"], color=color, lw=1.8, label="state carried over")
    ax.set_ylim(0, min(1.5, 1.1 * float(np.max(curves["restarted"]))))
    label_axes(ax, "iteration", "error / variance", f"{FAMILIES[0]}, {motion.title}")


def _draw_kind(ax: Axes, tried: list[Motion], curves: dict[str, dict[str, Curves]]) -> None:
    speeds = sorted({m.speed for m in tried})
    for name in FAMILIES:
        for place, speed in enumerate(speeds):
            chosen = [m for m in tried if m.speed == speed]
            ratios = [errors(curves[name][m.title], m.steps)["ratio"] for m in chosen]
            ax.plot(
                [m.steps for m in chosen], ratios, color=color_of(name), marker=_MARKERS[place % 5],
                ms=5, lw=1.6, alpha=_fading(place, len(speeds)),
                label=name if place == 0 else None,
            )  # fmt: skip
    ax.axhline(1.0, color="#94a3b8", lw=1, ls=":")
    counts: NDArray[np.int64] = np.unique([m.steps for m in tried])
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts.tolist(), [str(count) for count in counts])
    _name_speeds(ax, speeds, tried[0].kind)


def _name_speeds(ax: Axes, speeds: list[float], kind: str) -> None:
    """Markers of the speeds, in the panel; families are named under it."""
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=INK, ls="none", marker=_MARKERS[place % 5], ms=5,
               alpha=_fading(place, len(speeds)), label=f"{speed:g}{_UNITS[kind]}")
        for place, speed in enumerate(speeds)
    ]  # fmt: skip
    ax.legend(handles=marks, frameon=False, fontsize=8, labelcolor=INK, loc="lower right")


def _fading(place: int, count: int) -> float:
    """Opacity: slow motions full, fast ones lighter."""
    return 1.0 - 0.55 * place / max(count - 1, 1)
