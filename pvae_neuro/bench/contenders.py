"""What is timed: engines, and the float model in PyTorch.

A contender's ``prepare`` builds all that it needs; only the function that it returns is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.bench.config import Case
from pvae_neuro.bench.timing import Entry, Run
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import engine_options, get_engine
from pvae_neuro.sim.recording import Record
from pvae_neuro.utils.optional import require


@dataclass(frozen=True, eq=False)
class Workload:
    """What all contenders of a case run.

    Attributes
    ----------
    network : IntegerNetwork
    images : float32 [B, M]
    activity : float
        Share of neurons that fire per iteration, as measured.
    float_model : SavedModel
        Of the same size and activity.
    """

    network: IntegerNetwork
    images: NDArray[np.float32]
    activity: float
    float_model: SavedModel


@dataclass(frozen=True)
class Setting:
    """What a contender is prepared for.

    Attributes
    ----------
    case : Case
    workload : Workload
    seed : int
    stack : ExitStack
        Closed when the case is over; a contender leaves there what it has to close.
    """

    case: Case
    workload: Workload
    seed: int
    stack: ExitStack


@dataclass(frozen=True)
class Contender:
    """Something that runs iterations.

    Attributes
    ----------
    about : str
        What one iteration of it does.
    require : callable
        Raises :class:`~pvae_neuro.errors.MissingDependencyError` or
        :class:`~pvae_neuro.errors.EngineUnavailableError` where it cannot run here.
    prepare : callable
        Takes a :class:`Setting`, returns an :class:`Entry`.
    """

    about: str
    require: Callable[[], object]
    prepare: Callable[[Setting], Entry]


def engine_contender(label: str, engine: str, about: str, record: Record = "summary") -> Contender:
    """Make a contender of an engine."""

    def prepare(setting: Setting) -> Entry:
        return Entry(label, len(setting.workload.images), _engine_run(engine, record, setting))

    return Contender(about, lambda: get_engine(engine).require(), prepare)


def _engine_run(name: str, record: Record, setting: Setting) -> Run:
    takes_threads = "threads" in engine_options(name)
    engine = get_engine(name, **({"threads": setting.case.threads} if takes_threads else {}))
    work = setting.workload

    def run(steps: int) -> None:
        engine.run(work.network, work.images, steps, setting.seed, record=record)

    return run


_require_torch = partial(require, "torch", "train", "the PyTorch contenders")


def pytorch_step(setting: Setting) -> Entry:
    """``IPVAE.step``, as the float model is evaluated."""
    torch, model, images, generator = _float_model(setting)

    def run(steps: int) -> None:
        with torch.no_grad():
            u = model.initial_state(len(images))
            for _ in range(steps):
                u = model.step(u, images, generator=generator).u

    return Entry("pytorch", len(images), run)


def pytorch_bare(setting: Setting) -> Entry:
    """The update alone, with everything that stays the same computed before."""
    torch, model, images, generator = _float_model(setting)

    def run(steps: int) -> None:
        with torch.no_grad():
            drive = model.drive(images)
            u = model.initial_state(len(images))
            for _ in range(steps):
                z = torch.poisson(torch.exp(u), generator)
                u = model.advance(u, drive.feedforward - z @ drive.lateral)

    return Entry("pytorch-bare", len(images), run)


def _float_model(setting: Setting) -> tuple[Any, Any, Any, Any]:
    torch: Any = _require_torch()
    from pvae_neuro.models.poisson.ipvae import IPVAE

    setting.stack.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(setting.case.threads)
    model = IPVAE.from_saved(setting.workload.float_model).eval()
    generator = torch.Generator().manual_seed(setting.seed)
    return torch, model, torch.from_numpy(setting.workload.images), generator


CONTENDERS: dict[str, Contender] = {
    "fast": engine_contender(
        "fast", "fast",
        "engine fast with the summary of every iteration: spikes, and the squared error of a "
        "fresh reconstruction",
    ),
    "fast-bare": engine_contender(
        "fast-bare", "fast", "engine fast without a record: sampling, synapses, update", "last"
    ),
    "reference": engine_contender(
        "reference", "reference",
        "engine reference (NumPy, 64-bit integers) with the same summary",
    ),
    "onnx": engine_contender(
        "onnx", "onnx", "engine onnx: ONNX Runtime on the artifact's graph, with the same summary"
    ),
    "pytorch": Contender(
        "our float model in PyTorch as it is evaluated: IPVAE.step without gradients, "
        "reconstruction and loss terms included",
        _require_torch, pytorch_step,
    ),
    "pytorch-bare": Contender(
        "the same float update with the fewest operations: one lateral product per iteration, no "
        "record",
        _require_torch, pytorch_bare,
    ),
}  # fmt: skip


@contextmanager
def blas_threads(threads: int) -> Iterator[None]:
    """Let BLAS, which ``reference`` multiplies with, use so many threads for a while.

    Does nothing without threadpoolctl. Other contenders take the number themselves.
    """
    if find_spec("threadpoolctl") is None:
        yield
        return
    with import_module("threadpoolctl").threadpool_limits(limits=threads, user_api="blas"):
        yield
