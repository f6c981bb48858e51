"""Errors while digits move: float models, and integers beside their float circuit."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from pvae_neuro.artifact import program_hash
from pvae_neuro.data import Images
from pvae_neuro.evaluation.figures import of_circuit, of_recording, variance_about_mean_image
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.tracking.motions import Motion
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import fastest_engine
from pvae_neuro.sim.frames import Frames
from pvae_neuro.sim.noise import population_noise

SKIPPED = 0.25
"""Fraction of the frames, at the start, that errors leave out."""

DIGITS_PER_BLOCK = 100
"""Whose frames lie in memory at once."""

Curves = dict[str, list[float]]
"""Error by iteration, ``carried`` and ``restarted``; of integers also of ``float``, carried."""


def track(
    context: Context,
    name: str,
    model: SavedModel,
    digits: Images,
    tried: list[Motion],
    iterations: int,
) -> dict[str, Curves]:
    """Errors of a float model by iteration, by the title of each motion."""
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


def track_integers(
    context: Context,
    name: str,
    network: IntegerNetwork,
    model: SavedModel,
    digits: Images,
    tried: list[Motion],
    iterations: int,
) -> dict[str, Curves]:
    """The same of integers, and of the float circuit of their model under the same words."""
    engine = fastest_engine(network)
    real = lowering_of(network.name, model.config.family).circuit(model)
    advance = context.advance(f"track, {name}", 3 * len(tried) * iterations * len(digits.pixels))

    def compute(motion: Motion) -> dict[str, Any]:
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
            name, model, partial(compute, motion), motion=motion.title,
            images=len(digits.pixels), iterations=iterations, network=program_hash(network),
        )
        for motion in tried
    }  # fmt: skip


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
