"""How well a model reconstructs, by iteration: MSE, R-squared and zeros."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.cluster.engine import ScheduledEngine
from pvae_neuro.errors import InputError
from pvae_neuro.float_model import FloatModel
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.network import IntegerNetwork, check_steps
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel
from pvae_neuro.sim.engine import Engine, Progress, default_engine, get_engine
from pvae_neuro.sim.noise import noise

SAMPLES_PER_BLOCK = 250

_FloatBlock = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures per iteration, each after the update, over all samples.

    Attributes
    ----------
    mse : float64 [T]
        Squared error of the sampled reconstruction, summed over pixels.
    r2 : float64 [T]
        1 - mse / variance of the inputs about their mean pixel values.
    zeros : float64 [T]
        Share of silent neurons.
    samples, steps, seed : int
    engine : str
        ``float`` for the float model.
    """

    mse: NDArray[np.float64]
    r2: NDArray[np.float64]
    zeros: NDArray[np.float64]
    samples: int
    steps: int
    seed: int
    engine: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "engine": self.engine,
            "samples": self.samples,
            "steps": self.steps,
            "seed": self.seed,
            "mse": self.mse.tolist(),
            "r2": self.r2.tolist(),
            "zeros": self.zeros.tolist(),
            "final": {
                "mse": float(self.mse[-1]),
                "r2": float(self.r2[-1]),
                "zeros": float(self.zeros[-1]),
            },
        }


def evaluate(
    subject: SavedModel | IntegerNetwork,
    inputs: NDArray[np.floating[Any]],
    *,
    steps: int,
    seed: int = 0,
    engine: str | Engine | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a float model of any family, or an integer network on an engine.

    A linear iP-VAE and its integer network draw their counts from the same counter-based words, so
    two evaluations with one seed differ by quantization alone. Other families run in PyTorch.

    Parameters
    ----------
    subject : SavedModel or IntegerNetwork
    inputs : float [N, M]
        Images in the declared range.
    steps, seed : int
    engine : str or Engine, optional
        For an integer network; by default the fastest that is installed.
    progress : callable, optional
        Told image-iterations done since the last call.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If there are no inputs.
    EngineUnavailableError
        If a family other than the linear iP-VAE is to be evaluated, and torch is not installed.
    """
    check_steps(steps)
    if not len(inputs):
        raise InputError("evaluate: expected at least one image, got none")
    if isinstance(subject, SavedModel) and subject.config.family != LINEAR_FAMILY:
        return _evaluate_family(subject, inputs, steps, seed, engine, progress)
    if isinstance(subject, SavedModel):
        name = "float"
        error, silent = _run_float(subject, inputs, steps, seed, engine, progress)
    else:
        engine = engine or default_engine()
        loaded = get_engine(engine) if isinstance(engine, str) else engine
        name = loaded.name
        error, silent = _run_engine(loaded, subject, inputs, steps, seed, progress)
    mse = error / len(inputs)
    centered = inputs - inputs.mean(axis=0, dtype=np.float64)
    variance = float((centered**2).sum() / len(inputs))
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1.0 - mse / variance
    return Evaluation(mse, r2, silent / len(inputs), len(inputs), steps, seed, name)


def _evaluate_family(
    model: SavedModel,
    inputs: NDArray[np.floating[Any]],
    steps: int,
    seed: int,
    engine: str | Engine | None,
    progress: Progress | None,
) -> Evaluation:
    if engine is not None:
        raise InputError(
            f"evaluate: expected no engine or scheduler for the family {model.config.family!r}, "
            f"which runs in PyTorch, got {engine if isinstance(engine, str) else engine.name!r}"
        )
    # Built first: it says what to install where torch is missing.
    module = model_from_saved(model)
    from pvae_neuro.evaluation.infer import infer

    trace = infer(module, np.asarray(inputs, np.float32), steps, seed, progress=progress)
    return Evaluation(trace.mse, trace.r2, trace.zeros, len(inputs), steps, seed, "float")


def _run_float(
    model: SavedModel,
    inputs: NDArray[np.floating[Any]],
    steps: int,
    seed: int,
    engine: str | Engine | None,
    progress: Progress | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Evaluate the float model: here, or on the workers of a scheduled engine."""
    float_model = FloatModel(model)
    starts = range(0, len(inputs), SAMPLES_PER_BLOCK)
    calls = (
        (np.asarray(inputs[first : first + SAMPLES_PER_BLOCK], np.float32), first, steps, seed)
        for first in starts
    )
    blocks: Iterable[tuple[int, _FloatBlock]]
    if isinstance(engine, ScheduledEngine):
        blocks = engine.map(float_block, float_model, calls)
    else:
        run = partial(float_block, float_model, progress=progress)
        blocks = enumerate(run(*call) for call in calls)
    found: dict[int, _FloatBlock] = {}
    for place, block in blocks:
        found[place] = block
        if progress is not None and isinstance(engine, ScheduledEngine):
            progress(steps * min(SAMPLES_PER_BLOCK, len(inputs) - starts[place]))
    # Summed in the order of the samples, so that workers cannot change a bit of the sum.
    parts = [found[place] for place in range(len(starts))]
    error = sum((part[0] for part in parts), np.zeros(steps))
    return error, sum((part[1] for part in parts), np.zeros(steps))


def float_block(
    model: FloatModel,
    images: NDArray[np.float32],
    first_sample: int,
    steps: int,
    seed: int,
    progress: Progress | None = None,
) -> _FloatBlock:
    """Run the float model on some samples.

    Parameters
    ----------
    model : FloatModel
    images : float32 [B, M]
    first_sample : int
        Index of ``images[0]`` in the noise.
    steps, seed : int
    progress : callable, optional
        Told image-iterations done since the last call.

    Returns
    -------
    error, silent : float64 [T]
        Squared error and share of silent neurons after each update, summed over the samples.
    """
    error, silent = np.zeros(steps), np.zeros(steps)
    places = range(first_sample, first_sample + len(images))
    words = noise(seed, steps + 1, places, model.config.latents)
    for step, (z, _) in enumerate(model.iterate(images, words)):
        # The count of one step is the readout of the step before.
        if step:
            residual = images - z @ model.dictionary.T
            error[step - 1] = np.square(residual, dtype=np.float64).sum()
            silent[step - 1] = (z == 0).mean(axis=1).sum()
        if progress is not None and step < steps:
            progress(len(images))
    return error, silent


def _run_engine(
    engine: Engine,
    network: IntegerNetwork,
    inputs: NDArray[np.floating[Any]],
    steps: int,
    seed: int,
    progress: Progress | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    recording = engine.run(network, inputs, steps, seed, record="summary", progress=progress)
    if recording.squared_error is None or recording.active is None:
        raise InputError(f"engine {engine.name!r} gave no summary")
    error = recording.squared_error.sum(axis=0) * recording.error_unit
    # The readout ends the list of counts: its zeros belong to the last update.
    last = np.count_nonzero(recording.readout, axis=1)
    active = np.concatenate([recording.active[:, 1:], last[:, None]], axis=1)
    return error, (1.0 - active / network.latents.size).sum(axis=0)
