"""Verify that engines and the float circuit agree: three tiers of evidence in one report.

1. Integer against integer: every variable of every population and step, equal (integers.py).
2. Integer against float under the same random words: within a bound (against_float.py).
3. The sampler against Poisson: exact total variation over every log-rate that can be reached.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.exporters.certify import Certificate, examine
from pvae_neuro.exporters.lowerings import LOWERINGS
from pvae_neuro.network import FloatCircuit, IntegerNetwork
from pvae_neuro.network.interpreter import Values
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import MOST_ITERATIONS, Engine, get_engine
from pvae_neuro.sim.noise import check_whole, population_noise
from pvae_neuro.sim.recording import Recording, variable_dtype
from pvae_neuro.utils.progress import StageProgress, no_stages
from pvae_neuro.verification.against_float import FloatCheck, FloatResult, Tolerances
from pvae_neuro.verification.integers import PairCheck
from pvae_neuro.verification.traces import TRACED_SAMPLES, Traces, traced

FLOAT_STAGE = "float"
# Full recordings of all engines of one block stay below this.
BLOCK_BYTES = 256 << 20


@dataclass(frozen=True, eq=False)
class ParityReport:
    """Outcome of :func:`verify`.

    Attributes
    ----------
    topology : str
        Name of the circuit.
    samples, steps, seed : int
    seconds : dict of str to float
        Wall time per engine, without what it does once, such as compiling.
    pairs : tuple of PairCheck
    float_result : FloatResult or None
        None where no float model was given.
    total_variation, total_variation_limit : float
        Of the sampler from Poisson, largest over every log-rate that can be reached.
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
    total_variation_limit: float
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
        if self.total_variation > self.total_variation_limit:
            found.append(
                f"sampler: total variation {self.total_variation:.2e} from Poisson, bound "
                f"{self.total_variation_limit:g}"
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
                "limit": self.total_variation_limit,
                "passed": self.total_variation <= self.total_variation_limit,
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
    """Run the same samples, iterations and seed everywhere, and compare.

    Parameters
    ----------
    network : IntegerNetwork
    model : SavedModel or None
        The float model that the network was lowered from; None leaves tier 2 out.
    inputs : float [N, M]
        Images in the declared range.
    steps : int
        Iterations.
    seed : int
    engines : sequence of str or Engine
        Names, or engines themselves.
    tolerances : Tolerances, optional
        Allowances of tier 2, taken as they are; the default is widened to what was measured of the
        network at export.
    progress : callable, optional
        Told (stage, image-iterations done, of how many); a stage is an engine's name or "float".

    Returns
    -------
    ParityReport

    Raises
    ------
    InputError
        If there are no inputs or no engines, or the network was not lowered from this model.
    EngineError, EngineUnavailableError
        If an engine fails or is missing.
    """
    steps = check_whole("steps", steps, 1, MOST_ITERATIONS)
    if not len(inputs) or not engines:
        raise InputError(
            f"verify: expected at least one image and one engine, got {len(inputs)} and "
            f"{len(engines)}"
        )
    loaded = [get_engine(e) if isinstance(e, str) else e for e in engines]
    circuit = None if model is None else float_circuit(network, model)
    check = FloatCheck(tolerances or Tolerances().widened(network))
    run = _Verification(network, circuit, check, loaded, steps, seed, progress or no_stages)
    for engine in loaded:
        _prepare(engine, network, progress or no_stages)
    block = _block_size(network, steps, len(loaded))
    for first in range(0, len(inputs), block):
        run.block(np.asarray(inputs[first : first + block]), first, len(inputs))
    return run.report(len(inputs), examine(network))


def _prepare(engine: Engine, network: IntegerNetwork, progress: StageProgress) -> None:
    """Have an engine compile now, so that this is not counted as time of its runs."""
    said: list[str] = []

    def tell(line: str) -> None:
        said.append(line)
        progress(line, 0, 1)

    engine.prepare(network, "full", tell)
    for line in said:
        progress(line, 1, 1)


def float_circuit(network: IntegerNetwork, model: SavedModel) -> FloatCircuit:
    """Circuit of the model in real numbers, of the network's kind.

    Raises
    ------
    InputError
        If no lowering makes such networks, or the model is of another size.
    """
    if network.family is None or network.name not in LOWERINGS:
        raise InputError(
            f"verify: the network {network.name!r} was lowered from no model of this package, so "
            f"there is no float circuit to compare it with; expected no model"
        )
    circuit = LOWERINGS[network.name].circuit(model)
    ours, theirs = _sizes(network), _sizes(circuit)
    if ours != theirs:
        raise InputError(
            f"verify: expected the float model of a network with {ours[0]} pixels and {ours[1]} "
            f"latents, got one with {theirs[0]} and {theirs[1]}; give the model it was exported "
            f"from"
        )
    return circuit


def _sizes(circuit: IntegerNetwork | FloatCircuit) -> tuple[int, int]:
    return circuit.input.size, sum(p.size for p in circuit.drawing)


def _block_size(network: IntegerNetwork, steps: int, engines: int) -> int:
    per_step = sum(
        variable_dtype(network, name).itemsize * network.population_of[name.partition(".")[0]].size
        for name in network.variables
    )
    return max(1, BLOCK_BYTES // ((steps + 1) * per_step * engines))


class _Verification:
    """State of one run of :func:`verify`: accumulates block by block."""

    def __init__(
        self,
        network: IntegerNetwork,
        circuit: FloatCircuit | None,
        check: FloatCheck,
        engines: list[Engine],
        steps: int,
        seed: int,
        progress: StageProgress,
    ) -> None:
        self.network, self.circuit, self.check, self.engines = network, circuit, check, engines
        self.steps, self.seed, self.progress = steps, seed, progress
        self.pairs = [PairCheck(a.name, b.name) for a, b in combinations(engines, 2)]
        self.seconds = {engine.name: 0.0 for engine in engines}
        self.done = dict.fromkeys([*self.seconds, FLOAT_STAGE], 0)
        self.traced: dict[str, NDArray[Any]] = {}

    def block(self, images: NDArray[np.floating[Any]], first: int, total: int) -> None:
        recordings = [self._run(engine, images, first, total) for engine in self.engines]
        for pair, (a, b) in zip(self.pairs, combinations(recordings, 2), strict=True):
            pair.add(self.network, a, b, first)
        if self.circuit is not None:
            self._compare_float(self.circuit, images, recordings[0], first, total)

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
        circuit: FloatCircuit,
        images: NDArray[np.floating[Any]],
        recording: Recording,
        first: int,
        total: int,
    ) -> None:
        samples, steps = range(first, first + len(images)), range(self.steps + 1)
        words = {
            p.name: population_noise(p, self.seed, steps, samples) for p in self.network.drawing
        }
        states: list[Values] = []

        def observe(step: int, state: Values) -> None:
            if step < self.steps:
                self._tell(FLOAT_STAGE, len(images), total)
            if not self.traced:
                states.append({name: v[:TRACED_SAMPLES].copy() for name, v in state.items()})

        self.check.add(circuit, images, words, recording, observe)
        if not self.traced:
            self.traced = traced(self.network, circuit, images, states, recording)

    def _tell(self, stage: str, done: int, samples: int) -> None:
        self.done[stage] += done
        self.progress(stage, self.done[stage], samples * self.steps)

    def report(self, samples: int, certificate: Certificate) -> ParityReport:
        result = self.check.result() if self.circuit is not None else None
        return ParityReport(
            topology=self.network.name,
            samples=samples,
            steps=self.steps,
            seed=self.seed,
            seconds=self.seconds,
            pairs=tuple(self.pairs),
            float_result=result,
            total_variation=certificate.total_variation,
            total_variation_limit=certificate.total_variation_limit,
            traces=None if result is None else self._traces(result),
        )

    def _traces(self, result: FloatResult) -> Traces | None:
        if not self.traced:
            return None
        return Traces(
            **self.traced,
            mse_float=result.mse_float,
            mse_integer=result.mse_integer,
            zeros_float=result.zeros_float,
            zeros_integer=result.zeros_integer,
            image_shape=self.network.input.image_shape,
        )
