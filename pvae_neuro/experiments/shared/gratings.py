"""Responses of a model's latents to drifting and to standing gratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.data import Feeder, make_feeder
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.models.base import Iteration
from pvae_neuro.saved.model_file import SavedModel

Float64 = NDArray[np.float64]

AMPLITUDE = 2.0
"""Of contrast 1, in standard deviations of the pixels of natural patches."""

FRAMES_PER_CYCLE = 16
"""Of a drifting grating."""

_FREQUENCIES = (0.08, 0.12, 0.16, 0.2, 0.26, 0.34)


@dataclass(frozen=True)
class Protocol:
    """Which gratings are shown, and for how long."""

    orientations: int
    """Evenly over 180 degrees."""

    frequencies: tuple[float, ...]
    """In cycles per pixel."""

    contrasts: tuple[float, ...]
    """From 0 up."""

    phases: int
    """Of standing gratings, evenly over 360 degrees."""

    steps_per_frame: int
    """Iterations on a frame of a drifting grating."""

    repetitions: int
    """Of each standing grating."""

    iterations: int
    """On each standing grating."""

    neurons: int
    """The number of neurons, at most, whose contrast response and latency are read: the most
    responsive ones."""

    @property
    def degrees(self) -> Float64:
        """Orientations, [A]."""
        return np.arange(self.orientations) * (180.0 / self.orientations)


QUICK = Protocol(18, _FREQUENCIES, (0.0, 0.06, 0.125, 0.25, 0.5, 0.75, 1.0), 8, 8, 4, 80, 40)
FULL = Protocol(
    36, (*_FREQUENCIES, 0.42), (0.0, 0.03, 0.06, 0.09, 0.125, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0), 16,
    16, 20, 256, 512,
)  # fmt: skip


def gratings_for(model: SavedModel, **options: Any) -> Feeder:
    """Gratings of the size and range of a model's inputs."""
    config = model.config
    side = round(config.pixels**0.5)
    size = (side, side) if config.image_shape is None else config.image_shape[-2:]
    return make_feeder(
        "drifting-grating", size=size, low=config.input_low, high=config.input_high,
        amplitude=AMPLITUDE, zero_mean=True, **options,
    )  # fmt: skip


def drifting_rates(
    context: Context, stage: str, model: SavedModel, protocol: Protocol, **options: Any
) -> Float64:
    """Rates [B, K], in spikes per iteration, over the second cycle of drift of B gratings.

    ``options`` are those of :class:`~pvae_neuro.data.feeders.DriftingGrating`.
    """
    frames = 2 * FRAMES_PER_CYCLE
    feeder = gratings_for(
        model, temporal_frequency=1.0 / FRAMES_PER_CYCLE, frames=frames,
        steps_per_frame=protocol.steps_per_frame, **options,
    )  # fmt: skip
    steps = frames * protocol.steps_per_frame
    rates = np.zeros((len(feeder.frame(0)), model.config.latents))

    def observe(step: int, block: slice, result: Iteration) -> None:
        if step >= steps // 2:
            rates[block] += result.mean.numpy() / (steps - steps // 2)

    advance = context.advance(stage, len(rates) * steps)
    infer(model, feeder, steps, context.seed, observe=observe, progress=advance)
    return rates


@dataclass(frozen=True, eq=False)
class Standing:
    """Gratings that stand still, and the neuron that is read under each, [G]."""

    neurons: NDArray[np.int64]

    orientation: Float64
    """In degrees."""

    frequency: Float64
    """In cycles per pixel."""

    phase: Float64
    """In degrees."""

    def repeated(self, levels: int, repetitions: int) -> Standing:
        """Each grating ``levels`` times in a row, and all of that ``repetitions`` times."""
        index = np.tile(np.repeat(np.arange(len(self.neurons)), levels), repetitions)
        return Standing(
            self.neurons[index], self.orientation[index], self.frequency[index], self.phase[index]
        )


def standing_courses(
    context: Context,
    stage: str,
    model: SavedModel,
    shown: Standing,
    contrasts: tuple[float, ...],
    *,
    iterations: int,
    repetitions: int = 1,
) -> Float64:
    """Rates [G, C, T] after each iteration from the onset, each neuron under its own grating.

    Each of the G gratings is shown with each of the C contrasts; rates, in spikes per iteration,
    are averaged over repetitions with samples of their own.
    """
    gratings, levels = len(shown.neurons), len(contrasts)
    repeated = shown.repeated(levels, repetitions)
    feeder = gratings_for(
        model, orientation=repeated.orientation, spatial_frequency=repeated.frequency,
        phase=repeated.phase, contrast=np.tile(contrasts, gratings * repetitions),
        temporal_frequency=0.0, frames=1, steps_per_frame=iterations,
    )  # fmt: skip
    rates = np.zeros((len(repeated.neurons), iterations))

    def observe(step: int, block: slice, result: Iteration) -> None:
        mean = result.mean.numpy()
        rates[block, step] = mean[np.arange(len(mean)), repeated.neurons[block]]

    advance = context.advance(stage, rates.size)
    infer(model, feeder, iterations, context.seed, observe=observe, progress=advance)
    averaged: Float64 = rates.reshape(repetitions, gratings, levels, -1).mean(axis=0)
    return averaged
