"""What is timed: engines, and the float model in PyTorch.

A contender's ``prepare`` builds all that it needs; only the function that it returns is timed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from pvae_neuro.bench.cases import LINEAR, Case
from pvae_neuro.bench.timing import Entry
from pvae_neuro.errors import EngineError, EngineUnavailableError
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


def require_compiler() -> None:
    """Raise :class:`EngineUnavailableError` unless ``torch.compile`` finds a C++ compiler."""
    require_torch()
    wanted = os.environ.get("CXX", "g++")
    if shutil.which(wanted) is None:
        raise EngineUnavailableError(
            f"torch.compile needs a C++ compiler: {wanted} is not installed; install it, or name "
            f"another in CXX"
        )


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


def pytorch_compiled(case: Case, stack: ExitStack) -> Entry:
    """``IPVAE.step``, compiled."""
    saved = _float_model(case)
    if saved.config.family != LINEAR:
        raise EngineError(
            f"pytorch-compiled: expected a model of family {LINEAR}, got {saved.config.family}, "
            f"whose iteration differentiates, which torch.compile does not take"
        )
    torch, images, _ = _tensors(case, stack)
    from pvae_neuro.models.poisson.ipvae import IPVAE

    model = IPVAE.from_saved(saved).eval()
    # A generator ends the compiled part; the global one is drawn from.
    step = _compiled(torch, stack, lambda u: model.step(u, images))

    def run(steps: int) -> None:
        with torch.no_grad():
            u = model.initial_state(len(images)).clone()
            for _ in range(steps):
                u = step(u).u

    return Entry("pytorch-compiled", len(images), run)


def pytorch_bare(case: Case, stack: ExitStack) -> Entry:
    """The update alone, with everything that stays the same computed before."""
    torch, images, _ = _tensors(case, stack)
    return _bare_entry("pytorch-bare", case, torch, images, lambda update: update)


def pytorch_bare_compiled(case: Case, stack: ExitStack) -> Entry:
    """The update alone, compiled."""
    torch, images, _ = _tensors(case, stack)
    return _bare_entry(
        "pytorch-bare-compiled", case, torch, images, partial(_compiled, torch, stack)
    )


def _bare_entry(
    name: str, case: Case, torch: Any, images: Any, wrap: Callable[[Any], Any]
) -> Entry:
    saved = _float_model(case)
    from pvae_neuro.bench.float_updates import float_update

    latents = case.network.latents
    lateral = any(
        c.source == c.target == (latents and latents.name) for c in case.network.connections
    )
    start, _, plain = float_update(saved, images, lateral)
    update = wrap(plain)

    def run(steps: int) -> None:
        with torch.no_grad():
            u = start
            for _ in range(steps):
                u = update(u)

    return Entry(name, len(images), run)


def _compiled(torch: Any, stack: ExitStack, function: Any) -> Any:
    """``torch.compile``, which forgets afterwards: it keeps few versions of the same lines."""
    stack.callback(torch._dynamo.reset)
    return torch.compile(function, dynamic=False, fullgraph=True)


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
        "the float update with the fewest operations, written by hand and without autograd: one "
        "lateral product where the circuit has one, else through the decoder and back; no record",
        require_torch, pytorch_bare,
    ),
}  # fmt: skip
"""What is timed where nothing is chosen."""

COMPILED: dict[str, Contender] = {
    "pytorch-compiled": Contender(
        "IPVAE.step of linear models, compiled by torch.compile", require_compiler, pytorch_compiled
    ),
    "pytorch-bare-compiled": Contender(
        "the update of pytorch-bare, compiled by torch.compile",
        require_compiler, pytorch_bare_compiled,
    ),
}  # fmt: skip
"""Compiled for each case, which takes up to a minute."""

KNOWN = {**CONTENDERS, **COMPILED}
