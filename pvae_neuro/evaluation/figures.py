"""How well counts reconstruct images: squared error, R-squared, zeros, counts at their cap.

R-squared of an image is one minus the squared error over a variance. Two variances are in use.
``r2`` takes each image's own, that of its pixels about their mean, and averages over images, as the
authors of the papers compute it. ``r2_mean_image`` takes that of all images about their mean image:
it is 0 for a model that shows the mean image whatever it is given: it says what a model explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import FloatCircuit
from pvae_neuro.network.float_circuit import Words
from pvae_neuro.network.interpreter import Values
from pvae_neuro.sim.frames import Frames
from pvae_neuro.sim.recording import Recording

Floats = NDArray[np.float64]
Images = NDArray[np.floating[Any]]

# Variances are taken in parts: each makes a float64 copy.
IMAGES_PER_PART = 4096
# Divides IMAGES_PER_PART.
CELL = 16
"""Samples that are summed together, whatever runs at once."""


@dataclass(frozen=True, eq=False)
class Figures:
    """Figures per iteration, by the counts drawn after it, over all samples.

    There are T iterations, n on each of F frames; a still image is one frame.

    Attributes
    ----------
    mse : float64 [T]
        Squared error of the sampled reconstruction, summed over pixels.
    r2 : float64 [T]
        1 - squared error / variance of the image about its own mean, averaged over the images that
        are not flat; NaN if all are.
    r2_mean_image : float64 [T]
        1 - mse / variance of the images about their mean image; NaN where they do not differ, as a
        single image does not.
    zeros : float64 [T]
        Share of silent neurons.
    capped : float64 [T]
        Share of counts that are the largest that can be drawn, or would be above it; NaN where
        there is no largest, as of the real numbers of a float model that draws nothing.
    spikes : float64 [F]
        Sum of the counts of a sample on each frame. Where the code is not of counts, of its
        magnitudes: in units of an integer network, in real numbers of a float model.
    settling : float64 [F]
        Iterations after which the squared error of a sample has settled on each frame; see
        :meth:`~pvae_neuro.sim.frames.Frames.settling`.
    """

    mse: Floats
    r2: Floats
    r2_mean_image: Floats
    zeros: Floats
    capped: Floats
    spikes: Floats
    settling: Floats

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {len(self.mse)} iterations: {self._in_words()}>"

    def _in_words(self) -> str:
        last = self.final()
        return f"MSE {last['mse']:.4g}, R² {last['r2']:.3g}, zeros {last['zeros']:.1%}"

    @property
    def frames(self) -> int:
        """Number of frames F."""
        return len(self.spikes)

    def final(self) -> dict[str, float]:
        """Figures after the last iteration, by name; of several frames their means."""
        return {name: _defined_mean(values) for name, values in self._at_ends().items()}

    def curves(self) -> dict[str, list[float]]:
        """Figures of every iteration, by name."""
        return {name: getattr(self, name).tolist() for name in CURVES}

    def by_frame(self) -> dict[str, list[float]]:
        """Figures after the last iteration on each frame, spikes and settling, by name."""
        found = {**self._at_ends(), "spikes": self.spikes, "settling": self.settling}
        return {name: values.tolist() for name, values in found.items()}

    def _at_ends(self) -> dict[str, Floats]:
        hold = len(self.mse) // self.frames
        return {name: getattr(self, name)[hold - 1 :: hold] for name in CURVES}


CURVES = ("mse", "r2", "r2_mean_image", "zeros", "capped")
"""Figures of every iteration."""


def _defined_mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


@dataclass(frozen=True, eq=False)
class ImageFigures:
    """Figures of each sample and iteration, by the counts drawn after it: float64 [B, T].

    Attributes
    ----------
    error, zeros, capped : float64 [B, T]
        Squared error summed over pixels, share of silent neurons, share of counts at the cap.
    spikes : float64 [B, T]
        Sum of the counts drawn in the iteration.
    """

    error: Floats
    zeros: Floats
    capped: Floats
    spikes: Floats


def of_recording(recording: Recording) -> ImageFigures | None:
    """Figures of a run on an engine; None where the network has no readout."""
    error, spikes, code = recording.squared_error, recording.spikes, recording.code
    if error is None or spikes is None or code is None:
        return None
    neurons, held = recording.last[code].shape[1], recording.held
    shares = [
        _drawn_after(held, during, after) / neurons
        for during, after in (
            (recording.active, recording.active_after),
            (recording.saturated, recording.saturated_after),
        )
    ]
    return ImageFigures(
        error * recording.error_unit, 1.0 - shares[0], shares[1], spikes.astype(np.float64)
    )


def _drawn_after(held: Frames, during: Any, after: Any) -> NDArray[Any]:
    """Figures of the draws after each iteration [B, T]: in the next one, or at a run's end."""
    of_runs = during.reshape(len(during), held.runs, -1)[..., 1:]
    return np.concatenate([of_runs, after[..., None]], axis=-1).reshape(during.shape)


