"""Who takes part in a benchmark, and what exactly is timed of each.

A contender's ``prepare`` builds all that it needs and returns a function that runs a number of
iterations; only that function is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module

from pvae_neuro.bench.config import Case
from pvae_neuro.bench.machine import installed
from pvae_neuro.bench.networks import Workload
from pvae_neuro.bench.timing import Entry
from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.sim.engine import Engine, Record, get_engine


@dataclass(frozen=True)
class Setting:
    """What a contender is prepared for.

    Attributes
    ----------
    case : Case
    workload : Workload
    seed : int
    stack : ExitStack
        Closed when the case is over; processes and the like go there.
    """

    case: Case
    workload: Workload
    seed: int
    stack: ExitStack


@dataclass(frozen=True)
class Contender:
    """A way to run an iteration.

    Attributes
    ----------
    about : str
        What one iteration of it does.
    needs : tuple of str
        Modules that must be installed.
    prepare : str
        ``module:function`` that takes a :class:`Setting` and returns an :class:`Entry`.
    remedy : str
        How to get what it needs.
    """

    about: str
    needs: tuple[str, ...]
    prepare: str
    remedy: str = ""


_HERE = "pvae_neuro.bench.contenders"
_FRAMEWORKS = "pvae_neuro.bench.frameworks"
_LAVA = "pvae_neuro.bench.lava"

CONTENDERS: dict[str, Contender] = {
    "fast": Contender(
        "engine fast with the summary of every iteration: spikes, and the squared error of a "
        "fresh reconstruction",
        ("numba",), f"{_HERE}:fast", "pip install 'pvae-neuro[fast]'",
    ),
    "fast-bare": Contender(
        "engine fast without a record: sampling, synapses, update",
        ("numba",), f"{_HERE}:fast_bare", "pip install 'pvae-neuro[fast]'",
    ),
    "reference": Contender(
        "engine reference (NumPy, 64-bit integers) with the same summary", (),
        f"{_HERE}:reference",
    ),
    "onnx": Contender(
        "engine onnx: ONNX Runtime on the artifact's graph, with the same summary",
        ("onnxruntime",), f"{_HERE}:onnx", "pip install 'pvae-neuro[onnx-runtime]'",
    ),
    "torch": Contender(
        "our float model in PyTorch as it is evaluated: IPVAE.step without gradients, "
        "reconstruction and loss terms included",
        ("torch",), f"{_FRAMEWORKS}:torch_step", "pip install 'pvae-neuro[train]'",
    ),
    "torch-bare": Contender(
        "the same float update with the fewest operations: one lateral product per iteration, no "
        "record",
        ("torch",), f"{_FRAMEWORKS}:torch_bare", "pip install 'pvae-neuro[train]'",
    ),
    "snntorch": Contender(
        "snnTorch RLeaky, all-to-all, of the same size without gradients; its own activity",
        ("torch", "snntorch"), f"{_FRAMEWORKS}:snntorch_step", "pip install snntorch",
    ),
    "norse": Contender(
        "Norse LIFRecurrentCell of the same size and one input without gradients; its own activity",
        ("torch", "norse"), f"{_FRAMEWORKS}:norse_step", "pip install norse",
    ),
    "lava-stock": Contender(
        "Lava's own LIF and recurrent Dense of the same size, fixed point, graded spikes, one "
        "image at a time; its own activity",
        ("lava.magma",), f"{_LAVA}:stock", "pip install 'pvae-neuro[lava]' (Python 3.10)",
    ),
    "lava": Contender(
        "our Lava processes with Lava's Dense, fixed point, one image at a time",
        ("lava.magma",), f"{_LAVA}:ours", "pip install 'pvae-neuro[lava]' (Python 3.10)",
    ),
    "lava-batch": Contender(
        "our Lava processes with a batch axis, fixed point, all images side by side",
        ("lava.magma",), f"{_LAVA}:batched", "pip install 'pvae-neuro[lava]' (Python 3.10)",
    ),
}  # fmt: skip


def missing(name: str) -> str | None:
    """Why a contender cannot run in this installation; None if it can."""
    contender = CONTENDERS[name]
    lacking = [module for module in contender.needs if not installed(module)]
    if not lacking:
        return None
    return f"{', '.join(lacking)} not installed; {contender.remedy}"


def prepare(name: str, setting: Setting) -> Entry:
    """Build a contender.

    Parameters
    ----------
    name : str
    setting : Setting

    Returns
    -------
    Entry

    Raises
    ------
    EngineUnavailableError
        If it cannot run this case, or its dependency fails to import.
    """
    module, _, function = CONTENDERS[name].prepare.partition(":")
    try:
        make: Callable[[Setting], Entry] = getattr(import_module(module), function)
        return make(setting)
    except ImportError as error:
        if isinstance(error, EngineUnavailableError):
            raise
        raise EngineUnavailableError(f"{name}: cannot be imported: {error}") from error


def fast(setting: Setting) -> Entry:
    """Engine ``fast``, recording what it does by default."""
    return _engine("fast", get_engine("fast"), setting)


def fast_bare(setting: Setting) -> Entry:
    """Engine ``fast``, recording nothing but the end."""
    return _engine("fast-bare", get_engine("fast"), setting, "last")


def reference(setting: Setting) -> Entry:
    """Engine ``reference``."""
    return _engine("reference", get_engine("reference"), setting)


def onnx(setting: Setting) -> Entry:
    """Engine ``onnx`` with the case's threads."""
    from pvae_neuro.sim.onnx_runtime import OnnxEngine

    return _engine("onnx", OnnxEngine(setting.case.threads), setting)


def _engine(name: str, engine: Engine, setting: Setting, record: Record = "summary") -> Entry:
    work = setting.workload

    def run(steps: int) -> None:
        engine.run(work.network, work.images, steps, setting.seed, record=record)

    return Entry(name, len(work.images), run)
