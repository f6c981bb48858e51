"""How far what is inferred is behind digits that rotate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pvae_neuro.artifact import program_hash
from pvae_neuro.data import Feeder, Images
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.tracking.motions import Motion
from pvae_neuro.models.base import Iteration
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import Float32, SavedModel
from pvae_neuro.sim.engine import fastest_engine
from pvae_neuro.sim.readout import reconstruct

LONGEST_LAG = 24
"""Lags that are tried, in iterations."""


def lag(frames: Float32, shown: Float32) -> float:
    """Number of frames [T, N, M] by which reconstructions [T, N, M] are behind.

    The nearest frame, and between frames the lowest point of a parabola through three errors.
    """
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


def lags(
    context: Context,
    name: str,
    model: SavedModel,
    networks: Mapping[str, IntegerNetwork],
    rotations: Sequence[Motion],
    digits: Images,
    iterations: int,
) -> dict[str, dict[str, float]]:
    """Lag of a float model and of its integers, by name, behind rotations: ``"NAME, MOTION"``."""

    def compute() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for done, motion in enumerate(rotations):
            context.progress("lags", done, len(rotations))
            feeder = motion.feeder(digits, iterations, context.seed)
            frames = np.stack(list(feeder))
            shown = {name: _of_model(context, model, feeder, frames)}
            shown |= {own: _of_network(context, each, frames) for own, each in networks.items()}
            for own, reconstructions in shown.items():
                found[f"{own}, {motion.title}"] = {"lag": lag(frames, reconstructions)}
        return found

    return context.cached(
        "lags", model, compute, motions=[motion.title for motion in rotations],
        images=len(digits.pixels), iterations=iterations, longest=LONGEST_LAG,
        networks=[program_hash(network) for network in networks.values()],
    )  # fmt: skip


def _of_model(context: Context, model: SavedModel, feeder: Feeder, frames: Float32) -> Float32:
    """What a float model reconstructs of each frame [T, N, M]."""
    shown = np.empty_like(frames)

    def observe(step: int, block: slice, result: Iteration) -> None:
        shown[step, block] = result.reconstruction.numpy()

    infer(model, feeder, len(frames), context.seed, observe=observe, progress=False)
    return shown


def _of_network(context: Context, network: IntegerNetwork, frames: Float32) -> Float32:
    """What integers reconstruct of each frame [T, N, M]."""
    counts = str(network.code)
    run = fastest_engine(network).run(
        network, frames.swapaxes(0, 1), 1, context.seed, record=[counts], progress=False
    )
    # What an iteration leaves is drawn in the next one.
    return reconstruct(network, run.variables[counts][:, 1:]).swapaxes(0, 1)
