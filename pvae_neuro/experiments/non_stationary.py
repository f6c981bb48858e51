"""Digits that turn, jump or morph: carrying the state of inference over, against restarting it.

An iterative model carries its state over from frame to frame: each frame starts where the last one
ended, and its prior is the posterior of the moment before (arXiv:2410.19315, equation 7). The same
model, restarted at each frame, must infer every digit anew. Both see the same frames, and the error
is read after the last iteration on each frame, as a fraction of the variance of the frames: 1 is
the error of the mean image. The first frames, on which both start from nothing, are left out.

Carrying over helps while frames are similar and iterations per frame are few; with many iterations,
or very different frames, both must reach the same error. An amortized model has no state: its two
errors are equal, and show what one pass reaches.

The integers of the first model, in both of its circuits, are shown the same frames. Their tracking
error is compared with that of the float circuit under the same random words.

The lag says how far what is inferred is behind: reconstructions of the first model, with one
iteration a frame, are compared with earlier frames, and the lag is that of the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.artifact import program_hash
from pvae_neuro.data import Feeder, Images, make_feeder
from pvae_neuro.evaluation.figures import of_circuit, of_recording, variance_about_mean_image
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.experiments.shared.claims import Claim, at_most, holds
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.families import is_amortized
from pvae_neuro.experiments.shared.recipes import mnist_model
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import band, color_of, label_axes, legend_below
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.models.base import Iteration
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.plots.style import GUIDE, INK
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import fastest_engine
from pvae_neuro.sim.frames import Frames
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.readout import reconstruct

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAMILIES = ("ipvae-linear", "igvae", "pvae-linear")
ROTATING, JITTERING, MORPHING = "rotating", "jittering", "morphing"
SKIPPED = 0.25
"""Fraction of the frames, at the start, that errors leave out."""

FEW_ITERATIONS = 4
"""Up to this many iterations per frame, carrying over must win."""

_MARKERS = "ovs^D"
_UNITS = {ROTATING: "°/frame", JITTERING: " px sd", MORPHING: " digits/frame"}
_COLUMNS = [
    Column("carried", "error, carried over", ".3f"),
    Column("restarted", "error, restarted", ".3f"),
    Column("ratio", "carried / restarted", ".2f"),
    Column("lag", "lag, iterations", ".2f"),
]

CIRCUITS = ("lateral", "predictive")
LARGEST_DISTANCE = 0.01
"""How far the tracking error of integers may be above that of float, of which it is a share."""

CALIBRATION_DIGITS = 64
LARGEST_LAG_DISTANCE = 0.25
"""How far the lag of integers may be from that of the float model, in iterations."""

LONGEST_LAG = 24
"""Lags that are tried, in iterations."""

DIGITS_PER_BLOCK = 100
"""Whose frames lie in memory at once."""

Curves = dict[str, list[float]]
"""Error by iteration, ``carried`` and ``restarted``; of integers also of ``float``, carried."""


@dataclass(frozen=True)
class Motion:
    """How digits move."""

    kind: str
    """:data:`ROTATING`, :data:`JITTERING` or :data:`MORPHING`."""

    speed: float
    """Degrees per frame, standard deviation of the shifts in pixels, or digits per frame."""

    steps: int
    """Iterations on each frame."""

    @property
    def title(self) -> str:
        """Kind, speed and iterations."""
        return f"{self.kind} {self.speed:g}{_UNITS[self.kind]}, {self.steps} a frame"

    def feeder(self, digits: Images, iterations: int, seed: int) -> Feeder:
        """Frames of the digits for a number of iterations."""
        own: dict[str, dict[str, Any]] = {
            ROTATING: {"degrees_per_frame": self.speed},
            JITTERING: {"sd": self.speed, "seed": seed},
            MORPHING: {"images_per_frame": self.speed},
        }
        frames = -(-iterations // self.steps)
        return make_feeder(
            self.kind, digits, frames=frames, steps_per_frame=self.steps, **own[self.kind]
        )


ByModel = dict[str, dict[str, Curves]]
"""By model, and by title of the motion."""


def integers_of(circuit: str) -> str:
    """Name of the integers of the first model."""
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
        f"With up to {FEW_ITERATIONS} iterations a frame, so are digits that turn into others",
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
        "With one iteration a frame, so are jittering digits",
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
            at_most(f"{integers_of(circuit)}: distance", LARGEST_DISTANCE, form=".4f"),
            "hour",
        )
        for circuit in CIRCUITS
    ),
    Claim(
        "amortized",
        "beyond",
        "Amortized models gain nothing by carrying over",
        "not published",
        _PROTOCOL,
        holds("no gain", "carried over and restarted agree to 1e-6"),
    ),
)


def motions(quick: bool) -> list[Motion]:
    """All speeds with all numbers of iterations per frame."""
    speeds = (
        {ROTATING: (2.0, 10.0), JITTERING: (1.0,), MORPHING: (0.1,)}
        if quick
        else {
            ROTATING: (1.0, 2.0, 5.0, 10.0, 30.0),
            JITTERING: (0.5, 1.0, 2.0),
            MORPHING: (0.05, 0.1, 0.2, 0.5),
        }
    )
    counts = (1, 4, 16) if quick else (1, 2, 4, 8, 16, 32)
    return [Motion(kind, v, n) for kind, values in speeds.items() for v in values for n in counts]


def run(context: Context) -> ExperimentResult:
    """Show moving digits to every model, with its state carried over and restarted."""
    digits = context.images("mnist", "test", context.pick(20, hour=1000))
    iterations = context.pick(64, hour=96, published=512)
    tried = motions(context.pick(True, published=False))
    rows: list[Row] = []
    curves: ByModel = {}
    for i, name in enumerate(FAMILIES):
        context.progress(f"train {name}", i, len(FAMILIES))
        model = mnist_model(context, name)
        curves[name] = _track(context, name, model, digits, tried, iterations)
        for motion in tried:
            figures = errors(curves[name][motion.title], motion.steps)
            rows.append(Row(f"{name}, {motion.title}", figures, budget=budget_of(model)))
        if name == FAMILIES[0]:
            for circuit in CIRCUITS:
                key = integers_of(circuit)
                network = _network(context, model, circuit)
                curves[key] = _track_integers(context, network, model, digits, tried, iterations)
                for motion in tried:
                    figures = errors(curves[key][motion.title], motion.steps)
                    rows.append(Row(f"{key}, {motion.title}", figures, budget=budget_of(model)))
    lags = _lags(context, digits, tried, iterations)
    for row in rows:
        row.figures.update(lags.get(row.name, {}))
    return ExperimentResult(
        "non-stationary",
        "Moving digits, tracked",
        _COLUMNS,
        rows,
        _draw,
        (tried, curves),
        _of_claims(tried, curves) | _of_lag_claims(tried, lags),
        curves=curves,
        notes=_notes(context, len(digits.pixels), iterations),
    )


def _track(
    context: Context,
    name: str,
    model: SavedModel,
    digits: Images,
    tried: list[Motion],
    iterations: int,
) -> dict[str, Curves]:
    advance = context.advance(f"track, {name}", 2 * len(tried) * iterations * len(digits.pixels))

    def infer_both(motion: Motion) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, restart in (("carried", False), ("restarted", True)):
            frames = motion.feeder(digits, iterations, context.seed)
            trace = infer(
                model, frames, iterations, context.seed, restart=restart, progress=advance
            )
            found[key] = (trace.mse / trace.variance).tolist()
        return found

    return {
        motion.title: context.cached(
            name, model, partial(infer_both, motion), motion=motion.title,
            images=len(digits.pixels), iterations=iterations,
        )
        for motion in tried
    }  # fmt: skip


def _track_integers(
    context: Context,
    network: IntegerNetwork,
    model: SavedModel,
    digits: Images,
    tried: list[Motion],
    iterations: int,
) -> dict[str, Curves]:
    engine, name = fastest_engine(network), integers_of(network.name)
    real = lowering_of(network.name, model.config.family).circuit(model)
    stage = f"track, {name}"
    advance = context.advance(stage, 3 * len(tried) * iterations * len(digits.pixels))

    def track(motion: Motion) -> dict[str, Any]:
        feeder = motion.feeder(digits, iterations, context.seed)
        sums = {key: np.zeros(iterations) for key in ("carried", "restarted", "float")}
        for first in range(0, len(digits.pixels), DIGITS_PER_BLOCK):
            rows = slice(first, first + DIGITS_PER_BLOCK)
            frames = np.stack([frame[rows] for frame in feeder], axis=1)
            samples = range(first, first + len(frames))
            for key, reset in (("carried", False), ("restarted", True)):
                recording = engine.run(
                    network, frames, motion.steps, context.seed,
                    first_sample=first, reset=reset, progress=False,
                )  # fmt: skip
                found = of_recording(recording)
                if found is not None:
                    sums[key] += found.error.sum(axis=0)[:iterations]
                advance(iterations * len(frames))
            held = Frames(frames.shape[1], motion.steps)
            words = {
                p.name: population_noise(p, context.seed, range(held.steps), samples)
                for p in real.drawing
            }
            by_float = of_circuit(real, frames, words, held)
            sums["float"] += by_float.error.sum(axis=0)[:iterations]
            advance(iterations * len(frames))
        variances = np.array([variance_about_mean_image(frame) for frame in feeder])
        scale = len(digits.pixels) * np.repeat(variances, motion.steps)[:iterations]
        return {key: (total / scale).tolist() for key, total in sums.items()}

    return {
        motion.title: context.cached(
            name, model, partial(track, motion), motion=motion.title,
            images=len(digits.pixels), iterations=iterations, network=program_hash(network),
        )
        for motion in tried
    }  # fmt: skip


def _network(context: Context, model: SavedModel, circuit: str) -> IntegerNetwork:
    calibration = context.images("mnist", "train", CALIBRATION_DIGITS).pixels
    return quantize(model, calibration, QuantizeConfig(topology=circuit))


def _lags(
    context: Context, digits: Images, tried: list[Motion], iterations: int
) -> dict[str, dict[str, float]]:
    """Lag of the first model and its integers behind each rotation, by the name of its row."""
    model, shown = mnist_model(context, FAMILIES[0]), digits.take(DIGITS_PER_BLOCK)
    motions = [m for m in tried if m.kind == ROTATING and m.steps == 1]

    def compute() -> dict[str, Any]:
        networks = {circuit: _network(context, model, circuit) for circuit in CIRCUITS}
        found: dict[str, Any] = {}
        for done, motion in enumerate(motions):
            context.progress("lags", done, len(motions))
            feeder = motion.feeder(shown, iterations, context.seed)
            frames = np.stack(list(feeder))
            real = np.empty_like(frames)

            def observe(
                step: int, block: slice, result: Iteration, real: NDArray[np.float32] = real
            ) -> None:
                real[step, block] = result.reconstruction.numpy()

            infer(model, feeder, iterations, context.seed, observe=observe, progress=False)
            found[f"{FAMILIES[0]}, {motion.title}"] = {"lag": lag(frames, real)}
            for circuit, network in networks.items():
                source = str(network.code)
                run = fastest_engine(network).run(
                    network, frames.swapaxes(0, 1), 1, context.seed, record=[source],
                    progress=False,
                )  # fmt: skip
                # What an iteration leaves is drawn in the next one.
                drawn = reconstruct(network, run.variables[source][:, 1:]).swapaxes(0, 1)
                found[f"{integers_of(circuit)}, {motion.title}"] = {"lag": lag(frames, drawn)}
        return found

    return context.cached(
        "lags", model, compute, motions=[m.title for m in motions], images=len(shown.pixels),
        iterations=iterations, longest=LONGEST_LAG,
    )  # fmt: skip


def lag(frames: NDArray[np.float32], shown: NDArray[np.float32]) -> float:
    """Number of frames [T, N, M] by which reconstructions [T, N, M] are behind."""
    longest = min(LONGEST_LAG, len(frames) // 2)
    seen = shown[longest:]
    errors = np.array([
        np.square(frames[longest - k : len(frames) - k] - seen, dtype=np.float64).mean()
        for k in range(longest + 1)
    ])  # fmt: skip
    best = int(errors.argmin())
    if not 0 < best < longest:
        return float(best)
    before, at, after = errors[best - 1 : best + 2]
    curvature = before - 2.0 * at + after
    return best + float((before - after) / (2.0 * curvature) if curvature else 0.0)


def distance(curves: Curves, steps: int) -> float:
    """How far the tracking error of integers is above that of float, as a share of it."""
    return _at_frame_ends(curves["carried"], steps) / _at_frame_ends(curves["float"], steps) - 1


def errors(curves: Curves, steps: int) -> dict[str, float]:
    """Mean error at the ends of frames of ``steps`` iterations, without the first frames.

    ``ratio`` is the error carried over, divided by the one restarted.
    """
    carried, restarted = (_at_frame_ends(curves[key], steps) for key in ("carried", "restarted"))
    return {"carried": carried, "restarted": restarted, "ratio": carried / restarted}


def _at_frame_ends(curve: list[float], steps: int) -> float:
    ends = np.asarray(curve)[steps - 1 :: steps]
    return float(ends[int(SKIPPED * len(ends)) :].mean())


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
            f"{integers_of(circuit)}: distance": max(
                distance(curves[integers_of(circuit)][m.title], m.steps) for m in tried
            )
            for circuit in CIRCUITS
        },
        "no gain": float(
            all(
                abs(ratio(other, m) - 1) < 1e-6
                for other in filter(is_amortized, FAMILIES)
                for m in tried
            )
        ),
    }


def _of_lag_claims(tried: list[Motion], lags: dict[str, dict[str, float]]) -> dict[str, float]:
    rotating = sorted(
        (m for m in tried if m.kind == ROTATING and m.steps == 1), key=lambda m: m.speed
    )

    def of(name: str, motion: Motion) -> float:
        return lags[f"{name}, {motion.title}"]["lag"]

    return {
        "lag, slowest": of(FAMILIES[0], rotating[0]),
        "lag, fastest": of(FAMILIES[0], rotating[-1]),
        **{
            f"lag of integers, {circuit}: distance": max(
                abs(of(integers_of(circuit), m) - of(FAMILIES[0], m)) for m in rotating
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
    for panel, kind in zip(panels, _UNITS, strict=True):
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
        integers = shown(integers_of(circuit), "carried")
        band(ax, iterations, integers, color=INK, ls=style, lw=1, label=f"integers, {circuit}")
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
    unit = _UNITS[tried[0].kind]
    marks = [
        Line2D([], [], color=INK, ls="none", label=f"{speed:g}{unit}", **style)
        for speed, style in zip(speeds, styles, strict=True)
    ]
    ax.legend(handles=marks, frameon=False, fontsize=8, labelcolor=INK, loc="lower right")
