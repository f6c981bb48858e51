"""Engine ``onnx``: ONNX Runtime runs the artifact's own graph on the CPU.

Where the network was read from a file, these are the bytes of that file; else the graph that the
exporter would write. Outputs that nobody asked for are left out of it, so that nothing is kept for
every step without need.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError, NetworkError
from pvae_neuro.exporters.onnx.graph import (
    INPUT,
    STEPS,
    build_model,
    initial_name,
    last_name,
    noise_name,
    state_name,
)
from pvae_neuro.exporters.onnx.prune import pruned, tables
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import Block, BlockResult, Engine
from pvae_neuro.sim.noise import population_noise

LARGEST_BLOCK = 256
# Errors are raised; nothing but fatal ones is printed too.
_FATAL_ONLY = 4
_KEY = "onnx"


class OnnxEngine(Engine):
    """ONNX Runtime on the CPU.

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
    packages = ("onnxruntime",)

    def __init__(self, threads: int = 0) -> None:
        if threads < 0:
            raise InputError(f"threads: expected 0 or more, got {threads}")
        self.threads = threads

    def require(self) -> None:
        """Raise :class:`EngineUnavailableError` if ONNX Runtime cannot be imported."""
        _runtime()

    def unsupported(self, network: IntegerNetwork) -> list[str]:
        """What a network needs and the graph cannot hold."""
        found = super().unsupported(network)
        if not found:
            try:
                _model(network)
            except NetworkError as error:
                found.append(f"engine {self.name}: {error}")
        return found

    def block_size(self, network: IntegerNetwork, steps: int, record: tuple[str, ...]) -> int:
        """Samples that run at once."""
        return min(LARGEST_BLOCK, super().block_size(network, steps, record))

    def encode(self, network: IntegerNetwork, x: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
        """Encoded pixels by frame: the graph itself computes the inputs' values from them."""
        frames = x.swapaxes(0, 1) if network.encodings else x[None, :, 0]
        return {INPUT: np.ascontiguousarray(frames)}

    def run_block(self, block: Block) -> BlockResult:
        """Run a block, frame after frame; see :meth:`Engine.run_block`."""
        network = block.network
        session = _session(network, block.record, self.threads)
        pieces: dict[str, list[NDArray[Any]]] = {name: [] for name in block.record}
        state: dict[str, NDArray[Any]] = {}
        fetched: dict[str, NDArray[Any]] = {}
        for frame in range(block.frames):
            first = block.first_step + frame * block.iterations
            # The last word of a frame is that of the next frame's first iteration.
            steps = range(first, first + block.iterations + 1)
            feeds = {INPUT: block.inputs[INPUT][frame], **_noise(network, block, steps)}
            feeds.update(_tables(network))
            feeds.update({initial_name(name): value for name, value in state.items()})
            fetched = _run(session, feeds)
            state = {name: fetched[state_name(name)] for name in network.variables}
            end = None if frame == block.frames - 1 else -1
            for name, parts in pieces.items():
                parts.append(fetched[name][:end].swapaxes(0, 1))
            block.advance(len(block.samples) * block.iterations)
        last = {name: fetched[last_name(name)] for name in network.variables}
        variables = {
            name: parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
            for name, parts in pieces.items()
        }
        return BlockResult(last, variables)


def _noise(network: IntegerNetwork, block: Block, steps: range) -> dict[str, NDArray[Any]]:
    """Random words by graph input: uint16 [steps, batch, n]."""
    words = {
        noise_name(p.name): np.ascontiguousarray(
            population_noise(p, block.seed, steps, block.samples).swapaxes(0, 1)
        )
        for p in network.drawing
    }
    # A network that draws nothing still has to be told the number of steps.
    return words or {STEPS: np.zeros(len(steps), np.uint8)}


def _model(network: IntegerNetwork) -> ModelProto:
    """The graph of the network's file, or the one that its file would have."""
    models = network.compiled.setdefault(_KEY, {})
    if "model" not in models:
        if network.file_bytes is None:
            models["model"] = build_model(network)
        else:
            model = ModelProto()
            model.ParseFromString(network.file_bytes)
            models["model"] = model
    return models["model"]


def _session(network: IntegerNetwork, record: tuple[str, ...], threads: int) -> Any:
    """Session of a network, built at its first use."""
    sessions = network.compiled.setdefault(_KEY, {})
    key = (record, threads)
    if key not in sessions:
        ends = [name(v) for v in network.variables for name in (state_name, last_name)]
        model = pruned(_model(network), {*record, *ends}, _tables(network))
        sessions[key] = _loaded(model, threads)
    return sessions[key]


def _tables(network: IntegerNetwork) -> dict[str, NDArray[Any]]:
    """The expanded samplers, as the graph itself computes them: once, not in every run."""
    made = network.compiled.setdefault(_KEY, {})
    if "tables" not in made:
        names = tables(_model(network))
        session = _loaded(pruned(_model(network), names), 1) if names else None
        made["tables"] = {} if session is None else _run(session, {})
    found: dict[str, NDArray[Any]] = made["tables"]
    return found


def _loaded(model: ModelProto, threads: int) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait by spinning take the processor from those that work, twofold as measured.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _FATAL_ONLY
    try:
        return runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise _failed("loaded", error) from error


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


def _run(session: Any, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Every output of the graph, by name."""
    names = [output.name for output in session.get_outputs()]
    # A graph that needs less than there is, as a network without a final draw, has fewer inputs.
    needed = {value.name for value in (*session.get_inputs(), *_defaults(session))}
    try:
        return dict(
            zip(
                names,
                session.run(names, {n: v for n, v in feeds.items() if n in needed}),
                strict=True,
            )
        )
    except Exception as error:
        raise _failed("run", error) from error


def _defaults(session: Any) -> list[Any]:
    """Inputs that have a default."""
    found: list[Any] = session.get_overridable_initializers()
    return found


def _failed(what: str, error: Exception) -> EngineError:
    reason = " ".join(str(error).split())
    return EngineError(
        f"engine onnx: expected the graph to be {what}, got from ONNX Runtime: {reason}. "
        f"The engine 'reference' gives the same numbers"
    )
