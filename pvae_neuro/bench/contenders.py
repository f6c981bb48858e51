"""What is timed: engines, and the float model in PyTorch.

A contender's ``prepare`` builds all that it needs; only the function that it returns is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from pvae_neuro.bench.cases import LINEAR, Case
from pvae_neuro.bench.timing import Entry
from pvae_neuro.errors import EngineError
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import engine_options, get_engine
from pvae_neuro.sim.recording import Record
from pvae_neuro.utils.optional import require

Prepare = Callable[[Case, ExitStack], Entry]
"""Takes a case, and a stack that is closed when the case is over."""


@dataclass(frozen=True)
class Contender:
    """Something that runs iterations.

    Attributes
    ----------
    about : str
        What one iteration of it does.
    require : callable
        Raises :class:`~pvae_neuro.errors.MissingDependencyError` where it cannot run.
    prepare : callable
    """

    about: str
    require: Callable[[], object]
    prepare: Prepare


def engine_contender(label: str, engine: str, record: Record, about: str) -> Contender:
    """An engine with this kind of record, on the case's number of threads if it takes one."""

    def prepare(case: Case, stack: ExitStack) -> Entry:
        takes_threads = "threads" in engine_options(engine)
        made = get_engine(engine, **({"threads": case.threads} if takes_threads else {}))

        def run(steps: int) -> None:
            made.run(case.network, case.images, steps, case.seed, record=record, progress=False)

        return Entry(label, len(case.images), run)

    return Contender(about, lambda: get_engine(engine).require(), prepare)


require_torch = partial(require, "torch", "train", "the PyTorch contenders")


def pytorch_step(case: Case, stack: ExitStack) -> Entry:
    """``IPVAE.step``, as linear models are evaluated; ``Model.iterate`` of other families."""
    saved = _float_model(case)
    torch, images, generator = _tensors(case, stack)
    from pvae_neuro.models.poisson.ipvae import IPVAE
    from pvae_neuro.models.registry import model_from_saved

    model: Any = model_from_saved(saved).eval()

    def step(steps: int) -> None:
        with torch.no_grad():
            u = model.initial_state(len(images))
            for _ in range(steps):
                u = model.step(u, images, generator=generator).u

    def iterate(steps: int) -> None:
        with torch.no_grad():
            state = model.start(images)
            for _ in range(steps):
                state = model.iterate(images, state, generator).state

    return Entry("pytorch", len(images), step if isinstance(model, IPVAE) else iterate)


def pytorch_bare(case: Case, stack: ExitStack) -> Entry:
    """The update of a linear model alone, with everything that stays the same computed before."""
    saved = _float_model(case)
    if saved.config.family != LINEAR:
        raise EngineError(
            f"pytorch-bare: expected a model of family {LINEAR}, whose update has a short form, "
            f"got {saved.config.family}"
        )
    torch, images, generator = _tensors(case, stack)
    from pvae_neuro.models.poisson.ipvae import IPVAE

    model = IPVAE.from_saved(saved).eval()

    def run(steps: int) -> None:
        with torch.no_grad():
            drive = model.drive(images)
            u = model.initial_state(len(images))
            for _ in range(steps):
                z = torch.poisson(torch.exp(u), generator)
                u = model.advance(u, drive.feedforward - z @ drive.lateral)

    return Entry("pytorch-bare", len(images), run)


def _float_model(case: Case) -> SavedModel:
    if case.float_model is None:
        raise EngineError(
            f"PyTorch: there is no float model of family {case.network.family!r} of these sizes "
            f"to time; expected the one that {case.model} was exported from"
        )
    return case.float_model


def _tensors(case: Case, stack: ExitStack) -> tuple[Any, Any, Any]:
    torch: Any = require_torch()
    stack.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(case.threads)
    generator = torch.Generator().manual_seed(case.seed)
    return torch, torch.from_numpy(case.images), generator


CONTENDERS: dict[str, Contender] = {
    "fast": engine_contender(
        "fast", "fast", "summary",
        "engine fast with the summary of every iteration: spikes, and the squared error of a "
        "fresh reconstruction",
    ),
    "fast-bare": engine_contender(
        "fast-bare", "fast", "last", "engine fast without a record: sampling, synapses, update"
    ),
    "reference": engine_contender(
        "reference", "reference", "summary",
        "engine reference (NumPy, 64-bit integers) with the same summary",
    ),
    "onnx": engine_contender(
        "onnx", "onnx", "summary",
        "engine onnx: ONNX Runtime on the artifact's graph, with the same summary",
    ),
    "pytorch": Contender(
        "our float model in PyTorch as it is evaluated, without gradients: IPVAE.step with "
        "reconstruction and loss terms; Model.iterate of other families",
        require_torch, pytorch_step,
    ),
    "pytorch-bare": Contender(
        "the float update of linear models with the fewest operations: one lateral product per "
        "iteration, no record",
        require_torch, pytorch_bare,
    ),
}  # fmt: skip
