"""What an engine is, what it returns, and how to find one by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork

Record = Literal["last", "summary", "full"]
RECORDS: tuple[Record, ...] = ("last", "summary", "full")
# Called with the number of image-iterations done since the last call.
Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Recording:
    """What an engine recorded of N samples over T iterations, K latents, M pixels.

    Iteration t samples ``counts[:, t]`` from the potential before it and leaves
    ``potentials[:, t]``. One more sample, drawn from the last potential, is the readout.

    Attributes
    ----------
    readout : uint8 [N, K]
        Counts drawn after the last update.
    final : int32 [N, K]
        Potential after the last update.
    reconstruction : float32 [N, M]
        Readout counts through the integer dictionary.
    spikes, active, saturated : int64 [N, T] or None
        Per iteration: sum of counts, neurons that fired, neurons at the largest count.
        (``summary`` and ``full``.)
    squared_error : int64 [N, T] or None
        Per iteration: sum over pixels of (x - reconstruction)**2 after the update, in units of
        ``error_unit``; integers, so that engines can be compared exactly.
    error_unit : float
        Value of one unit of ``squared_error``.
    counts : uint8 [N, T, K] or None
        (``full`` only.)
    potentials : int32 [N, T, K] or None
        After the update, unit 2**-frac_bits. (``full`` only.)
    """

    readout: NDArray[np.uint8]
    final: NDArray[np.int32]
    reconstruction: NDArray[np.float32]
    error_unit: float
    spikes: NDArray[np.int64] | None = None
    active: NDArray[np.int64] | None = None
    saturated: NDArray[np.int64] | None = None
    squared_error: NDArray[np.int64] | None = None
    counts: NDArray[np.uint8] | None = None
    potentials: NDArray[np.int32] | None = None


class Engine(Protocol):
    """Runs an IntegerNetwork; every engine gives the same integers as ``reference``."""

    name: str

    def run(
        self,
        network: IntegerNetwork,
        inputs: NDArray[np.floating[Any]],
        steps: int,
        seed: int,
        *,
        record: Record = "summary",
        first_sample: int = 0,
        progress: Progress | None = None,
    ) -> Recording:
        """Run ``steps`` iterations on ``inputs`` [N, M].

        Parameters
        ----------
        network : IntegerNetwork
        inputs : float [N, M]
            Images inside the network's declared range.
        steps : int
            Iterations T.
        seed : int
            Key of the noise.
        record : {"last", "summary", "full"}
        first_sample : int
            Index of ``inputs[0]`` in the noise, so that blocks of a data set can run anywhere.
        progress : callable, optional
            Told the number of image-iterations done since it was last told.

        Raises
        ------
        EngineUnavailableError
            If a dependency is missing.
        EngineError
            If the engine fails or overruns its time.
        """
        ...


ENGINES: dict[str, str] = {
    "reference": "pvae_neuro.sim.reference:ReferenceEngine",
    "fast": "pvae_neuro.sim.fast:FastEngine",
    "onnx": "pvae_neuro.sim.onnx_runtime:OnnxEngine",
    "lava": "pvae_neuro.sim.lava.engine:LavaEngine",
    "loihi2": "pvae_neuro.sim.lava.engine:Loihi2Engine",
}
ENTRY_POINT_GROUP = "pvae_neuro.engines"


def engine_names() -> list[str]:
    """Names that :func:`get_engine` knows, those of installed plug-ins included."""
    return [*ENGINES, *(e.name for e in _plugins())]


def default_engine() -> str:
    """Name of the fastest engine installed here: ``fast`` with numba, else ``reference``."""
    return "fast" if find_spec("numba") is not None else "reference"


def get_engine(name: str) -> Engine:
    """Return the engine of that name.

    Raises
    ------
    InputError
        If there is no such engine.
    """
    if name in ENGINES:
        module, attribute = ENGINES[name].split(":")
        engine: Engine = getattr(import_module(module), attribute)()
        return engine
    for plugin in _plugins():
        if plugin.name == name:
            loaded: Engine = plugin.load()()
            return loaded
    raise InputError(f"engine: expected one of {', '.join(engine_names())}; got {name!r}")


def _plugins() -> Iterable[EntryPoint]:
    return entry_points(group=ENTRY_POINT_GROUP)
