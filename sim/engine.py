"""What an engine is, and how to find one. Every engine gives the same integers as ``reference``.

An engine implements one block: :meth:`Engine.run_block`. Checks, encoding, blocks, recording and
progress are here, once. It declares what it supports and refuses anything else before any work.
``docs/engines.md`` shows how to write one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from inspect import signature
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import (
    EngineError,
    EngineUnavailableError,
    InputError,
    MissingDependencyError,
    PvaeNeuroError,
)
from pvae_neuro.network import CONNECTION_KINDS, OPERATIONS, IntegerNetwork
from pvae_neuro.sim import readout
from pvae_neuro.sim.checks import Check, installed_version
from pvae_neuro.sim.frames import Frames, checked_frames
from pvae_neuro.sim.noise import LARGEST_INDEX, check_seed, check_whole
from pvae_neuro.sim.recording import Record, Recorder, Recording, recorded_variables
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import Advance, shown_advance

MOST_ITERATIONS = 1 << 31
# Recorded variables and summaries of one block stay below this, if one sample does.
BLOCK_BYTES = 128 << 20


@dataclass(frozen=True, eq=False)
class Block:
    """Samples that run at once.

    Attributes
    ----------
    network : IntegerNetwork
        Proved: no word leaves its width.
    inputs : dict of str to int32 [F, B, n]
        Values of the input populations' variables for each of F frames, by
        ``population.variable``.
    iterations : int
        Iterations that each frame is held for; the whole run has T = F * iterations of them.
    samples : range
        Indices of the B samples in the noise.
    seed : int
        Key of the noise.
    first_step : int
        Step number of the first iteration in the noise.
    record : tuple of str
        Variables to return for every step.
    advance : callable
        To be told the number of image-iterations done since it was last told.
    """

    network: IntegerNetwork
    inputs: dict[str, NDArray[np.int32]]
    iterations: int
    samples: range
    seed: int
    first_step: int
    record: tuple[str, ...]
    advance: Advance

    @property
    def frames(self) -> int:
        """Number of frames F; 1 where there is no input."""
        return max((len(values) for values in self.inputs.values()), default=1)

    @property
    def steps(self) -> int:
        """T + 1: one step for each iteration, and that of ``final``."""
        return self.frames * self.iterations + 1


@dataclass(frozen=True, eq=False)
class BlockResult:
    """What an engine returns of a block.

    Attributes
    ----------
    last : dict of str to int [B, n]
        Every variable of :attr:`IntegerNetwork.variables` after ``final``.
    variables : dict of str to int [B, T + 1, n]
        Those in ``Block.record``: at the end of each iteration, then after ``final``.
    """

    last: dict[str, NDArray[Any]]
    variables: dict[str, NDArray[Any]]


class Engine(ABC):
    """Runs integer networks.

    Class attributes declare what an engine can do; :meth:`unsupported` adds what they cannot
    express.

    Attributes
    ----------
    name : str
    operations : frozenset of str
        Word operations that it has.
    connection_kinds : frozenset of str
        Kinds of connection that it has.
    has_frames : bool
        Whether inputs may change during a run.
    packages : tuple of str
        Distributions that compute its integers, besides NumPy; reports name their versions.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    operations: ClassVar[frozenset[str]] = frozenset(OPERATIONS)
    connection_kinds: ClassVar[frozenset[str]] = frozenset(CONNECTION_KINDS)
    has_frames: ClassVar[bool] = True

    def __repr__(self) -> str:
        return f"<engine {self.name}>"

    @abstractmethod
    def run_block(self, block: Block) -> BlockResult:
        """Run a block; the integers are those of ``reference``."""

    def require(self) -> None:  # noqa: B027 - most engines need nothing.
        """Raise :class:`EngineUnavailableError` if something that the engine needs is missing."""

    def checks(self) -> list[Check]:
        """What this engine needs of the machine, and whether it is there; runs nothing."""
        try:
            self.require()
        except MissingDependencyError as error:
            return [Check("installed", False, "no", str(error))]
        versions = (f"{name} {installed_version(name)}" for name in self.packages)
        return [Check("installed", True, ", ".join(versions) or "NumPy alone")]

    def prepare(
        self,
        network: IntegerNetwork,
        record: Record = "summary",
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Do ahead of a run what is done once, such as compiling, so that it is in no run's time.

        Runs an image for an iteration. ``record`` is that of the run to come; ``tell`` gets a line
        where this takes seconds.
        """
        # The middle of the declared range.
        middle = np.full((1, network.input.size), (network.input.low + network.input.high) / 2)
        self.run(network, middle, 1, 0, record=record, progress=False)

    def unsupported(self, network: IntegerNetwork) -> list[str]:
        """What a network needs and this engine lacks, one sentence each; empty where it runs."""
        found = [
            f"engine {self.name} does not have the operation {name!r}"
            for name in sorted(network.operations - self.operations)
        ]
        found += [
            f"engine {self.name} does not have the connection kind {kind!r}"
            for kind in sorted(network.connection_kinds - self.connection_kinds)
        ]
        return found

    def explain(self, network: IntegerNetwork) -> list[str]:
        """How this engine computes a network, a line for each choice that it makes."""
        return [f"engine {self.name}: makes no choices"]

    def encode(self, network: IntegerNetwork, x: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
        """Values of the inputs' variables for encoded frames [B, F, M]: int32 [F, B, n] by name.

        An engine may compute the same integers faster; so for the next three.
        """
        frames = np.ascontiguousarray(x.swapaxes(0, 1))
        return {
            f"{e.population}.{e.variable}": np.stack(
                [e.apply(frame).astype(np.int32) for frame in frames]
            )
            for e in network.encodings
        }

    def run_summarized(
        self, block: Block, x: NDArray[np.int32]
    ) -> tuple[BlockResult, readout.Summary]:
        """Run a block, and make figures of every iteration.

        ``x`` holds the encoded frames, int32 [B, F, M].
        """
        asked = summarized_variables(block.network)
        record = tuple(dict.fromkeys((*block.record, *asked)))
        result = self.run_block(replace(block, record=record))
        frames, steps = x.shape[1], block.steps - 1
        target = x[:, 0] if frames == 1 else np.repeat(x, steps // frames, axis=1)
        code, values = (result.variables[name] for name in asked)
        return result, self.summarize(block.network, target, code, values)

    def summarize(
        self,
        network: IntegerNetwork,
        x: NDArray[np.int32],
        code: NDArray[Any],
        values: NDArray[Any],
    ) -> readout.Summary:
        """Figures of a block: from what it inferred, and from the readout's variable."""
        return readout.summarize(network, x, code, values)

    def reconstruct(self, network: IntegerNetwork, values: NDArray[Any]) -> NDArray[np.float32]:
        """Read values [N, n] of the readout's variable out: float32 [N, M]."""
        return readout.reconstruct(network, values)

    def block_size(self, network: IntegerNetwork, steps: int, record: tuple[str, ...]) -> int:
        """Samples that run at once: as many as keep what is recorded within ``BLOCK_BYTES``."""
        sizes = (network.population_of[name.partition(".")[0]].size for name in record)
        per_sample = steps * (4 * sum(sizes) + network.input.size)
        return int(np.clip(BLOCK_BYTES // per_sample, 1, 512))

    @checked
    def run(
        self,
        network: IntegerNetwork,
        inputs: ArrayLike,
        steps: int = 32,
        seed: int = 0,
        *,
        record: Record = "summary",
        first_sample: int = 0,
        reset: bool = False,
        progress: Advance | bool | None = None,
    ) -> Recording:
        """Run a network on images, or on frames of inputs that change in time.

        Parameters
        ----------
        network : IntegerNetwork
        inputs : array_like [N, M], or [N, F, M]
            Images inside the declared range, or F frames for each sample; height and width, as
            declared, may stand in place of M. Arrays, nested lists, tensors of torch.
        steps : int
            Iterations n that each frame is held for; T = F n in all.
        seed : int
            Key of the noise.
        record : {"last", "summary", "full"} or list of str
            ``summary`` keeps figures of every iteration, ``full`` every variable besides; a list
            names variables as ``population.variable``.
        first_sample : int
            Index of ``inputs[0]`` in the noise, so that parts of a data set can run anywhere.
        reset : bool
            Make every frame a run of its own, from the initial state: frame f (from 0) begins at
            step f (n + 1) of the noise. Otherwise the state carries over, and steps run on.
        progress : callable, True or False, optional
            Told image-iterations done since the last call; True shows a bar, False nothing. By
            default a terminal shows a bar and a notebook a line now and then.

        Returns
        -------
        Recording

        Raises
        ------
        InputError
            If an argument is out of range.
        NetworkError
            If a word of the network could leave its width.
        EngineUnavailableError
            If a dependency is missing.
        EngineError
            If the engine lacks something that the network needs, fails, or overruns its time.
        """
        steps = check_whole("steps", steps, 1, MOST_ITERATIONS)
        seed = check_seed(seed)
        first_sample = check_whole("first_sample", first_sample, 0, LARGEST_INDEX)
        variables = recorded_variables(network, record)
        self.require()
        self.require_support(network)
        x = encode_frames(network, inputs)
        frames = Frames(x.shape[1], steps, reset)
        if frames.frames > frames.runs and not self.has_frames:
            raise EngineError(f"engine {self.name} does not run frames that change in time")
        summarized = () if record == "last" else summarized_variables(network)
        recorder = Recorder(network, len(x), frames, variables, bool(summarized))
        kept = tuple(dict.fromkeys((*variables, *summarized)))
        size = self.block_size(network, frames.steps // frames.runs, kept)
        with shown_advance(progress, f"engine {self.name}", len(x) * frames.iterations) as advance:
            for first in range(0, len(x), size):
                part = x[first : first + size]
                samples = range(first_sample + first, first_sample + first + len(part))
                for run, (shown, places) in enumerate(frames.parts()):
                    block = Block(
                        network=network,
                        inputs=self.encode(network, part[:, shown]),
                        # Without an input nothing tells frames apart.
                        iterations=steps if network.encodings else len(places) - 1,
                        samples=samples,
                        seed=seed,
                        first_step=places.start,
                        record=variables,
                        advance=advance,
                    )
                    summary = None
                    if summarized:
                        result, summary = self.run_summarized(block, part[:, shown])
                    else:
                        result = self.run_block(block)
                    recorder.add(first, result.last, result.variables, summary, run)
        return recorder.finish(self.reconstruct)

    def require_support(self, network: IntegerNetwork) -> None:
        """Raise unless the network is proved and this engine has all that it needs."""
        supported = network.compiled.setdefault("supported by", set())
        if type(self) in supported:
            return
        network.require_proof()
        lacking = self.unsupported(network)
        if lacking:
            raise EngineError("; ".join(lacking))
        supported.add(type(self))


def encode_frames(network: IntegerNetwork, inputs: object) -> NDArray[np.int32]:
    """Check images [N, M] or frames [N, F, M] and encode them: int32 [N, F, M].

    Height and width, as declared, may stand in place of M.
    """
    return network.input.encode(checked_frames(network.input, inputs))


def summarized_variables(network: IntegerNetwork) -> tuple[str, ...]:
    """What figures of iterations are made of: the code, then the readout's variable; or nothing."""
    if network.code is None or network.readout is None:
        return ()
    return network.code, f"{network.readout.population}.{network.readout.variable}"


# -------------------------------------------------------------------------------- finding one

ENGINES: dict[str, str] = {
    "reference": "pvae_neuro.sim.reference:ReferenceEngine",
    "fast": "pvae_neuro.sim.fast:FastEngine",
    "onnx": "pvae_neuro.sim.onnx_runtime:OnnxEngine",
    "torch": "pvae_neuro.sim.tensors.engine:TorchEngine",
    "c": "pvae_neuro.sim.c_kernel.engine:CEngine",
    "lava": "pvae_neuro.sim.lava.engine:LavaEngine",
    "loihi2": "pvae_neuro.sim.lava.board.engine:Loihi2Engine",
}
# Tried in this order where nobody named an engine.
BY_SPEED = ("fast", "onnx", "reference")


def engine_names() -> list[str]:
    """Names that :func:`get_engine` knows."""
    return list(ENGINES)


@checked
def get_engine(name: str, **options: Any) -> Engine:
    """Return the engine of that name.

    Parameters
    ----------
    name : str
    **options
        Those of the engine; :func:`engine_options` names them.

    Raises
    ------
    InputError
        If there is no such engine, or it has no such option.
    """
    made = _engine_class(name)
    for option in options:
        if option not in engine_options(name):
            known = ", ".join(engine_options(name)) or "none"
            raise InputError(f"engine {name}: has no option {option!r}; its options: {known}")
    return made(**options)


def engine_options(name: str) -> tuple[str, ...]:
    """Names of the options that an engine is made with: the arguments of its class."""
    return tuple(signature(_engine_class(name)).parameters)


def engine_packages(name: str) -> tuple[str, ...]:
    """Distributions that an engine computes with; see :attr:`Engine.packages`."""
    return _engine_class(name).packages


def _engine_class(name: str) -> type[Engine]:
    if name not in ENGINES:
        raise InputError(f"engine: expected one of {', '.join(ENGINES)}; got {name!r}")
    module, attribute = ENGINES[name].split(":")
    found: type[Engine] = getattr(import_module(module), attribute)
    return found


@checked
def fastest_engine(network: IntegerNetwork, tell: Callable[[str], None] | None = None) -> Engine:
    """Return the fastest engine that works here and runs this network.

    ``tell`` gets a line for each engine that is passed over.
    """
    return next(working_engines(network, tell))


def working_engines(
    network: IntegerNetwork, tell: Callable[[str], None] | None = None
) -> Iterator[Engine]:
    """Yield each engine of ``BY_SPEED`` that works here and runs this network, fastest first.

    Each is tried for one iteration, so that a missing compiler cache or an unsupported operation is
    found now. ``tell`` gets a line for each engine that is passed over, and before one compiles.
    """
    for name in BY_SPEED[:-1]:
        try:
            engine = _tried(name, network, tell)
        except (EngineUnavailableError, EngineError) as error:
            if tell is not None:
                tell(f"engine {name} is not used: {error}")
        else:
            yield engine
    yield get_engine(BY_SPEED[-1])


def definition_first(engines: Iterable[Engine]) -> list[Engine]:
    """Put the engine ``reference``, which defines the integers, before the others."""
    return sorted(engines, key=lambda engine: engine.name != "reference")


def _tried(name: str, network: IntegerNetwork, tell: Callable[[str], None] | None) -> Engine:
    try:
        engine = get_engine(name)
        engine.prepare(network, tell=tell)
    except PvaeNeuroError:
        raise
    except Exception as error:
        # Compilers add pages.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EngineError(f"it fails on this machine: {reason}") from error
    return engine
