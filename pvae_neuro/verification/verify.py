"""Verify that engines and the float circuit agree: three tiers of evidence in one report.

1. Integer against integer: every variable of every population and step, equal (integers.py).
2. Integer against float under the same random words: within a tolerance (against_float.py). Seeds
   are added until the distance is known well enough.
3. The sampler against Poisson: exact total variation over every log-rate that can be reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import combinations
from operator import add
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.figures import (
    ImageFigures,
    Sums,
    frame_variances,
    of_circuit,
    of_recording,
)
from pvae_neuro.evaluation.saturation import SaturationCount
from pvae_neuro.exporters.certify import examine
from pvae_neuro.exporters.lowerings import lowering_of, topologies
from pvae_neuro.network import FloatCircuit, IntegerNetwork
from pvae_neuro.network.interpreter import Values
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import (
    BY_SPEED,
    MOST_ITERATIONS,
    Engine,
    definition_first,
    get_engine,
    working_engines,
)
from pvae_neuro.sim.frames import Frames, checked_frames
from pvae_neuro.sim.noise import check_seed, check_whole, population_noise
from pvae_neuro.sim.recording import Recording, variable_dtype
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import StageProgress, shown_stages
from pvae_neuro.verification.against_float import (
    FloatCheck,
    Tolerances,
)
from pvae_neuro.verification.integers import PairCheck
from pvae_neuro.verification.parity import ParityReport
from pvae_neuro.verification.provenance import content_hashes
from pvae_neuro.verification.traces import TRACED_SAMPLES, Traces, traced

FLOAT_STAGE, MORE_SEEDS_STAGE = "float", "more seeds"
SEEDS = 1 << 64
SAMPLES_PER_BLOCK = 250
# Full recordings of all engines of one block stay below this.
BLOCK_BYTES = 256 << 20


@checked
def verify(
    network: IntegerNetwork,
    model: SavedModel | None,
    inputs: ArrayLike,
    *,
    steps: int = 32,
    seed: int = 0,
    engines: Sequence[str | Engine] | None = None,
    tolerances: Tolerances | None = None,
    reset: bool = False,
    progress: StageProgress | bool | None = None,
) -> ParityReport:
    """Run the same samples, iterations and seed everywhere, and compare.

    Parameters
    ----------
    network : IntegerNetwork
    model : SavedModel or None
        The float model that the network was lowered from; None leaves tier 2 out.
    inputs : array_like [N, M], or [N, F, M]
        Images in the declared range, or F frames for each sample; height and width, as declared,
        may stand in place of M.
    steps : int
        Iterations that each image or frame is held for.
    seed : int
    engines : sequence of str or Engine, optional
        Names, or engines themselves; by default every one that works here but Lava.
    tolerances : Tolerances, optional
        Of tier 2; what the network's file declares of itself widens none of them.
    reset : bool
        Make every frame a run of its own; otherwise the state carries over.
    progress : callable, True or False, optional
        Told (stage, image-iterations done, of how many); a stage is an engine's name, "float", or
        "more seeds", whose extent is estimated anew after each seed. True shows a bar, False
        nothing. By default a terminal shows a bar and a notebook a line now and then.

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
    seed = check_seed(seed)
    loaded = _loaded(network, engines)
    circuit = None if model is None else float_circuit(network, model)
    images = checked_frames(network.input, inputs)
    held = Frames(images.shape[1], steps, reset)
    with shown_stages(progress, "verify: ") as tell:
        run = _Verification(
            network, circuit, images, tolerances or Tolerances(), loaded, held, seed, tell
        )  # fmt: skip
        for engine in loaded:
            _prepare(engine, network, run.progress)
        block = _block_size(network, held, len(loaded))
        for first in range(0, len(images), block):
            run.block(slice(first, first + block))
        run.more_seeds()
        return run.report(content_hashes(model, images))


