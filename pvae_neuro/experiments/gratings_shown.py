"""Gratings shown to a model, and the rates with which its latents answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.data import Feeder, make_feeder
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.experiments.context import Context
from pvae_neuro.experiments.latents import telling
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
    """What is shown for how long.

    Attributes
    ----------
    orientations : int
        Evenly over 180 degrees.
    frequencies : tuple of float
        In cycles per pixel.
    contrasts : tuple of float
        From 0 up.
    phases : int
        Of standing gratings, evenly over 360 degrees.
    steps_per_frame : int
        Iterations on a frame of a drifting grating.
    repetitions : int
        Of each standing grating.
    iterations : int
        On each standing grating.
    neurons : int
        At most, whose contrast and latency are read: the most responsive ones.
    """

    orientations: int
    frequencies: tuple[float, ...]
    contrasts: tuple[float, ...]
    phases: int
    steps_per_frame: int
    repetitions: int
    iterations: int
    neurons: int

    @property
    def degrees(self) -> Float64:
        """Orientations, [A]."""
        return np.arange(self.orientations) * (180.0 / self.orientations)


QUICK = Protocol(18, _FREQUENCIES, (0.0, 0.06, 0.125, 0.25, 0.5, 0.75, 1.0), 8, 8, 4, 80, 40)
FULL = Protocol(
    36, (*_FREQUENCIES, 0.42), (0.0, 0.03, 0.06, 0.09, 0.125, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0), 16,
    16, 20, 256, 512,
)  # fmt: skip


def _gratings(model: SavedModel, **options: Any) -> Feeder:
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
    """Rates over the second cycle of drift.

    Parameters
    ----------
    context : Context
    stage : str
        As the reader is told of it.
    model : SavedModel
    protocol : Protocol
    **options : Any
        Of the B gratings, as :class:`~pvae_neuro.data.gratings.DriftingGrating` takes them.

    Returns
    -------
    float64 [B, K]
        In spikes an iteration.
    """
    frames = 2 * FRAMES_PER_CYCLE
    feeder = _gratings(
        model, temporal_frequency=1.0 / FRAMES_PER_CYCLE, frames=frames,
        steps_per_frame=protocol.steps_per_frame, **options,
    )  # fmt: skip
    steps = frames * protocol.steps_per_frame
    rates = np.zeros((len(feeder.frame(0)), model.config.latents))

    def observe(step: int, block: slice, result: Iteration) -> None:
        if step >= steps // 2:
            rates[block] += result.mean.numpy() / (steps - steps // 2)

    progress = telling(context, stage, len(rates) * steps)
    infer(model, feeder, steps, context.seed, observe=observe, progress=progress)
    return rates


@dataclass(frozen=True, eq=False)
class Standing:
    """Gratings that stand still, and the neuron that is read under each.

    Attributes
    ----------
    neurons : int64 [G]
    orientation, phase : float64 [G]
        In degrees.
    frequency : float64 [G]
        In cycles per pixel.
    """

    neurons: NDArray[np.int64]
    orientation: Float64
    frequency: Float64
    phase: Float64

    def repeated(self, levels: int, repetitions: int) -> Standing:
        """Each grating ``levels`` times in a row, and all of that ``repetitions`` times."""
        return Standing(
            _repeat(self.neurons, levels, repetitions),
            *(
                _repeat(values, levels, repetitions)
                for values in (self.orientation, self.frequency, self.phase)
            ),
        )


_Numbers = TypeVar("_Numbers", NDArray[np.int64], Float64)


def _repeat(values: _Numbers, levels: int, repetitions: int) -> _Numbers:
    repeated: _Numbers = np.tile(np.repeat(values, levels), repetitions)
    return repeated


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
    """Rates from the onset on, each neuron under its own grating.

    Parameters
    ----------
    context : Context
    stage : str
        As the reader is told of it.
    model : SavedModel
    shown : Standing
    contrasts : tuple of float
        C of them, for each grating.
    iterations : int
        T.
    repetitions : int
        With samples of their own; rates are averaged over them.

    Returns
    -------
    float64 [G, C, T]
        In spikes an iteration, after each iteration.
    """
    gratings, levels = len(shown.neurons), len(contrasts)
    every = shown.repeated(levels, repetitions)
    feeder = _gratings(
        model, orientation=every.orientation, spatial_frequency=every.frequency, phase=every.phase,
        contrast=np.tile(contrasts, gratings * repetitions), temporal_frequency=0.0, frames=1,
        steps_per_frame=iterations,
    )  # fmt: skip
    rates = np.zeros((len(every.neurons), iterations))

    def observe(step: int, block: slice, result: Iteration) -> None:
        mean = result.mean.numpy()
        rates[block, step] = mean[np.arange(len(mean)), every.neurons[block]]

    progress = telling(context, stage, rates.size)
    infer(model, feeder, iterations, context.seed, observe=observe, progress=progress)
    averaged: Float64 = rates.reshape(repetitions, gratings, levels, -1).mean(axis=0)
    return averaged
