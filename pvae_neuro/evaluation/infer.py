"""Inference with any model, iteration by iteration: one loop for every family and experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.figures import variance_about_mean_image
from pvae_neuro.models.base import Iteration, Model, State
from pvae_neuro.models.registry import check_reconstructs, model_from_saved
from pvae_neuro.network import Input
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import MOST_ITERATIONS
from pvae_neuro.sim.noise import LARGEST_INDEX, check_seed, check_whole
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import Advance, shown_advance

SAMPLES_PER_BLOCK = 250

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

Observer = Callable[[int, slice, Iteration], None]
"""Takes the number of an iteration, from 0, which samples, and what it gave."""


@runtime_checkable
class Frames(Protocol):
    """Inputs that change in time; see :mod:`pvae_neuro.data.feeders`."""

    @property
    def steps_per_frame(self) -> int:
        """Iterations on each frame."""

    def frame(self, t: int) -> Float32:
        """Frame number t, float32 [N, M]."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Figures per iteration, each after the update, over all samples; latents at the end.

    Attributes
    ----------
    mse : float64 [T]
        Squared error of the reconstruction from sampled latents, summed over pixels, in squared
        units of the input.
    mse_mean : float64 [T]
        The same from the posterior mean of the latents (the papers' MAP).
    r2 : float64 [T]
        1 - squared error / variance of the pixels within the image, averaged over the images that
        are not flat, as the papers' authors compute it; NaN if all are flat.
    zeros : float64 [T]
        Share of latents that are exactly zero.
    change : float64 [T]
        Mean Euclidean norm of the update of the state.
    variance : float64 [T]
        Variance of the inputs about their mean pixel values, summed over pixels.
    z : float32 [N, K]
        Latents after the last iteration.
    mean : float32 [N, K]
        Posterior means after the last iteration.
    code : float32 [N, K]
        What classifiers read after the last iteration,
        :meth:`~pvae_neuro.models.base.Model.code`.
    z_average : float32 [N, K]
        Latents averaged over the last iterations, as many as were asked for.
    reconstruction : float32 [N, M]
        From ``z``.
    """

    mse: Float64
    mse_mean: Float64
    r2: Float64
    zeros: Float64
    change: Float64
    variance: Float64
    z: Float32
    mean: Float32
    code: Float32
    z_average: Float32
    reconstruction: Float32

    def __repr__(self) -> str:
        return (
            f"<Trace of {len(self.z)} samples, {len(self.mse)} iterations: MSE {self.mse[-1]:.4g}, "
            f"R² {self.r2[-1]:.3g}, zeros {self.zeros[-1]:.1%}>"
        )

    @property
    def r2_mean_image(self) -> Float64:
        """1 - mse / variance about the mean image, [T]; NaN where the inputs do not differ."""
        return self._r2(self.mse)

    @property
    def r2_from_means(self) -> Float64:
        """1 - mse_mean / variance about the mean image, [T]."""
        return self._r2(self.mse_mean)

    def _r2(self, mse: Float64) -> Float64:
        known = self.variance > 0
        r2: Float64 = 1.0 - mse / np.where(known, self.variance, np.nan)
        return r2


@checked
@torch.no_grad()
def infer(
    model: Model | SavedModel,
    inputs: ArrayLike | Frames,
    steps: int,
    seed: int = 0,
    *,
    restart: bool = False,
    average: int = 1,
    first_sample: int = 0,
    observe: Observer | None = None,
    progress: Advance | bool | None = None,
) -> Trace:
    """Infer with exact samples.

    Parameters
    ----------
    model : Model or SavedModel
    inputs : array_like [N, M] or Frames
        Images in the declared range, or inputs that change in time; the state carries over from
        frame to frame.
    steps : int
        Iterations T.
    seed : int
        Of all samples; each block of 250 inputs has a stream of its own.
    restart : bool
        Start inference afresh at each frame instead.
    average : int
        Over how many of the last iterations ``z_average`` goes; all where there are fewer.
    first_sample : int
        Index of the first input in the noise, a multiple of 250.
    observe : callable, optional
        Shown every iteration.
    progress : callable, True or False, optional
        Told image-iterations done since the last call; True shows a bar, False nothing. By default
        a terminal shows a bar and a notebook a line now and then.

    Returns
    -------
    Trace

    Raises
    ------
    InputError
        If there are no inputs, they do not fit the model, or a number is out of range.
    """
    steps = check_whole("steps", steps, 1, MOST_ITERATIONS)
    seed = check_seed(seed)
    if isinstance(model, SavedModel):
        model = model_from_saved(model)
    check_reconstructs(model.config.family)
    average = check_whole("average", average, 1, MOST_ITERATIONS)
    first_sample = check_first_sample(first_sample)
    frames = _frames(inputs, model.config.declared_input)
    first = frames.frame(0)
    device = next(model.parameters()).device
    sums = _Sums(steps, len(first), model, min(average, steps))
    with shown_advance(progress, "infer", steps * len(first)) as tell:
        for start in range(0, len(first), SAMPLES_PER_BLOCK):
            block = slice(start, min(start + SAMPLES_PER_BLOCK, len(first)))
            noise = torch.Generator(device)
            noise.manual_seed(block_seed(seed, first_sample + start))
            state: State = ()
            for step, x, fresh in _inputs(frames, block, steps, restart, device):
                state = model.start(x) if fresh else state
                result = model.iterate(x, state, noise)
                state = result.state
                sums.add(step, block, x, result)
                if observe is not None:
                    observe(step, block, result)
                tell(len(x))
    return sums.trace(_variances(frames, steps))


def _frames(inputs: ArrayLike | Frames, declared: Input) -> Frames:
    """Inputs as frames, every one of which is checked."""
    if isinstance(inputs, Frames):
        return _Moving(inputs, declared)
    return _Still(declared.floats(inputs))


class _Still:
    """The same images at every iteration."""

    steps_per_frame = 2**31

    def __init__(self, images: Float32) -> None:
        self._images = images

    def frame(self, t: int) -> Float32:
        return self._images


class _Moving:
    """Frames that change, each within the declared range."""

    def __init__(self, frames: Frames, declared: Input) -> None:
        self._frames, self._declared = frames, declared
        self.steps_per_frame = frames.steps_per_frame

    def frame(self, t: int) -> Float32:
        try:
            return self._declared.floats(self._frames.frame(t))
        except InputError as error:
            raise InputError(f"frame {t}: {error}", error.remedy) from error


def _inputs(
    frames: Frames, block: slice, steps: int, restart: bool, device: torch.device
) -> Iterator[tuple[int, Tensor, bool]]:
    """Yield (iteration, inputs of the block, whether inference starts afresh)."""
    x = torch.empty(0)
    for step in range(steps):
        number, place = divmod(step, frames.steps_per_frame)
        if place == 0:
            x = torch.tensor(frames.frame(number)[block], dtype=torch.float32, device=device)
        yield step, x, step == 0 or (restart and place == 0)


def check_first_sample(first_sample: int) -> int:
    """Index of the first input in the noise, which begins a block."""
    first_sample = check_whole("first_sample", first_sample, 0, LARGEST_INDEX)
    if first_sample % SAMPLES_PER_BLOCK:
        raise InputError(
            f"first_sample: expected a multiple of {SAMPLES_PER_BLOCK}, since so many inputs share "
            f"a stream of noise; got {first_sample}"
        )
    return first_sample


def block_seed(seed: int, start: int) -> int:
    """Seed of the noise of the block of images that begins at ``start``."""
    words = np.random.SeedSequence([seed, start]).generate_state(1, np.uint64)
    return int(words[0]) >> 1


def _variances(frames: Frames, steps: int) -> Float64:
    variances = np.empty(steps)
    for first in range(0, steps, frames.steps_per_frame):
        frame = frames.frame(first // frames.steps_per_frame).astype(np.float64)
        variances[first : first + frames.steps_per_frame] = variance_about_mean_image(frame)
    return variances


_CURVES = ("mse", "mse_mean", "r2", "textured", "zeros", "change")


class _Sums:
    """Sums over samples of what a trace reports."""

    def __init__(self, steps: int, samples: int, model: Model, average: int) -> None:
        self._model, self._steps, self._samples, self._average = model, steps, samples, average
        self._curves = {name: np.zeros(steps) for name in _CURVES}
        self._latents: dict[str, Float32] = {}

    def add(self, step: int, block: slice, x: Tensor, result: Iteration) -> None:
        errors = _squares(x - result.reconstruction)
        within = _squares(x - x.mean(dim=1, keepdim=True))
        # The mean of equal numbers need not be that number.
        textured = x.amax(dim=1) > x.amin(dim=1)
        found = {
            "mse": float(errors.sum()),
            "r2": float((1.0 - errors / within)[textured].sum()),
            "textured": float(textured.sum()),
            "mse_mean": float(_squares(x - self._model.decode(result.mean)).sum()),
            "zeros": float((result.z == 0).double().mean(dim=1).sum()),
            "change": float(result.change.double().sum()),
        }
        for name, value in found.items():
            self._curves[name][step] += value
        if step >= self._steps - self._average:
            self._rows("z_average", result.z)[block] += result.z.cpu().numpy() / self._average
        if step == self._steps - 1:
            last = {name: getattr(result, name) for name in ("z", "mean", "reconstruction")}
            for name, value in {**last, "code": self._model.code(x, result)}.items():
                self._rows(name, value)[block] = value.cpu().numpy()

    def _rows(self, name: str, like: Tensor) -> Float32:
        if name not in self._latents:
            self._latents[name] = np.zeros((self._samples, like.shape[1]), np.float32)
        return self._latents[name]

    def trace(self, variance: Float64) -> Trace:
        curves = {name: curve / self._samples for name, curve in self._curves.items()}
        with np.errstate(invalid="ignore"):
            curves["r2"] /= curves.pop("textured")
        return Trace(variance=variance, **curves, **self._latents)  # type: ignore[arg-type]


def _squares(error: Tensor) -> Tensor:
    """Sum over pixels, float64 [B]."""
    return error.double().square().sum(dim=1)