def _loaded(network: IntegerNetwork, engines: Sequence[str | Engine] | None) -> list[Engine]:
    if engines is None:
        return definition_first(working_engines(network))
    if not engines:
        raise InputError("verify: expected at least one engine, got none")
    return [get_engine(e) if isinstance(e, str) else e for e in engines]


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
    if network.family is None or network.name not in topologies(network.family):
        raise InputError(
            f"verify: the network {network.name!r} was lowered from no model of this package, so "
            f"there is no float circuit to compare it with; expected no model"
        )
    if model.config.family != network.family:
        raise InputError(
            f"verify: expected the float model of a network of the family {network.family!r}, got "
            f"one of {model.config.family!r}; give the model it was exported from"
        )
    circuit = lowering_of(network.name, model.config.family).circuit(model)
    ours, theirs = _sizes(network), _sizes(circuit)
    if ours != theirs:
        raise InputError(
            f"verify: expected the float model of a network with {ours[0]} pixels and {ours[1]} "
            f"latents, got one with {theirs[0]} and {theirs[1]}; give the model it was exported "
            f"from"
        )
    return circuit


def _sizes(circuit: IntegerNetwork | FloatCircuit) -> tuple[int, int]:
    return circuit.input.size, 0 if circuit.latents is None else circuit.latents.size


