"""What measures read of a float model along inference: codes, samples and divergences."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.infer import SAMPLES_PER_BLOCK, block_seed, check_first_sample
from pvae_neuro.evaluation.measures.integer_codes import Codes
from pvae_neuro.models.base import Model, State
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import MOST_ITERATIONS
from pvae_neuro.sim.noise import check_seed, check_whole
from pvae_neuro.utils.progress import Advance, shown_advance

Float32 = NDArray[np.float32]


def codes_along(
    model: Model | SavedModel,
    images: ArrayLike,
    times: tuple[int, ...],
    seed: int = 0,
    *,
    first_sample: int = 0,
    progress: Advance | bool | None = None,
) -> dict[int, Codes]:
    """Codes of still images after each of some numbers of iterations, by that number.

    Iterations between them are run by :meth:`~pvae_neuro.models.base.Model.repeat`.

    Parameters
    ----------
    model : Model or SavedModel
    images : array_like [N, M]
        In the declared range.
    times : tuple of int
        Iterations after which to read codes, at least 1, ascending.
    seed : int
        Of all samples; each block of 250 images has a stream of its own.
    first_sample : int
        Index of the first image in the noise, a multiple of 250.
    progress : callable, True or False, optional
        Told image-iterations done since the last call; True shows a bar, False nothing. By default
        a terminal shows a bar and a notebook a line now and then.

    Raises
    ------
    InputError
        If the images do not fit the model, or times are none, not whole, or not ascending.
    """
    seed = check_seed(seed)
    times = tuple(check_whole("times", time, 1, MOST_ITERATIONS) for time in times)
    if not times or list(times) != sorted(set(times)):
        raise InputError(f"times: expected ascending numbers of iterations, got {times}")
    first_sample = check_first_sample(first_sample)
    if isinstance(model, SavedModel):
        model = model_from_saved(model)
    pixels = model.config.declared_input.floats(images)
    found: dict[int, list[Codes]] = {time: [] for time in times}
    with shown_advance(progress, "infer", times[-1] * len(pixels)) as tell:
        for start in range(0, len(pixels), SAMPLES_PER_BLOCK):
            x = torch.tensor(pixels[start : start + SAMPLES_PER_BLOCK])
            noise = torch.Generator()
            noise.manual_seed(block_seed(seed, first_sample + start))
            state, done = model.start(x), 0
            for time in times:
                state = model.repeat(x, state, time - done - 1, noise)
                state, codes = _read(model, x, state, noise)
                found[time].append(codes)
                tell(len(x) * (time - done))
                done = time
    return {time: _joined(parts) for time, parts in found.items()}


@torch.no_grad()
def _read(
    model: Model, x: torch.Tensor, state: State, noise: torch.Generator
) -> tuple[State, Codes]:
    """Run an iteration; the state after it and what is read of it, divergences summed."""
    result = model.iterate(x, state, noise)
    kl = model.divergence(x, state, result.state)
    error = (x - result.reconstruction).double().square().sum(1).numpy()
    summed = None if kl is None else kl.double().sum(0).numpy()
    return result.state, Codes(model.code(x, result).numpy(), result.z.numpy(), error, summed)


def posterior_reconstructions(
    model: Model | SavedModel, images: ArrayLike, steps: int, samples: int, seed: int = 0
) -> Float32:
    """Reconstructions of still images [N, M] from samples of the posterior, [S, N, M].

    They are those of the last S of so many iterations and S - 1 more: an encoder samples its
    posterior afresh in each, and an iterative model that has settled samples the posterior that it
    keeps about its fixed point.

    Raises
    ------
    InputError
        If the images do not fit the model, or a number is out of range.
    """
    steps = check_whole("steps", steps, 1, MOST_ITERATIONS)
    samples = check_whole("samples", samples, 1, MOST_ITERATIONS)
    seed = check_seed(seed)
    if isinstance(model, SavedModel):
        model = model_from_saved(model)
    pixels = model.config.declared_input.floats(images)
    found = np.empty((samples, *pixels.shape), np.float32)
    for start in range(0, len(pixels), SAMPLES_PER_BLOCK):
        block = slice(start, start + SAMPLES_PER_BLOCK)
        x, noise = torch.tensor(pixels[block]), torch.Generator()
        noise.manual_seed(block_seed(seed, start))
        state = model.repeat(x, model.start(x), steps - 1, noise)
        for sample in range(samples):
            result = model.iterate(x, state, noise)
            state = result.state
            found[sample, block] = result.reconstruction.numpy()
    return found


def _joined(parts: list[Codes]) -> Codes:
    """Codes of all blocks, their divergences averaged."""
    code, z, error = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("code", "z", "error")
    )
    sums = [part.kl for part in parts if part.kl is not None]
    return Codes(code, z, error, np.sum(sums, axis=0) / len(code) if sums else None)
