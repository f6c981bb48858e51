"""Counts that the levels of a model draw, in floats and in integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.artifact import program_hash
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.integers import integers_of
from pvae_neuro.models.base import Iteration
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import Float32, SavedModel
from pvae_neuro.sim.engine import fastest_engine

UPPER, LOWER, ONE = "upper level", "lower level", "one level"
DRAWS = 64
"""Draws that are summed, at most; as many are averaged to complete an image."""

Counts = dict[str, NDArray[Any]]
"""Of each level, of the last draws, [S, N, K]."""


@dataclass(frozen=True)
class Subject:
    """A model, and where the counts of its levels are."""

    model: SavedModel
    levels: dict[str, tuple[int, str]]
    """By name: place in the state after an iteration, and variable of the integer circuit."""

    network: IntegerNetwork | None = None
    """The integers that draw in the place of the float model."""

    @property
    def hash(self) -> str | None:
        """Of the integers."""
        return None if self.network is None else program_hash(self.network)


def in_integers(context: Context, subject: Subject) -> Subject:
    """The subject, drawn by its predictive circuit."""
    return replace(subject, network=integers_of(context, subject.model, "predictive"))


def steps_of(context: Context) -> int:
    """Iterations of all models."""
    return context.pick(quick=DRAWS, hour=2 * DRAWS)


def drawing(context: Context, subject: Subject) -> Callable[[str, Float32, int], Counts]:
    """What draws counts of images.

    It takes the stage that progress names, the images, and the number of iterations.
    """
    if subject.network is None:
        return partial(_counts, context, subject)
    return partial(_integer_counts, context, subject, subject.network)


def _counts(context: Context, subject: Subject, stage: str, pixels: Float32, steps: int) -> Counts:
    """Counts that the float model draws in its last iterations."""
    found: dict[str, list[NDArray[Any]]] = {level: [] for level in subject.levels}
    blocks: dict[tuple[str, int], list[NDArray[Any]]] = {}

    def observe(step: int, block: slice, result: Iteration) -> None:
        if step >= steps - DRAWS:
            for level, (place, _) in subject.levels.items():
                counts = result.state[place].numpy().astype(np.int16)
                blocks.setdefault((level, block.start), []).append(counts)

    advance = context.advance(stage, steps * len(pixels))
    infer(subject.model, pixels, steps, context.seed, observe=observe, progress=advance)
    for (level, _), draws in blocks.items():
        found[level].append(np.stack(draws))
    return {level: np.concatenate(parts, axis=1) for level, parts in found.items()}


def _integer_counts(
    context: Context,
    subject: Subject,
    network: IntegerNetwork,
    stage: str,
    pixels: Float32,
    steps: int,
) -> Counts:
    """Counts that integers draw in their last iterations, on the fastest engine."""
    engine = fastest_engine(network)
    wanted = {level: variable for level, (_, variable) in subject.levels.items()}
    found: dict[str, list[NDArray[Any]]] = {level: [] for level in wanted}
    advance = context.advance(stage, steps * len(pixels))
    for first in range(0, len(pixels), 100):
        run = engine.run(
            network, pixels[first : first + 100], steps, context.seed, first_sample=first,
            record=list(wanted.values()), progress=advance,
        )  # fmt: skip
        for level, variable in wanted.items():
            drawn = run.variables[variable][:, -DRAWS:].astype(np.int16)
            found[level].append(drawn.swapaxes(0, 1))
    return {level: np.concatenate(parts, axis=1) for level, parts in found.items()}
