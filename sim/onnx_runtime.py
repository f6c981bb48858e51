"""Engine ``onnx``: ONNX Runtime runs the artifact's own graph on the CPU."""

from __future__ import annotations

from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError
from pvae_neuro.exporters.onnx_graph import build_model
from pvae_neuro.network import IntegerNetwork, check_steps
from pvae_neuro.sim.engine import Progress, Record, Recording
from pvae_neuro.sim.inputs import encode_inputs
from pvae_neuro.sim.noise import check_seed, noise
from pvae_neuro.sim.recorder import Recorder

LARGEST_BLOCK = 64
# Noise, counts, potentials and the recorder's work on them, per sample, step and neuron or pixel.
_BYTES_PER_VALUE = 16
_BLOCK_BYTES = 1 << 28
_ERRORS_ONLY = 3

# A network's sessions, by number of threads. They go when the network goes.
_sessions: WeakKeyDictionary[IntegerNetwork, dict[int, Any]] = WeakKeyDictionary()


class OnnxEngine:
    """ONNX Runtime on the CPU; see :class:`~pvae_neuro.sim.engine.Engine` for ``run``.

    The first run of a network builds its session; later runs of the same object reuse it.

    Parameters
    ----------
    threads : int
        Threads within an operator; 0 leaves the number to ONNX Runtime.

    Raises
    ------
    InputError
        If ``threads`` is negative.
    """

    name = "onnx"

    def __init__(self, threads: int = 0) -> None:
        if threads < 0:
            raise InputError(f"threads: expected 0 or more, got {threads}")
        self.threads = threads

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
        """Run ``steps`` iterations; see :meth:`Engine.run`."""
        check_steps(steps)
        check_seed(seed)
        pixels = encode_inputs(network, inputs)
        recorder = Recorder(network, pixels, steps, record)
        session = _session(network, self.threads)
        size = block_size(network, steps)
        for first in range(0, len(pixels), size):
            block = pixels[first : first + size]
            places = range(first_sample + first, first_sample + first + len(block))
            # One word more than iterations: the readout is the next count.
            words = noise(seed, steps + 1, places, network.latents.size)
            counts, potentials = _run_graph(session, block, words)
            recorder.add(first, counts, potentials[:, :-1])
            if progress is not None:
                progress(len(block) * steps)
        return recorder.finish()


def block_size(network: IntegerNetwork, steps: int) -> int:
    """Samples that run together, so that a block stays within 256 MiB (but at least one).

    Parameters
    ----------
    network : IntegerNetwork
    steps : int

    Returns
    -------
    int
    """
    values = (steps + 1) * (network.latents.size + network.input.pixels)
    return max(1, min(LARGEST_BLOCK, _BLOCK_BYTES // (values * _BYTES_PER_VALUE)))


def _session(network: IntegerNetwork, threads: int) -> Any:
    """Session of a network, built at its first use."""
    runtime = _runtime()
    sessions = _sessions.setdefault(network, {})
    if threads not in sessions:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        graph = build_model(network).SerializeToString()
        try:
            sessions[threads] = runtime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _failed("loaded", error) from error
    return sessions[threads]


def _runtime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailableError(
            f"engine onnx: ONNX Runtime cannot be imported ({error}); "
            f"install it with: pip install 'pvae-neuro[onnx-runtime]'"
        ) from error
    module: ModuleType = onnxruntime
    return module


def _run_graph(
    session: Any, pixels: NDArray[np.int32], words: NDArray[np.uint16]
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Run a block; words [B, T, K]; return counts and potentials [B, T, K]."""
    feeds = {"input": pixels, "noise": np.ascontiguousarray(words.swapaxes(0, 1))}
    try:
        counts, potentials = session.run(["counts", "potentials"], feeds)
    except Exception as error:
        raise _failed("run", error) from error
    return counts.swapaxes(0, 1), potentials.swapaxes(0, 1)


def _failed(what: str, error: Exception) -> EngineError:
    return EngineError(
        f"engine onnx: expected the graph to be {what}, got from ONNX Runtime: {error}. "
        f"The engine 'reference' gives the same numbers"
    )