def of_circuit(
    circuit: FloatCircuit,
    images: Images,
    words: Words,
    held: Frames,
    *,
    largest: int | None = None,
    observe: Callable[[int, Values], None] | None = None,
) -> ImageFigures:
    """Run a float circuit with a readout on a block of samples.

    Parameters
    ----------
    circuit : FloatCircuit
    images : float [B, F, M]
    words : dict of str to uint16 [B, S, n]
        Of every step of the run.
    held : Frames
        How the run goes through the frames.
    largest : int, optional
        Largest count that the network it is compared with can draw.
    observe : callable, optional
        Shown each step, from 0 to S - 1, and the circuit's state after it.

    Raises
    ------
    InputError
        If the circuit has no readout.
    """
    if circuit.readout is None or circuit.code is None:
        raise InputError(f"the circuit {circuit.name!r} has no readout to evaluate")
    x = np.asarray(images, circuit.dtype)
    found = ImageFigures(*(np.zeros((len(x), held.iterations)) for _ in range(4)))
    for run, (shown, places) in enumerate(held.parts()):
        own = {name: w[:, places.start : places.stop] for name, w in words.items()}
        states = circuit.run(x[:, shown], own, len(places) - 1)
        for step, state in zip(places, states, strict=True):
            counts = np.abs(state[circuit.code])
            # Each earlier run has had a step more than it had iterations.
            iteration = step - run
            # The counts that one iteration begins with read out the one before.
            if step > places.start:
                residual = x[:, (iteration - 1) // held.hold] - circuit.reconstruct(state)
                found.error[:, iteration - 1] = np.square(residual, dtype=np.float64).sum(axis=1)
                found.zeros[:, iteration - 1] = (counts == 0).mean(axis=1)
                found.capped[:, iteration - 1] = (
                    np.nan if largest is None else (counts >= largest).mean(axis=1)
                )
            if step < places.stop - 1:
                found.spikes[:, iteration] = counts.sum(axis=1)
            if observe is not None:
                observe(step, state)
    return found


@dataclass(frozen=True, eq=False)
class Sums:
    """Figures summed over samples, which add up over blocks and seeds.

    Attributes
    ----------
    images : int
        How many samples.
    textured : float64 [T]
        How many of their images are not flat.
    error, explained, zeros, capped : float64 [T]
        ``explained`` is 1 - squared error / variance within the image, of the textured ones.
    spikes, settling : float64 [F]
    """

    images: int
    textured: Floats
    error: Floats
    explained: Floats
    zeros: Floats
    capped: Floats
    spikes: Floats
    settling: Floats

    @classmethod
    def of(cls, found: ImageFigures, images: Images, held: Frames) -> Sums:
        """Sum over the samples that the figures are of; their images are [B, F, M]."""
        return cls(len(images), *(term.sum(axis=0) for term in _terms(found, images, held)))

    @classmethod
    def by_cell(cls, found: ImageFigures, images: Images, held: Frames) -> Sums:
        """Sums over every :data:`CELL` samples, [C, T] and [C, F]; the last ones may be fewer."""
        return cls(len(images), *map(_cells, _terms(found, images, held)))

    def then(self, cells: Sums) -> Sums:
        """These sums, to which those of each cell are added one after the other."""
        return Sums(
            self.images + cells.images,
            *(_in_turn(getattr(self, f.name), getattr(cells, f.name)) for f in fields(self)[1:]),
        )

    @classmethod
    def nothing(cls, held: Frames) -> Sums:
        """Sums over no samples."""
        shapes = [held.iterations] * 5 + [held.frames] * 2
        return cls(0, *map(np.zeros, shapes))

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def figures(self, variances: Floats) -> Figures:
        """Means over the samples, whose frames have these variances about their means, [F]."""
        mse = self.error / self.images
        about_mean = np.repeat(variances, len(mse) // len(variances))
        return Figures(
            mse=mse,
            r2=_share(self.explained, self.textured),
            r2_mean_image=1.0 - _share(mse, about_mean),
            zeros=self.zeros / self.images,
            capped=self.capped / self.images,
            spikes=self.spikes / self.images,
            settling=self.settling / self.images,
        )


def _cells(values: Floats) -> Floats:
    """Sums over every :data:`CELL` rows; the last ones may be fewer."""
    whole = len(values) // CELL * CELL
    found: Floats = values[:whole].reshape(-1, CELL, *values.shape[1:]).sum(axis=1)
    rest = values[None, whole:].sum(axis=1)
    return np.concatenate([found, rest]) if whole < len(values) else found


def _in_turn(total: Floats, cells: Floats) -> Floats:
    """Add cells [C, ...] to a total one after the other: sums over axes are free in their order."""
    for cell in cells:
        total = total + cell
    return total


def _terms(found: ImageFigures, images: Images, held: Frames) -> list[Floats]:
    """What each sample adds to the arrays of :class:`Sums`, in their order."""
    within = variance_within(images.reshape(-1, images.shape[-1])).reshape(images.shape[:2])
    within = np.repeat(within, held.hold, axis=1)
    textured = within > 0
    share = np.divide(found.error, within, where=textured, out=np.ones_like(within))
    return [
        textured.astype(np.float64),
        found.error,
        1.0 - share,
        found.zeros,
        found.capped,
        held.by_frame(found.spikes).sum(axis=2),
        held.settling(found.error).astype(np.float64),
    ]


def _share(part: Floats, whole: Floats) -> Floats:
    """``part / whole``; NaN where the whole is nothing."""
    return part / np.where(whole > 0, whole, np.nan)


def variance_within(images: Images) -> Floats:
    """Squares of the pixels about the image's own mean, summed: [N]; exactly 0 for flat images."""
    found = np.zeros(len(images))
    for part in _parts(len(images)):
        x = images[part].astype(np.float64)
        squares = np.square(x - x.mean(axis=1, keepdims=True)).sum(axis=1)
        # The mean of equal numbers need not be that number.
        found[part] = np.where(x.max(axis=1) == x.min(axis=1), 0.0, squares)
    return found


class Variances:
    """Squares of the pixels about the mean image of each frame, summed, of images block by block.

    Deviations from the first image are summed, and their squares: what does not differ is exactly
    0, and of 53 bits few are lost unless that image lies far outside all others.
    """

    def __init__(self) -> None:
        self._count = 0
        self._first = self._sum = self._squares = np.zeros(0)

    def add(self, images: Images) -> None:
        """Take images [B, F, M]."""
        if not self._count:
            self._first = images[0].astype(np.float64)
            self._sum, self._squares = np.zeros_like(self._first), np.zeros(len(self._first))
        self._count += len(images)
        for part in _parts(len(images)):
            deviation = images[part] - self._first
            self._sum = _in_turn(self._sum, _cells(deviation))
            squares = np.square(deviation, out=deviation).sum(axis=2)
            self._squares = _in_turn(self._squares, _cells(squares))

    @property
    def found(self) -> Floats:
        """Variance of each frame, [F]."""
        mean = self._sum / self._count
        return np.maximum(self._squares / self._count - np.square(mean).sum(axis=1), 0.0)


def frame_variances(images: Images) -> Floats:
    """Variance of each frame of images [N, F, M] about its mean image: [F]."""
    variances = Variances()
    variances.add(images)
    return variances.found


def variance_about_mean_image(images: Images) -> float:
    """Squares of the pixels about the mean image, summed; exactly 0 where images do not differ."""
    return float(frame_variances(images[:, None])[0])


def _parts(count: int) -> Iterator[slice]:
    return (slice(first, first + IMAGES_PER_PART) for first in range(0, count, IMAGES_PER_PART))
