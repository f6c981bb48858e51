"""How well a model reconstructs, by iteration: MSE, R-squared and zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.blocks import Found, Source, in_order, integer_block
from pvae_neuro.evaluation.figures import (
    CELL,
    Figures,
    ImageFigures,
    Sums,
    Variances,
    of_circuit,
)
from pvae_neuro.evaluation.saturation import Saturation, SaturationCount
from pvae_neuro.exporters.lowerings import float_circuit_of
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.network import FloatCircuit, Input, IntegerNetwork
from pvae_neuro.network.interpreter import Values
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import MOST_ITERATIONS, Engine, fastest_engine, get_engine
from pvae_neuro.sim.frames import Frames
from pvae_neuro.sim.noise import check_seed, check_whole, population_noise
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.decoded import Rows
from pvae_neuro.utils.progress import Advance, no_advance, shown_advance

# Of a float model, and of an integer network, here and on workers: each part costs a scheduler some
# milliseconds.
SAMPLES_PER_BLOCK, SAMPLES_AT_ONCE, SAMPLES_PER_PART = 250, 512, 1024
# Of an integer network, what is at its limits is counted on so many samples, or within so much.
COUNTED_SAMPLES, COUNTED_BYTES = 64, 64 << 20


@runtime_checkable
class Workers(Protocol):
    """An engine that can run any function elsewhere, as a scheduled engine can."""

    @property
    def remote(self) -> str | Engine:
        """The engine that runs there, or its name."""

    def samples_at_once(self, samples: int | None, most: int) -> int:
        """Of so many samples, or of unknown many, how many are to travel together."""

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
    inputs: ArrayLike | Iterator[ArrayLike],
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
    inputs : array_like [N, M] or [N, F, M], or an iterator over such arrays
        Images in the declared range, or F frames for each sample; height and width, as declared,
        may stand in place of M. Some hundred samples are converted at a time: memory does not grow
        with N, beyond the array itself, which may be a memory map. An iterator yields some of the
        samples at a time, and is read once; it may be as long as it likes.
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
        a terminal shows a bar and a notebook a line now and then. Of an iterator nothing is shown.
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
    declared = _declared(subject)
    source = Source(declared, inputs)
    held = Frames(source.frames, steps, reset)
    count = SaturationCount(subject) if isinstance(subject, IntegerNetwork) else None
    run = _Run(declared, source, held, count)
    # Of an iterator nobody knows how long it is.
    shown = False if source.samples is None and not callable(progress) else progress
    with shown_advance(shown, "evaluate", held.iterations * (source.samples or 0)) as tell:
        if isinstance(subject, IntegerNetwork):
            runner = _loaded(engine, subject)
            _run_engine(runner, subject, run, held, seed, tell)
            return _summarized(run, held, seed, runner.name)
        circuit = float_circuit_of(subject, dtype)
        workers = _workers(subject, engine, circuit is not None)
        if circuit is None:
            _run_in_pytorch(subject, run, held, seed, tell)
        else:
            _run_float(circuit, run, held, seed, workers, tell)
        return _summarized(run, held, seed, "float")


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


def _summarized(run: _Run, held: Frames, seed: int, engine: str) -> Evaluation:
    figures = run.sums.figures(run.variances.found)
    return Evaluation(
        **vars(figures),
        samples=run.sums.images,
        steps=held.hold,
        seed=seed,
        engine=engine,
        reset=held.reset,
        saturations=() if run.count is None else run.count.found,
    )


class _Run:
    """An evaluation while it goes on: blocks of images on their way, and what was found of them."""

    def __init__(
        self, declared: Input, source: Source, held: Frames, count: SaturationCount | None
    ) -> None:
        self._declared, self.source, self.count = declared, source, count
        self.variances = Variances()
        self.sums = Sums.nothing(held)

    def blocks(self, size: int, first: int | None = None) -> Iterator[tuple[int, Rows]]:
        """Yield blocks of the images, each with the index of its first sample."""
        place = 0
        for images in self.source.blocks(size, first):
            floats: NDArray[np.float64] = self._declared.clipped(images, np.float64)
            self.variances.add(floats)
            yield place, images
            place += len(images)

    def take(self, found: Found) -> None:
        """Add what was found of the next block."""
        self.sums = self.sums.then(found.cells)
        if self.count is not None and found.counts is not None:
            self.count.add_counts(found.counts)


def _floats(declared: Input, images: Rows) -> NDArray[np.float32]:
    """Images as float models are given them."""
    return declared.clipped(images, np.float64).astype(np.float32)


class _Shown:
    """Frames [N, F, M] as inference in PyTorch takes them."""

    def __init__(self, images: NDArray[np.float32], hold: int) -> None:
        self._images, self.steps_per_frame = images, hold

    def frame(self, t: int) -> NDArray[np.float32]:
        return self._images[:, t]


def _run_in_pytorch(
    model: SavedModel, run: _Run, held: Frames, seed: int, progress: Advance
) -> None:
    # Built first: it says what to install where torch is missing.
    module = model_from_saved(model)
    from pvae_neuro.evaluation.infer import infer

    for first, block in run.blocks(SAMPLES_PER_BLOCK):
        images = _floats(model.config.declared_input, block)
        shape = len(images), held.iterations
        found = ImageFigures(
            np.zeros(shape), np.zeros(shape), np.full(shape, np.nan), np.zeros(shape)
        )
        infer(
            module, _Shown(images, held.hold), held.iterations, seed, first_sample=first,
            restart=held.reset, observe=partial(_observe, found, images, held), progress=progress,
        )  # fmt: skip
        run.take(Found(Sums.by_cell(found, images, held)))


def _observe(
    found: ImageFigures,
    images: NDArray[np.float32],
    held: Frames,
    step: int,
    block: slice,
    result: Any,
) -> None:
    """Note the figures of an iteration in PyTorch."""
    residual = images[block, step // held.hold] - result.reconstruction.cpu().numpy()
    z = result.z.cpu().numpy()
    found.error[block, step] = np.square(residual, dtype=np.float64).sum(axis=1)
    found.zeros[block, step] = (z == 0).mean(axis=1)
    found.spikes[block, step] = np.abs(z).sum(axis=1)


def _run_float(
    circuit: FloatCircuit,
    run: _Run,
    held: Frames,
    seed: int,
    workers: Workers | None,
    progress: Advance,
) -> None:
    """Evaluate a float circuit, here or on workers."""
    calls = (
        (_floats(circuit.input, images), first, held, seed)
        for first, images in run.blocks(SAMPLES_PER_BLOCK)
    )
    for found in _called(float_block, circuit, calls, held, workers, progress):
        run.take(found)


def _run_engine(
    engine: Engine, network: IntegerNetwork, run: _Run, held: Frames, seed: int, progress: Advance
) -> None:
    """Evaluate an integer network on an engine, which may be one on workers."""
    workers = engine if isinstance(engine, Workers) else None
    # One clear error before anything travels.
    engine.require()
    engine.require_support(network)
    counted = _counted(network, SaturationCount(network), held)
    size = SAMPLES_AT_ONCE
    if workers is not None:
        size = CELL * -(-workers.samples_at_once(run.source.samples, SAMPLES_PER_PART) // CELL)
    calls = (
        # What is at a limit is counted on the first samples alone, so that recordings stay small.
        (images, first, held, seed, first == 0)
        for first, images in run.blocks(size, counted)
    )
    subject = (network, engine if workers is None else workers.remote)
    for found in _called(integer_block, subject, calls, held, workers, progress):
        run.take(found)


def _called(
    function: Callable[..., Found],
    shared: object,
    calls: Iterator[tuple[Any, ...]],
    held: Frames,
    workers: Workers | None,
    progress: Advance,
) -> Iterator[Found]:
    """Yield what a function finds of each block, in order; it runs here, or on workers."""
    if workers is None:
        for call in calls:
            yield function(shared, *call, progress=progress)
        return

    def told() -> Iterator[tuple[int, Found]]:
        for place, found in workers.map(function, shared, calls):
            progress(held.iterations * found.cells.images)
            yield place, found

    yield from in_order(told())


def float_block(
    circuit: FloatCircuit,
    images: NDArray[np.float32],
    first_sample: int,
    held: Frames,
    seed: int,
    progress: Advance = no_advance,
) -> Found:
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

    figures = of_circuit(circuit, images, words, held, observe=observe)
    return Found(Sums.by_cell(figures, images, held))


def _counted(network: IntegerNetwork, count: SaturationCount, held: Frames) -> int:
    """How many samples are recorded to count what is at a limit."""
    sizes = (network.population_of[name.partition(".")[0]].size for name in count.variables)
    per_sample = 4 * held.steps * sum(sizes)
    return int(np.clip(COUNTED_BYTES // max(1, per_sample), 1, COUNTED_SAMPLES))
