"""How well a model reconstructs, by iteration: MSE, R-squared and zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial, reduce
from operator import add
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.figures import (
    Figures,
    ImageFigures,
    Images,
    Sums,
    frame_variances,
    of_circuit,
    of_recording,
)
from pvae_neuro.evaluation.saturation import Saturation, SaturationCount
from pvae_neuro.exporters.lowerings import float_circuit_of
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.network import FloatCircuit, Input, IntegerNetwork
from pvae_neuro.network.interpreter import Values
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import MOST_ITERATIONS, Engine, fastest_engine, get_engine
from pvae_neuro.sim.frames import Frames, checked_frames
from pvae_neuro.sim.noise import check_seed, check_whole, population_noise
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import Advance, no_advance, shown_advance

SAMPLES_PER_BLOCK = 250
# Of an integer network, what is at its limits is counted on so many samples, or within so much.
COUNTED_SAMPLES, COUNTED_BYTES = 64, 64 << 20


@runtime_checkable
class Workers(Protocol):
    """An engine that can run any function elsewhere, as a scheduled engine can."""

    def map(
        self, function: Callable[..., Any], shared: object, calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield the place of each call, and ``function(shared, *call)``, as they come in."""


@dataclass(frozen=True, eq=False)
class Evaluation(Figures):
    """Figures per iteration of a model or network; see :class:`Figures`.

    Attributes
    ----------
    samples, steps, seed : int
        ``steps`` are the iterations on each frame.
    engine : str
        ``float`` for the float model.
    reset : bool
        Whether every frame was a run of its own.
    saturations : tuple of Saturation
        Values of an integer network at their limits, over the first samples, up to 64; empty for a
        float model.
    """

    samples: int
    steps: int
    seed: int
    engine: str
    reset: bool = False
    saturations: tuple[Saturation, ...] = ()

    def __repr__(self) -> str:
        shown = "images" if self.frames == 1 else f"sequences of {self.frames} frames"
        return (
            f"<Evaluation on {self.engine}: {self.samples} {shown}, {self.steps} iterations, "
            f"{self._in_words()}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "engine": self.engine,
            "samples": self.samples,
            "steps": self.steps,
            "seed": self.seed,
            "frames": self.frames,
            "reset": self.reset,
            **self.curves(),
            "final": self.final(),
            "by_frame": self.by_frame(),
            "saturations": [each.to_dict() for each in self.saturations],
        }


