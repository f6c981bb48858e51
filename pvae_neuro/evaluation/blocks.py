"""Samples of an evaluation, block by block: where they come from, and what is found of a block.

No more than a block of images is converted at a time, so that a data set may be larger than the
memory. Sums are taken over cells of :data:`CELL` samples and added in the order of the samples.
So neither the size of blocks nor who runs them changes a bit of a figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.figures import Sums, of_recording
from pvae_neuro.evaluation.saturation import SaturationCount
from pvae_neuro.network import Input, IntegerNetwork
from pvae_neuro.sim.engine import Engine, get_engine
from pvae_neuro.sim.frames import Frames, accepted_frames
from pvae_neuro.utils.decoded import Rows, rows_of
from pvae_neuro.utils.progress import Advance, no_advance

_Result = TypeVar("_Result")


class Source:
    """Images or frames of a model, in order.

    Parameters
    ----------
    declared : Input
    inputs : array_like, Decoded or iterator
        Images [N, M] or frames [N, F, M]; or an iterator over such arrays, each some of the
        samples, which is read once. An array is checked whole, an iterator as it is read.

    Attributes
    ----------
    frames : int
        Number of frames F of each sample.
    samples : int or None
        N; None where an iterator is read.

    Raises
    ------
    InputError
        If shape, range or a value does not fit, or there is nothing.
    """

    def __init__(self, declared: Input, inputs: object) -> None:
        self._parts: Iterator[Rows]
        if isinstance(inputs, Iterator):
            self.samples = None
            self._parts = _accepted(declared, inputs)
            first = next(self._parts, None)
            if first is None:
                raise InputError("inputs: expected at least one image, got an iterator of nothing")
            self._parts = _chained(first, self._parts)
        else:
            first = accepted_frames(declared, inputs)
            self.samples = len(first)
            self._parts = iter([first])
        self.frames = int(first.shape[1])

    def blocks(self, size: int, first: int | None = None) -> Iterator[Rows]:
        """Yield blocks of so many samples, the first of ``first``, the last of what is left.

        They are [B, F, M], numbers as they were given; :meth:`Input.clipped` makes floats of them.
        """
        wanted, kept = first or size, list[Rows]()
        for part in self._parts:
            place = 0
            while place < len(part):
                missing = wanted - sum(map(len, kept))
                kept.append(rows_of(part, slice(place, place + missing)))
                place += len(kept[-1])
                if len(kept[-1]) == missing:
                    yield _joined(kept)
                    wanted, kept = size, []
        if kept:
            yield _joined(kept)


def _joined(kept: list[Rows]) -> Rows:
    return kept[0] if len(kept) == 1 else np.concatenate([np.asarray(rows) for rows in kept])


def _accepted(declared: Input, inputs: Iterator[object]) -> Iterator[Rows]:
    frames = None
    done = 0
    for number, part in enumerate(inputs):
        try:
            accepted = accepted_frames(declared, part)
        except InputError as error:
            raise InputError(
                f"part {number} of the inputs, from sample {done}: {error}", error.remedy
            ) from error
        frames = accepted.shape[1] if frames is None else frames
        if accepted.shape[1] != frames:
            raise InputError(
                f"part {number} of the inputs: expected {frames} frames of each sample, as before, "
                f"got {accepted.shape[1]}"
            )
        done += len(accepted)
        yield accepted


def _chained(first: Rows, others: Iterator[Rows]) -> Iterator[Rows]:
    yield first
    yield from others


class Found(NamedTuple):
    """What is found of a block.

    Attributes
    ----------
    cells : Sums
        By cell, see :meth:`Sums.by_cell`.
    counts : int64 [L, 2] or None
        Of each variable with limits: values at a limit, and values; where they were counted.
    """

    cells: Sums
    counts: NDArray[np.int64] | None = None


def integer_block(
    subject: tuple[IntegerNetwork, str | Engine],
    images: Rows,
    first_sample: int,
    held: Frames,
    seed: int,
    counting: bool = False,
    progress: Advance = no_advance,
) -> Found:
    """Run an integer network with a readout on some samples.

    Parameters
    ----------
    subject : tuple of (IntegerNetwork, str or Engine)
    images : array [B, F, M]
        As they were given.
    first_sample : int
        Index of ``images[0]`` in the noise.
    held : Frames
    seed : int
    counting : bool
        Whether to record what has limits, and count what is at them.
    progress : callable
        Told image-iterations done since the last call.

    Raises
    ------
    InputError
        If the network has no readout.
    """
    network, engine = subject
    runner = get_engine(engine) if isinstance(engine, str) else engine
    count = SaturationCount(network)
    floats = network.input.clipped(images, np.float64)
    recording = runner.run(
        network, floats, held.hold, seed,
        record=list(count.variables) if counting else "summary",
        first_sample=first_sample, reset=held.reset, progress=progress,
    )  # fmt: skip
    figures = of_recording(recording)
    if figures is None:
        raise InputError(f"evaluate: the network {network.name!r} has no readout to evaluate")
    if counting:
        count.add(recording.variables)
    return Found(Sums.by_cell(figures, floats, held), count.counts if counting else None)


def in_order(results: Iterable[tuple[int, _Result]]) -> Iterator[_Result]:
    """Yield results in the order of their places, as soon as all before them are there."""
    early: dict[int, _Result] = {}
    due = 0
    for place, result in results:
        early[place] = result
        while due in early:
            yield early.pop(due)
            due += 1
