"""Proof that engines and float model agree: the three tiers of evidence in one report.

1. Integer against integer: every count and potential of every step, equal (integers.py).
2. Integer against float under the same random words: within a bound (against_float.py).
3. The sampler against Poisson: exact total variation over the range of u in use, at most 1e-3.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.count_table import MAX_TOTAL_VARIATION
from pvae_neuro.errors import InputError
from pvae_neuro.float_model import FloatModel
from pvae_neuro.network import IntegerNetwork, check_steps
from pvae_neuro.network import ImageShape
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import Engine, Recording, get_engine
from pvae_neuro.sim.noise import noise
from pvae_neuro.verification.against_float import (
    FloatCheck,
    FloatResult,
    FloatTrajectory,
    Tolerances,
    run_float,
)
from pvae_neuro.verification.integers import PairCheck

StageProgress = Callable[[str, int, int], None]
FLOAT_STAGE = "float"
TRACED_SAMPLES = 8
# Full trajectories of all engines of one block stay below this.
BLOCK_BYTES = 256 << 20


@dataclass(frozen=True, eq=False)
class Traces:
    """Trajectories of the first samples, for figures.

    Attributes
    ----------
    inputs, reconstruction_float, reconstruction_integer : float [n, M]
    counts_float, counts_integer : [n, T, K]
    potentials_float, potentials_integer : float [n, T, K]
        Log-rate, after each update.
    mse_float, mse_integer, zeros_float, zeros_integer : float64 [T]
        Over all samples.
    image_shape : tuple of int or None
    """

    inputs: NDArray[np.floating[Any]]
    reconstruction_float: NDArray[np.floating[Any]]
    reconstruction_integer: NDArray[np.floating[Any]]
    counts_float: NDArray[np.floating[Any]]
    counts_integer: NDArray[np.integer[Any]]
    potentials_float: NDArray[np.floating[Any]]
    potentials_integer: NDArray[np.floating[Any]]
    mse_float: NDArray[np.float64]
    mse_integer: NDArray[np.float64]
    zeros_float: NDArray[np.float64]
    zeros_integer: NDArray[np.float64]
    image_shape: ImageShape | None


@dataclass(frozen=True, eq=False)
class ParityReport:
    """Outcome of :func:`verify`.

    Attributes
    ----------
    topology : str
    samples, steps, seed : int
    seconds : dict of str to float
        Wall time per engine.
    pairs : tuple of PairCheck
    float_result : FloatResult or None
        None where no float model was given.
    total_variation : float
        Of the sampler from Poisson, largest over the range of u.
    traces : Traces or None
    """

    topology: str
    samples: int
    steps: int
    seed: int
    seconds: dict[str, float]
    pairs: tuple[PairCheck, ...]
    float_result: FloatResult | None
    total_variation: float
    traces: Traces | None

    @property
    def passed(self) -> bool:
        """Whether every tier passed."""
        return not self.failures()

    def failures(self) -> list[str]:
        """Return a sentence per failure; the first diverging place of each differing pair."""
        found = [
            f"{p.a} against {p.b}: {p.differing_integers} of {p.compared_integers} integers "
            f"differ; {p.first_divergence}"
            for p in self.pairs
            if not p.passed
        ]
        if self.float_result is not None:
            found += self.float_result.failures()
        if self.total_variation > MAX_TOTAL_VARIATION:
            found.append(
                f"sampler: total variation {self.total_variation:.2e} from Poisson, bound "
                f"{MAX_TOTAL_VARIATION}"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "passed": self.passed,
            "failures": self.failures(),
            "topology": self.topology,
            "samples": self.samples,
            "steps": self.steps,
            "seed": self.seed,
            "engines": [{"name": n, "seconds": s} for n, s in self.seconds.items()],
            "pairs": [p.to_dict() for p in self.pairs],
            "float_against_integer": (
                None if self.float_result is None else self.float_result.to_dict()
            ),
            "sampler": {
                "max_total_variation": self.total_variation,
                "limit": MAX_TOTAL_VARIATION,
                "passed": self.total_variation <= MAX_TOTAL_VARIATION,
            },
        }


def verify(
    network: IntegerNetwork,
    model: SavedModel | None,
    inputs: NDArray[np.floating[Any]],
    *,
    steps: int = 32,
    seed: int = 0,
    engines: Sequence[str | Engine] = ("reference", "onnx"),
    tolerances: Tolerances | None = None,
    progress: StageProgress | None = None,
) -> ParityReport:
    """Run the same samples, steps and seed everywhere, and compare.

    Parameters
    ----------
    network : IntegerNetwork
    model : SavedModel or None
        The float model that the network was quantized from; None leaves tier 2 out.
    inputs : float [N, M]
        Images in the declared range.
    steps, seed : int
    engines : sequence of str or Engine
        Names, or engines themselves.
    tolerances : Tolerances, optional
        Allowances of tier 2, taken as they are; the default is widened to what the network
        declares of itself.
    progress : callable, optional
        Told (stage, image-iterations done, of how many); a stage is an engine's name or "float".

    Returns
    -------
    ParityReport

    Raises
    ------
    InputError
        If there are no inputs or no engines, or the model is of another size.
    EngineError, EngineUnavailableError
        If an engine fails or is missing.
    """
    check_steps(steps)
    if not len(inputs) or not engines:
        raise InputError(
            f"verify: expected at least one image and one engine, got {len(inputs)} and "
            f"{len(engines)}"
        )
    if model is not None:
        _check_sizes(network, model)
    loaded = [get_engine(e) if isinstance(e, str) else e for e in engines]
    run = _Verification(network, model, loaded, steps, seed, progress)
    run.check.tolerances = tolerances or Tolerances().widened(network)
    block = _block_size(network, steps, len(loaded))
    for first in range(0, len(inputs), block):
        run.block(np.asarray(inputs[first : first + block]), first, len(inputs))
    return run.report(len(inputs))


def _check_sizes(network: IntegerNetwork, model: SavedModel) -> None:
    ours = network.input.pixels, network.latents.size
    theirs = model.config.pixels, model.config.latents
    if ours != theirs:
        raise InputError(
            f"verify: expected the float model of a network with {ours[0]} pixels and {ours[1]} "
            f"latents, got one with {theirs[0]} and {theirs[1]}; give the model it was exported "
            f"from"
        )


def _block_size(network: IntegerNetwork, steps: int, engines: int) -> int:
    # A count and a potential take 5 bytes, a float step 8 more.
    per_sample = (steps + 1) * network.latents.size * (5 * engines + 8)
    return max(1, BLOCK_BYTES // per_sample)


class _Verification:
    """State of one run of :func:`verify`: accumulates block by block."""

    def __init__(
        self,
        network: IntegerNetwork,
        model: SavedModel | None,
        engines: list[Engine],
        steps: int,
        seed: int,
        progress: StageProgress | None,
    ) -> None:
        self.network, self.engines, self.steps, self.seed = network, engines, steps, seed
        self.model = None if model is None else FloatModel(model)
        self.progress = progress
        self.pairs = [PairCheck(a.name, b.name) for a, b in combinations(engines, 2)]
        self.check = FloatCheck()
        self.seconds = {engine.name: 0.0 for engine in engines}
        self.done = dict.fromkeys([*self.seconds, FLOAT_STAGE], 0)
        self.first: tuple[NDArray[np.floating[Any]], Recording, FloatTrajectory] | None = None

    def block(self, images: NDArray[np.floating[Any]], first: int, total: int) -> None:
        recordings = [self._run(engine, images, first, total) for engine in self.engines]
        for pair, (a, b) in zip(self.pairs, combinations(recordings, 2), strict=True):
            pair.add(self.network, a, b, first)
        if self.model is not None:
            self._compare_float(self.model, images, recordings[0], first, total)

    def _run(
        self, engine: Engine, images: NDArray[np.floating[Any]], first: int, total: int
    ) -> Recording:
        start = time.perf_counter()
        recording = engine.run(
            self.network,
            images,
            self.steps,
            self.seed,
            record="full",
            first_sample=first,
            progress=lambda n: self._tell(engine.name, n, total),
        )
        self.seconds[engine.name] += time.perf_counter() - start
        return recording

    def _compare_float(
        self,
        model: FloatModel,
        images: NDArray[np.floating[Any]],
        recording: Recording,
        first: int,
        total: int,
    ) -> None:
        places = range(first, first + len(images))
        words = noise(self.seed, self.steps + 1, places, self.network.latents.size)
        trajectory = run_float(model, images, words)
        self.check.add(model, images, trajectory, recording)
        self._tell(FLOAT_STAGE, len(images) * self.steps, total)
        if self.first is None:
            self.first = images, recording, trajectory

    def _tell(self, stage: str, done: int, samples: int) -> None:
        self.done[stage] += done
        if self.progress is not None:
            self.progress(stage, self.done[stage], samples * self.steps)

    def report(self, samples: int) -> ParityReport:
        result = self.check.result() if self.model is not None else None
        return ParityReport(
            topology=self.network.topology,
            samples=samples,
            steps=self.steps,
            seed=self.seed,
            seconds=self.seconds,
            pairs=tuple(self.pairs),
            float_result=result,
            total_variation=float(self.network.latents.table.total_variation().max()),
            traces=None if result is None else self._traces(result),
        )

    def _traces(self, result: FloatResult) -> Traces | None:
        if self.first is None or self.model is None:
            return None
        images, recording, trajectory = self.first
        n = slice(0, TRACED_SAMPLES)
        if recording.counts is None or recording.potentials is None:
            return None
        return Traces(
            inputs=images[n],
            reconstruction_float=trajectory.counts[n, -1] @ self.model.dictionary.T,
            reconstruction_integer=recording.reconstruction[n],
            counts_float=trajectory.counts[n, :-1],
            counts_integer=recording.counts[n],
            potentials_float=trajectory.potentials[n],
            potentials_integer=recording.potentials[n] / 2.0**self.network.latents.frac_bits,
            mse_float=result.mse_float,
            mse_integer=result.mse_integer,
            zeros_float=result.zeros_float,
            zeros_integer=result.zeros_integer,
            image_shape=self.network.input.image_shape,
        )
