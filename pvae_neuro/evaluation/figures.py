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
from pvae_neuro.network import FloatCircuit, IntegerNetwork
from pvae_neuro.network.float_circuit import Words
from pvae_neuro.network.interpreter import Values
from pvae_neuro.sim.recording import Recording

Floats = NDArray[np.float64]
Images = NDArray[np.floating[Any]]

# Variances are taken in parts: each makes a float64 copy.
IMAGES_PER_PART = 4096


@dataclass(frozen=True, eq=False)
class Figures:
    """Figures per iteration, by the counts drawn after it, over all images.

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
        there is no largest.
    """

    mse: Floats
    r2: Floats
    r2_mean_image: Floats
    zeros: Floats
    capped: Floats

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {len(self.mse)} iterations: {self._in_words()}>"

    def _in_words(self) -> str:
        last = self.final()
        return f"MSE {last['mse']:.4g}, R² {last['r2']:.3g}, zeros {last['zeros']:.1%}"

    def final(self) -> dict[str, float]:
        """Figures after the last iteration, by name."""
        return {field.name: float(getattr(self, field.name)[-1]) for field in fields(Figures)}

    def curves(self) -> dict[str, list[float]]:
        """Figures of every iteration, by name."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(Figures)}


@dataclass(frozen=True, eq=False)
class ImageFigures:
    """Figures of each image and iteration, by the counts drawn after it: float64 [B, T].

    Attributes
    ----------
    error, zeros, capped : float64 [B, T]
        Squared error summed over pixels, share of silent neurons, share of counts at the cap.
    """

    error: Floats
    zeros: Floats
    capped: Floats


def of_recording(network: IntegerNetwork, recording: Recording) -> ImageFigures | None:
    """Figures of a run on an engine; None where the network has no readout."""
    error, active, saturated = recording.squared_error, recording.active, recording.saturated
    if error is None or active is None or saturated is None or recording.code is None:
        return None
    # The last counts end the list: their figures belong to the last iteration.
    counts = np.abs(recording.inferred)
    last = np.count_nonzero(counts, axis=1), (counts == network.largest_code).sum(axis=1)
    shares = [
        np.concatenate([each[:, 1:], final[:, None]], axis=1) / counts.shape[1]
        for each, final in zip((active, saturated), last, strict=True)
    ]
    return ImageFigures(error * recording.error_unit, 1.0 - shares[0], shares[1])


def of_circuit(
    circuit: FloatCircuit,
    images: Images,
    words: Words,
    steps: int,
    *,
    largest: int | None = None,
    observe: Callable[[int, Values], None] | None = None,
) -> ImageFigures:
    """Run a float circuit with a readout on a block of images.

    Parameters
    ----------
    circuit : FloatCircuit
    images : float [B, M]
    words : dict of str to uint16 [B, T + 1, n]
    steps : int
        Iterations T.
    largest : int, optional
        Largest code of the network that it is compared with.
    observe : callable, optional
        Shown each step, from 0 to T, and the circuit's state after it.

    Raises
    ------
    InputError
        If the circuit has no readout.
    """
    if circuit.readout is None or circuit.code is None:
        raise InputError(f"the circuit {circuit.name!r} has no readout to evaluate")
    x = np.asarray(images, circuit.dtype)
    found = ImageFigures(*(np.zeros((len(x), steps)) for _ in range(3)))
    for step, state in enumerate(circuit.run(x, words, steps)):
        # The counts that one iteration begins with read out the one before.
        if step:
            counts = state[circuit.code]
            residual = x - circuit.reconstruct(state)
            found.error[:, step - 1] = np.square(residual, dtype=np.float64).sum(axis=1)
            found.zeros[:, step - 1] = (counts == 0).mean(axis=1)
            found.capped[:, step - 1] = (
                np.nan if largest is None else (np.abs(counts) >= largest).mean(axis=1)
            )
        if observe is not None:
            observe(step, state)
    return found


@dataclass(frozen=True, eq=False)
class Sums:
    """Figures summed over images, which add up over blocks and seeds.

    Attributes
    ----------
    images, textured : int
        How many images, and how many of them are not flat.
    error, explained, zeros, capped : float64 [T]
        ``explained`` is 1 - squared error / variance within the image, of the textured ones.
    """

    images: int
    textured: int
    error: Floats
    explained: Floats
    zeros: Floats
    capped: Floats

    @classmethod
    def of(cls, found: ImageFigures, images: Images) -> Sums:
        """Sum over the images that the figures are of."""
        within = variance_within(images)
        textured = within > 0
        share = found.error[textured] / within[textured, None]
        return cls(
            len(images),
            int(textured.sum()),
            found.error.sum(axis=0),
            (1.0 - share).sum(axis=0),
            found.zeros.sum(axis=0),
            found.capped.sum(axis=0),
        )

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def figures(self, variance: float) -> Figures:
        """Means over the images, which have this variance about their mean image."""
        mse = self.error / self.images
        return Figures(
            mse=mse,
            r2=_share(self.explained, self.textured),
            r2_mean_image=1.0 - _share(mse, variance),
            zeros=self.zeros / self.images,
            capped=self.capped / self.images,
        )


def _share(part: Floats, whole: float) -> Floats:
    return part / whole if whole > 0 else np.full(len(part), np.nan)


def variance_within(images: Images) -> Floats:
    """Squares of the pixels about the image's own mean, summed: [N]; exactly 0 for flat images."""
    found = np.zeros(len(images))
    for part in _parts(len(images)):
        x = images[part].astype(np.float64)
        squares = np.square(x - x.mean(axis=1, keepdims=True)).sum(axis=1)
        # The mean of equal numbers need not be that number.
        found[part] = np.where(x.max(axis=1) == x.min(axis=1), 0.0, squares)
    return found


def variance_about_mean_image(images: Images) -> float:
    """Squares of the pixels about the mean image, summed; exactly 0 where images do not differ."""
    if (images == images[:1]).all():
        return 0.0
    mean = images.mean(axis=0, dtype=np.float64)
    parts = (np.square(images[part] - mean).sum() for part in _parts(len(images)))
    return float(sum(parts) / len(images))


def _parts(count: int) -> Iterator[slice]:
    return (slice(first, first + IMAGES_PER_PART) for first in range(0, count, IMAGES_PER_PART))
