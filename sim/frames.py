"""Inputs that change in time: how a run goes through its frames, and when it has settled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import Input
from pvae_neuro.utils.arrays import real_array
from pvae_neuro.utils.decoded import Decoded, Rows

WINDOW = 16
"""Iterations over which an error that has settled falls by less than 1 %."""


@dataclass(frozen=True)
class Frames:
    """How a run goes through its frames.

    Attributes
    ----------
    frames : int
        Number of frames F of each sample; 1 for still images.
    hold : int
        Iterations n that each frame is held for.
    reset : bool
        Whether every frame is a run of its own, from the initial state.
    """

    frames: int
    hold: int
    reset: bool = False

    @property
    def iterations(self) -> int:
        """Iterations in all, T = F n."""
        return self.frames * self.hold

    @property
    def runs(self) -> int:
        """Number of runs: one, or one a frame with ``reset``."""
        return self.frames if self.reset else 1

    @property
    def steps(self) -> int:
        """Steps of the noise, and of a recording: T + 1, or F (n + 1) with ``reset``."""
        return self.iterations + self.runs

    def parts(self) -> Iterator[tuple[slice, range]]:
        """Yield the frames of each run, and its steps."""
        frames, steps = self.frames // self.runs, self.steps // self.runs
        for run in range(self.runs):
            yield slice(run * frames, (run + 1) * frames), range(run * steps, (run + 1) * steps)

    def without_finals(self, recorded: NDArray[Any]) -> NDArray[Any]:
        """Values at the end of each iteration, [N, T, ...], of those of every step [N, S, ...]."""
        if self.runs == 1:
            return recorded[:, :-1]
        by_run = recorded.reshape(len(recorded), self.runs, -1, *recorded.shape[2:])[:, :, :-1]
        return by_run.reshape(len(recorded), self.iterations, *recorded.shape[2:])

    def at_ends(self, by_iteration: NDArray[Any]) -> NDArray[Any]:
        """Values after the last iteration on each frame, [..., F], of values [..., T]."""
        return by_iteration[..., self.hold - 1 :: self.hold]

    def by_frame(self, by_iteration: NDArray[Any]) -> NDArray[Any]:
        """Values [..., F, n] of values [..., T]."""
        return by_iteration.reshape(*by_iteration.shape[:-1], self.frames, self.hold)

    def place(self, step: int) -> tuple[int | None, int, bool]:
        """Where a step of a recording lies.

        Returns
        -------
        frame : int or None
            Its number; None for still images.
        iteration : int
            Its number within the frame, or ``hold`` for what ``final`` leaves.
        final : bool
            Whether it is of ``final``.
        """
        run, place = divmod(step, self.steps // self.runs)
        final = place == self.steps // self.runs - 1
        if self.frames == 1:
            return None, place, final
        frame = run if self.reset else min(place // self.hold, self.frames - 1)
        return frame, place if self.reset else place - frame * self.hold, final

    def settling(self, errors: NDArray[Any]) -> NDArray[np.int64]:
        """Iterations after which the error of each frame has settled: int64 [N, F].

        The first that ends a window of :data:`WINDOW` iterations, within the frame, over which the
        error fell by less than 1 %; ``hold`` where there is none.

        Parameters
        ----------
        errors : [N, T]
            After each iteration.
        """
        by_frame = self.by_frame(errors)
        before, after = by_frame[..., :-WINDOW], by_frame[..., WINDOW:]
        # Integers are below 2**53, so that their product fits; of an error of 0 nothing can fall.
        settled = (100 * (before - after) < before) | (before == 0)
        if not settled.shape[-1]:
            return np.full(by_frame.shape[:-1], self.hold, np.int64)
        first = settled.argmax(axis=-1) + WINDOW + 1
        return np.where(settled.any(axis=-1), first, self.hold).astype(np.int64)


def checked_frames(declared: Input, inputs: object) -> NDArray[np.float64]:
    """Check images [N, M] or frames [N, F, M]: float64 [N, F, M], F = 1 for images.

    Height and width, as declared, may stand in place of M. An array that could be either is of
    images.

    Raises
    ------
    InputError
        If shape, range or a value does not fit, or there is nothing.
    """
    return declared.clipped(accepted_frames(declared, inputs), np.float64)


def accepted_frames(declared: Input, inputs: object) -> Rows:
    """Images or frames that :func:`checked_frames` takes, [N, F, M], as they are stored.

    Nothing is copied, and images that are decoded piece by piece stay so.
    """
    given = inputs if isinstance(inputs, Decoded) else real_array("inputs", inputs)
    own = declared.image_shape
    shapes = [(declared.size,), *([own] if own else [])]
    if given.ndim > 2 and given.shape[1:] != own and given.shape[2:] in shapes:
        samples, frames, *shape = given.shape
        if not given.size:
            raise InputError(
                f"inputs: expected at least one frame of one sample, got {list(given.shape)}"
            )
        images = declared.accept(given.reshape(-1, *shape))
        return images.reshape(samples, frames, declared.size)
    try:
        images = declared.accept(given)
        return images.reshape(len(images), 1, declared.size)
    except InputError as error:
        if given.ndim < 3 or given.shape[1:] in shapes:
            raise
        expected = " or ".join(f"[N, F, {', '.join(map(str, each))}]" for each in shapes)
        raise InputError(f"{error}; frames are {expected}", error.remedy) from error
