"""How well a model reconstructs, by iteration: MSE, R-squared and zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.exporters.lowerings import float_circuit_of
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.network import FloatCircuit, IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import MOST_ITERATIONS, Engine, fastest_engine, get_engine
from pvae_neuro.sim.noise import check_seed, check_whole, population_noise
from pvae_neuro.utils.progress import Advance, no_advance

SAMPLES_PER_BLOCK = 250
# Images are checked in parts: the check makes a float64 copy.
IMAGES_PER_CHECK = 4096

Sums = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Squared error and share of silent neurons by iteration, summed over samples."""


@runtime_checkable
class Workers(Protocol):
    """An engine that can run any function elsewhere, as a scheduled engine can."""

    def map(
        self, function: Callable[..., Any], shared: object, calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield the place of each call, and ``function(shared, *call)``, as they come in."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures per iteration, by the counts drawn after it, over all samples.

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
    progress: Advance | None = None,
) -> Evaluation:
    """Evaluate a float model of any family, or an integer network on an engine.

    A model of a family that can be lowered and its integer network draw their counts from the same
    counter-based words, so two evaluations with one seed differ by quantization alone. Models of
    other families run in PyTorch.

    Parameters
    ----------
    subject : SavedModel or IntegerNetwork
    inputs : float [N, M]
        Images in the declared range.
    steps : int
        Iterations.
    seed : int
    engine : str or Engine, optional
        For an integer network; by default the fastest that works here. A float model runs on the
        workers of a scheduled engine, and on no other.
    progress : callable, optional
        Told image-iterations done since the last call.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If there are no inputs, they do not fit, or the subject cannot run on the engine.
    MissingDependencyError
        If a model runs in PyTorch, and torch is not installed.
    """
    steps = check_whole("steps", steps, 1, MOST_ITERATIONS)
    seed = check_seed(seed)
    if not len(inputs):
        raise InputError("evaluate: expected at least one image, got none")
    tell = progress or no_advance
    if isinstance(subject, IntegerNetwork):
        runner = _loaded(engine, subject)
        return _summarized(
            _run_engine(runner, subject, inputs, steps, seed, tell),
            inputs,
            steps,
            seed,
            runner.name,
        )
    circuit = float_circuit_of(subject)
    workers = _workers(subject, engine, circuit is not None)
    if circuit is None:
        return _evaluate_in_pytorch(subject, inputs, steps, seed, tell)
    for first in range(0, len(inputs), IMAGES_PER_CHECK):
        circuit.input.check(inputs[first : first + IMAGES_PER_CHECK])
    sums = _run_float(circuit, inputs, steps, seed, workers, tell)
    return _summarized(sums, inputs, steps, seed, "float")


def _loaded(engine: str | Engine | None, network: IntegerNetwork) -> Engine:
    if engine is None:
        return fastest_engine(network)
    return get_engine(engine) if isinstance(engine, str) else engine


def _workers(model: SavedModel, engine: str | Engine | None, lowered: bool) -> Workers | None:
    """Workers to run a float model on; None to run it here."""
    if engine is None:
        return None
    if lowered and isinstance(engine, Workers):
        return engine
    where = "on no engine, but on workers of a scheduler" if lowered else "in PyTorch"
    raise InputError(
        f"evaluate: a float model of the family {model.config.family!r} runs {where}; got the "
        f"engine {engine if isinstance(engine, str) else engine.name!r}"
    )


def _summarized(
    sums: Sums, inputs: NDArray[np.floating[Any]], steps: int, seed: int, engine: str
) -> Evaluation:
    error, silent = sums
    mse = error / len(inputs)
    centered = inputs - inputs.mean(axis=0, dtype=np.float64)
    variance = float((centered**2).sum() / len(inputs))
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1.0 - mse / variance
    return Evaluation(mse, r2, silent / len(inputs), len(inputs), steps, seed, engine)


def _evaluate_in_pytorch(
    model: SavedModel,
    inputs: NDArray[np.floating[Any]],
    steps: int,
    seed: int,
    progress: Advance,
) -> Evaluation:
    # Built first: it says what to install where torch is missing.
    module = model_from_saved(model)
    from pvae_neuro.evaluation.infer import infer

    trace = infer(module, np.asarray(inputs, np.float32), steps, seed, progress=progress)
    return Evaluation(trace.mse, trace.r2, trace.zeros, len(inputs), steps, seed, "float")


def _run_float(
    circuit: FloatCircuit,
    inputs: NDArray[np.floating[Any]],
    steps: int,
    seed: int,
    workers: Workers | None,
    progress: Advance,
) -> Sums:
    """Evaluate a float circuit, here or on workers."""
    starts = range(0, len(inputs), SAMPLES_PER_BLOCK)
    calls = (
        (np.asarray(inputs[first : first + SAMPLES_PER_BLOCK], np.float32), first, steps, seed)
        for first in starts
    )
    found: dict[int, Sums] = {}
    if workers is None:
        run = partial(float_block, circuit, progress=progress)
        found = {place: run(*call) for place, call in enumerate(calls)}
    else:
        for place, block in workers.map(float_block, circuit, calls):
            found[place] = block
            progress(steps * min(SAMPLES_PER_BLOCK, len(inputs) - starts[place]))
    # Summed in the order of the samples, so that workers cannot change a bit of the sum.
    parts = [found[place] for place in range(len(starts))]
    error = sum((part[0] for part in parts), np.zeros(steps))
    return error, sum((part[1] for part in parts), np.zeros(steps))


def float_block(
    circuit: FloatCircuit,
    images: NDArray[np.float32],
    first_sample: int,
    steps: int,
    seed: int,
    progress: Advance = no_advance,
) -> Sums:
    """Run a float circuit with a readout on some samples.

    Parameters
    ----------
    circuit : FloatCircuit
    images : float32 [B, M]
    first_sample : int
        Index of ``images[0]`` in the noise.
    steps, seed : int
    progress : callable
        Told image-iterations done since the last call.
    """
    if circuit.readout is None:
        raise InputError(f"evaluate: the circuit {circuit.name!r} has no readout")
    source = f"{circuit.readout.population}.{circuit.readout.variable}"
    places = range(first_sample, first_sample + len(images))
    words = {p.name: population_noise(p, seed, range(steps + 1), places) for p in circuit.drawing}
    error, silent = np.zeros(steps), np.zeros(steps)
    for step, state in enumerate(circuit.run(images, words, steps)):
        # The counts that one iteration begins with read out the one before.
        if step:
            residual = images - circuit.reconstruct(state)
            error[step - 1] = np.square(residual, dtype=np.float64).sum()
            silent[step - 1] = (state[source] == 0).mean(axis=1).sum()
        if step < steps:
            progress(len(images))
    return error, silent


def _run_engine(
    engine: Engine,
    network: IntegerNetwork,
    inputs: NDArray[np.floating[Any]],
    steps: int,
    seed: int,
    progress: Advance,
) -> Sums:
    recording = engine.run(network, inputs, steps, seed, record="summary", progress=progress)
    if recording.squared_error is None or recording.active is None:
        raise InputError(f"evaluate: the network {network.name!r} has no readout to evaluate")
    # In floats: every sample's error fits 64 bits, their sum need not.
    error = recording.squared_error.sum(axis=0, dtype=np.float64) * recording.error_unit
    # The readout ends the list of counts: its zeros belong to the last iteration.
    counts = recording.readout
    last = np.count_nonzero(counts, axis=1)
    active = np.concatenate([recording.active[:, 1:], last[:, None]], axis=1)
    return error, (1.0 - active / counts.shape[1]).sum(axis=0)