@checked
def evaluate(
    subject: SavedModel | IntegerNetwork,
    inputs: ArrayLike,
    *,
    steps: int = 128,
    seed: int = 0,
    engine: str | Engine | None = None,
    reset: bool = False,
    progress: Advance | bool | None = None,
    dtype: Literal["float32", "float64"] = "float32",
) -> Evaluation:
    """Evaluate a float model of any family, or an integer network on an engine.

    A model of a family that can be lowered and its integer network draw their counts from the same
    counter-based words, so two evaluations with one seed differ by quantization alone. Models of
    other families run in PyTorch.

    Parameters
    ----------
    subject : SavedModel or IntegerNetwork
    inputs : array_like [N, M], or [N, F, M]
        Images in the declared range, or F frames for each sample; height and width, as declared,
        may stand in place of M.
    steps : int
        Iterations that each image or frame is held for.
    seed : int
    engine : str or Engine, optional
        For an integer network; by default the fastest that works here. A float model runs on the
        workers of a scheduled engine, and on no other.
    reset : bool
        Make every frame a run of its own; otherwise the state carries over.
    progress : callable, True or False, optional
        Told image-iterations done since the last call; True shows a bar, False nothing. By default
        a terminal shows a bar and a notebook a line now and then.
    dtype : {"float32", "float64"}
        What a model of a family that can be lowered computes in.

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
    images = checked_frames(_declared(subject), inputs)
    held = Frames(images.shape[1], steps, reset)
    with shown_advance(progress, "evaluate", held.iterations * len(images)) as tell:
        if isinstance(subject, IntegerNetwork):
            runner = _loaded(engine, subject)
            count = SaturationCount(subject)
            sums = _run_engine(runner, subject, images, held, seed, tell, count)
            found = _summarized(sums, images, held, seed, runner.name)
            return replace(found, saturations=count.found)
        circuit = float_circuit_of(subject, dtype)
        workers = _workers(subject, engine, circuit is not None)
        floats = images.astype(np.float32)
        if circuit is None:
            sums = _run_in_pytorch(subject, floats, held, seed, tell)
        else:
            sums = _run_float(circuit, floats, held, seed, workers, tell)
        return _summarized(sums, floats, held, seed, "float")


def _declared(subject: SavedModel | IntegerNetwork) -> Input:
    return subject.input if isinstance(subject, IntegerNetwork) else subject.config.declared_input


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


def _summarized(sums: Sums, images: Images, held: Frames, seed: int, engine: str) -> Evaluation:
    figures = sums.figures(frame_variances(images))
    return Evaluation(
        **vars(figures),
        samples=len(images),
        steps=held.hold,
        seed=seed,
        engine=engine,
        reset=held.reset,
    )


class _Shown:
    """Frames [N, F, M] as inference in PyTorch takes them."""

    def __init__(self, images: NDArray[np.float32], hold: int) -> None:
        self._images, self.steps_per_frame = images, hold

    def frame(self, t: int) -> NDArray[np.float32]:
        return self._images[:, t]


def _run_in_pytorch(
    model: SavedModel, images: NDArray[np.float32], held: Frames, seed: int, progress: Advance
) -> Sums:
    # Built first: it says what to install where torch is missing.
    module = model_from_saved(model)
    from pvae_neuro.evaluation.infer import infer

    shape = len(images), held.iterations
    found = ImageFigures(np.zeros(shape), np.zeros(shape), np.full(shape, np.nan), np.zeros(shape))

    def observe(step: int, block: slice, result: Any) -> None:
        frame = images[block, step // held.hold]
        residual = frame - result.reconstruction.cpu().numpy()
        z = result.z.cpu().numpy()
        found.error[block, step] = np.square(residual, dtype=np.float64).sum(axis=1)
        found.zeros[block, step] = (z == 0).mean(axis=1)
        found.spikes[block, step] = np.abs(z).sum(axis=1)

    infer(
        module, _Shown(images, held.hold), held.iterations, seed,
        restart=held.reset, observe=observe, progress=progress,
    )  # fmt: skip
    return Sums.of(found, images, held)


def _run_float(
    circuit: FloatCircuit,
    images: NDArray[np.float32],
    held: Frames,
    seed: int,
    workers: Workers | None,
    progress: Advance,
) -> Sums:
    """Evaluate a float circuit, here or on workers."""
    starts = range(0, len(images), SAMPLES_PER_BLOCK)
    calls = ((images[first : first + SAMPLES_PER_BLOCK], first, held, seed) for first in starts)
    found: dict[int, Sums] = {}
    if workers is None:
        run = partial(float_block, circuit, progress=progress)
        found = {place: run(*call) for place, call in enumerate(calls)}
    else:
        for place, block in workers.map(float_block, circuit, calls):
            found[place] = block
            progress(held.iterations * min(SAMPLES_PER_BLOCK, len(images) - starts[place]))
    # Added in the order of the samples, so that workers cannot change a bit of the sum.
    return reduce(add, (found[place] for place in range(len(starts))))


def float_block(
    circuit: FloatCircuit,
    images: NDArray[np.float32],
    first_sample: int,
    held: Frames,
    seed: int,
    progress: Advance = no_advance,
) -> Sums:
    """Run a float circuit with a readout on some samples.

    Parameters
    ----------
    circuit : FloatCircuit
    images : float32 [B, F, M]
    first_sample : int
        Index of ``images[0]`` in the noise.
    held : Frames
    seed : int
    progress : callable
        Told image-iterations done since the last call.
    """
    places = range(first_sample, first_sample + len(images))
    words = {p.name: population_noise(p, seed, range(held.steps), places) for p in circuit.drawing}
    ends = {steps.stop - 1 for _, steps in held.parts()}

    def observe(step: int, _: Values) -> None:
        if step not in ends:
            progress(len(images))

    return Sums.of(of_circuit(circuit, images, words, held, observe=observe), images, held)


def _run_engine(
    engine: Engine,
    network: IntegerNetwork,
    images: Images,
    held: Frames,
    seed: int,
    progress: Advance,
    count: SaturationCount,
) -> Sums:
    # What is at a limit is counted on the first samples alone, so that recordings stay small.
    part = _counted(network, count, held)
    found = list[ImageFigures]()
    for first, record in ((0, list(count.variables)), (part, "summary")):
        rows = images[first : part if first == 0 else None]
        if not len(rows):
            continue
        recording = engine.run(
            network, rows, held.hold, seed,
            record=record, first_sample=first, reset=held.reset, progress=progress,
        )  # fmt: skip
        figures = of_recording(recording)
        if figures is None:
            raise InputError(f"evaluate: the network {network.name!r} has no readout to evaluate")
        found.append(figures)
        count.add(recording.variables)
    names = (field.name for field in fields(ImageFigures))
    both = ImageFigures(*(np.concatenate([getattr(f, n) for f in found]) for n in names))
    return Sums.of(both, images, held)


def _counted(network: IntegerNetwork, count: SaturationCount, held: Frames) -> int:
    """How many samples are recorded to count what is at a limit."""
    sizes = (network.population_of[name.partition(".")[0]].size for name in count.variables)
    per_sample = 4 * held.steps * sum(sizes)
    return int(np.clip(COUNTED_BYTES // max(1, per_sample), 1, COUNTED_SAMPLES))