def _block_size(network: IntegerNetwork, held: Frames, engines: int) -> int:
    per_step = sum(
        variable_dtype(network, name).itemsize * network.population_of[name.partition(".")[0]].size
        for name in network.variables
    )
    return max(1, BLOCK_BYTES // (held.steps * per_step * engines))


class _Verification:
    """State of one run of :func:`verify`: accumulates block by block, and seed by seed."""

    def __init__(
        self,
        network: IntegerNetwork,
        circuit: FloatCircuit | None,
        images: NDArray[np.floating[Any]],
        tolerances: Tolerances,
        engines: list[Engine],
        held: Frames,
        seed: int,
        progress: StageProgress,
    ) -> None:
        self.network, self.circuit, self.images = network, circuit, images
        self.engines, self.held, self.seed, self.progress = engines, held, seed, progress
        self.pairs = [PairCheck(a.name, b.name) for a, b in combinations(engines, 2)]
        self.seconds = {engine.name: 0.0 for engine in engines}
        self.done = dict.fromkeys([*self.seconds, FLOAT_STAGE], 0)
        self.check = FloatCheck(images, held, tolerances) if circuit is not None else None
        self.sums: list[Sums] = []
        self.equal: list[float] = []
        self.at_bound: list[float] = []
        self.traced: dict[str, Any] = {}
        self.saturation = SaturationCount(network)

    def block(self, rows: slice) -> None:
        """Run some images on every engine, and compare."""
        recordings = [self._run(engine, rows) for engine in self.engines]
        for pair, (a, b) in zip(self.pairs, combinations(recordings, 2), strict=True):
            pair.add(self.network, a, b, rows.start)
        self.at_bound += _at_bound(self.network, recordings[0])
        self.saturation.add(recordings[0].variables)
        found = of_recording(recordings[0])
        if found is not None and self.check is None:
            self.sums.append(Sums.of(found, self.images[rows], self.held))
        if self.circuit is not None and self.check is not None:
            if found is None:
                raise InputError(f"verify: the network {self.network.name!r} reads no counts out")
            by_float = self._observed(self.circuit, rows, recordings[0])
            self.check.add(rows.start, found, by_float)

    def _run(self, engine: Engine, rows: slice) -> Recording:
        start = time.perf_counter()
        recording = engine.run(
            self.network,
            self.images[rows],
            self.held.hold,
            self.seed,
            record="full",
            first_sample=rows.start,
            reset=self.held.reset,
            progress=lambda n: self._tell(engine.name, n),
        )
        self.seconds[engine.name] += time.perf_counter() - start
        return recording

    def _observed(self, circuit: FloatCircuit, rows: slice, recording: Recording) -> ImageFigures:
        """Run the float circuit on what was recorded, and keep traces and equal counts."""
        samples, states = len(self.images[rows]), list[Values]()
        code = self.network.code or ""
        counts = recording[code]
        runs = [steps for _, steps in self.held.parts()]
        ends = {steps.stop - 1 for steps in runs}

        def observe(step: int, state: Values) -> None:
            if self.network.drawing:
                self.equal += (state[code] == counts[:, step]).mean(axis=1).tolist()
            if step not in ends:
                self._tell(FLOAT_STAGE, samples)
            if not self.traced and step in runs[-1]:
                states.append({name: v[:TRACED_SAMPLES].copy() for name, v in state.items()})

        found = self._run_float(circuit, rows, self.seed, observe)
        if not self.traced:
            shown = self.images[rows][:, -1]
            self.traced = traced(self.network, circuit, shown, states, recording)
        return found

    def _run_float(
        self,
        circuit: FloatCircuit,
        rows: slice,
        seed: int,
        observe: Callable[[int, Values], None] | None = None,
    ) -> ImageFigures:
        images = self.images[rows]
        samples = range(rows.start, rows.start + len(images))
        words = {
            p.name: population_noise(p, seed, range(self.held.steps), samples)
            for p in self.network.drawing
        }
        # Coefficients are in units of the network, where counts are numbers everywhere.
        counted = self.network.latents in self.network.drawing
        largest = (self.network.largest_code or None) if counted else None
        return of_circuit(circuit, images, words, self.held, largest=largest, observe=observe)

    def more_seeds(self) -> None:
        """Add seeds until the distance from float is known, or there are too many.

        The proof of integers needs none of them: the fastest engine stands for all. Where nothing
        is drawn all seeds are alike.
        """
        circuit, check = self.circuit, self.check
        if circuit is None or check is None or not self.network.drawing:
            return
        engine = min(self.engines, key=_slowness)
        work, done = len(self.images) * self.held.iterations, 0
        while left := check.seeds_to_come():
            total = done + left * work
            seed = (self.seed + check.seeds) % SEEDS
            for first in range(0, len(self.images), SAMPLES_PER_BLOCK):
                rows = slice(first, first + SAMPLES_PER_BLOCK)
                images = self.images[rows]
                recording = engine.run(
                    self.network, images, self.held.hold, seed,
                    first_sample=first, reset=self.held.reset, progress=False,
                )  # fmt: skip
                found = of_recording(recording)
                if found is not None:
                    check.add(first, found, self._run_float(circuit, rows, seed))
                done += self.held.iterations * len(images)
                self.progress(MORE_SEEDS_STAGE, done, total)

    def _tell(self, stage: str, done: int) -> None:
        self.done[stage] += done
        self.progress(stage, self.done[stage], len(self.images) * self.held.iterations)

    def report(self, hashes: dict[str, str]) -> ParityReport:
        """Put it all together."""
        result, figures = None, None
        if self.check is not None:
            result = self.check.result(float(np.mean(self.equal)) if self.equal else None)
            figures = result.by_integer
        elif self.sums:
            figures = reduce(add, self.sums).figures(frame_variances(self.images))
        return ParityReport(
            network=self.network,
            certificate=examine(self.network),
            samples=len(self.images),
            steps=self.held.hold,
            seed=self.seed,
            frames=self.held.frames,
            reset=self.held.reset,
            seconds=self.seconds,
            pairs=tuple(self.pairs),
            float_result=result,
            figures=figures,
            traces=Traces(**self.traced) if self.traced else None,
            held=float(np.mean(self.at_bound)) if self.at_bound else None,
            hashes=hashes,
            saturations=self.saturation.found,
        )


def _at_bound(network: IntegerNetwork, recording: Recording) -> list[float]:
    """Share of neurons at the upper bound of their log-rate in the end, for each image."""
    latents = network.latents
    if latents is None or network.log_rate is None:
        return []
    bounds = network.ranges.log_rates[latents.name]
    at_bound = recording.last[network.log_rate] >= bounds.largest
    return np.asarray(at_bound.mean(axis=1)).tolist()


def _slowness(engine: Engine) -> int:
    """Place of an engine among those of known speed; others come last, in the order given."""
    return BY_SPEED.index(engine.name) if engine.name in BY_SPEED else len(BY_SPEED)
