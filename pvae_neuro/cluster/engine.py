"""Spread a data set over many processes or machines, with the integers of one process.

A sample's noise depends on its place in the data set alone, so it does not matter where or in what
order blocks of samples run. :class:`ScheduledEngine` is an engine like any other::

    with engine_for("fast", "tcp://head:8786") as engine:
        evaluate(network, images, steps=128, engine=engine)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.cluster.dask import LOCAL, Connection, ConnectionOptions
from pvae_neuro.cluster.worker import run_part
from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import (
    MOST_ITERATIONS,
    Block,
    BlockResult,
    Engine,
    encode_frames,
    engine_names,
    get_engine,
)
from pvae_neuro.sim.noise import LARGEST_INDEX, check_seed, check_whole
from pvae_neuro.sim.recording import Record, Recording, recorded_variables, variable_dtype
from pvae_neuro.sim.trajectory import trajectory_array
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.arrays import real_array
from pvae_neuro.utils.progress import Advance, shown_advance

__all__ = ["LOCAL", "ScheduledEngine", "engine_for"]

# A part carries some seconds of work and no more than this in results.
SAMPLES_PER_PART = 128
PART_BYTES = 16 << 20
# Fewer samples make smaller parts, so that several workers have something to do.
LEAST_PARTS = 16

_connections: WeakValueDictionary[ConnectionOptions, Connection] = WeakValueDictionary()


class ScheduledEngine(Engine):
    """An engine that runs on the workers of a Dask scheduler.

    Engines with the same options share one connection, opened at the first run and closed by
    :meth:`close`, by leaving a ``with`` block, by Ctrl-C or at exit.

    Parameters
    ----------
    engine : str or Engine
        Name, looked up on the workers; or an engine, sent to them.
    scheduler : str
        ``local``, or the address of a running scheduler, such as ``tcp://host:8786``.
    block : int, optional
        Samples that travel together; changes no integer.
    **options
        Further fields of :class:`~pvae_neuro.cluster.dask.ConnectionOptions`.

    Raises
    ------
    InputError
        If there is no such engine, or an option cannot be meant.
    MissingDependencyError
        If Dask's ``distributed`` is not installed.
    """

    @checked
    def __init__(
        self, engine: str | Engine, scheduler: str, *, block: int | None = None, **options: Any
    ) -> None:
        if isinstance(engine, str) and engine not in engine_names():
            raise InputError(f"engine: expected one of {', '.join(engine_names())}; got {engine!r}")
        if block is not None and block < 1:
            raise InputError(f"block: expected at least 1 sample, got {block}")
        self._engine, self._block = engine, block
        self._name = f"{engine if isinstance(engine, str) else engine.name}@{scheduler}"
        self._connection = _connect(ConnectionOptions(scheduler, **options))

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the engine and address of the scheduler."""
        return self._name

    def unsupported(self, network: IntegerNetwork) -> list[str]:
        """What the engine on the workers lacks."""
        return self._local().unsupported(network)

    def require_support(self, network: IntegerNetwork) -> None:
        """Raise unless the network is proved and the engine on the workers has what it needs."""
        self._local().require_support(network)

    def _local(self) -> Engine:
        return get_engine(self._engine) if isinstance(self._engine, str) else self._engine

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
        """Run a network on images; see :meth:`Engine.run`. Progress is told part by part."""
        steps = check_whole("steps", steps, 1, MOST_ITERATIONS)
        seed = check_seed(seed)
        first_sample = check_whole("first_sample", first_sample, 0, LARGEST_INDEX)
        variables = recorded_variables(network, record)
        self.require_support(network)
        # One clear error before anything travels.
        samples, frames, _ = encode_frames(network, inputs).shape
        images = real_array("inputs", inputs)
        size = self._part_size(network, samples, frames * steps, variables)
        starts = range(0, samples, size)
        calls = (
            (images[first : first + size], steps, seed, record, first_sample + first, reset)
            for first in starts
        )
        gathered = _Gathered(samples)
        with shown_advance(progress, f"engine {self.name}", samples * frames * steps) as tell:
            for place, part in self.map(run_part, (network, self._engine), calls):
                first = starts[place]
                gathered.take(first, part)
                tell((min(first + size, samples) - first) * frames * steps)
        return gathered.recording()

    @property
    def remote(self) -> str | Engine:
        """The engine that runs on the workers, or its name."""
        return self._engine

    def samples_at_once(self, samples: int | None, most: int) -> int:
        """Of so many samples, or of unknown many, how many are to travel together, up to ``most``.

        Those that the caller asked for, else fewer where there are few, so that several workers
        have something to do. An engine that runs samples side by side gets as many.
        """
        if self._block is not None:
            return self._block
        least: int = getattr(self._engine, "batch", 1)
        return max(least, min(most, most if samples is None else -(-samples // LEAST_PARTS)))

    def run_block(self, block: Block) -> BlockResult:
        """Run a block here; only whole runs are spread over workers."""
        return self._local().run_block(block)

    def _part_size(
        self, network: IntegerNetwork, samples: int, steps: int, variables: tuple[str, ...]
    ) -> int:
        recorded = sum(
            variable_dtype(network, name).itemsize
            * network.population_of[name.partition(".")[0]].size
            for name in variables
        )
        # The figures of an iteration take 32 bytes.
        most = max(1, PART_BYTES // (steps * (recorded + 32)))
        return self.samples_at_once(samples, min(SAMPLES_PER_PART, most))

    def map(
        self, function: Callable[..., Any], shared: object, calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Run ``function(shared, *call)`` on the workers: ``Connection.map``."""
        return self._connection.map(function, shared, calls)

    def close(self) -> None:
        """Disconnect, and end the processes of a local cluster; the next run opens it again."""
        self._connection.close()

    def __enter__(self) -> ScheduledEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def engine_for(name: str | Engine, scheduler: str | None = None, **options: Any) -> Engine:
    """Engine of that name, here or on the workers of a scheduler.

    Parameters
    ----------
    name : str or Engine
    scheduler : str, optional
        ``local``, or the address of a running scheduler; none runs in this process.
    **options
        See :class:`ScheduledEngine`; for a scheduler alone.

    Returns
    -------
    Engine
        With a scheduler a :class:`ScheduledEngine`, which can be closed.

    Raises
    ------
    InputError
        If there is no such engine, or an option cannot be meant.
    MissingDependencyError
        If a dependency is missing.
    """
    if scheduler is not None:
        return ScheduledEngine(name, scheduler, **options)
    if options:
        raise InputError(f"{', '.join(options)}: expected a scheduler with it, got none")
    return get_engine(name) if isinstance(name, str) else name


def _connect(options: ConnectionOptions) -> Connection:
    connection = _connections.get(options)
    if connection is None:
        connection = _connections[options] = Connection(options)
    return connection


class _Gathered:
    """Parts of a run, put together as one recording."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._values: dict[str, Any] = {}

    def take(self, first: int, part: Recording) -> None:
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, dict):
                known = self._values.setdefault(field.name, {})
                for name, array in value.items():
                    self._place(known, name, first, array)
            elif isinstance(value, np.ndarray):
                self._place(self._values, field.name, first, value)
            else:
                self._values[field.name] = value

    def _place(self, known: dict[str, Any], name: str, first: int, array: NDArray[Any]) -> None:
        if name not in known:
            known[name] = trajectory_array((self._samples, *array.shape[1:]), array.dtype)
        known[name][first : first + len(array)] = array

    def recording(self) -> Recording:
        return Recording(**self._values)
