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
from numpy.typing import NDArray

from pvae_neuro.cluster.clients import LOCAL, ConnectionOptions
from pvae_neuro.cluster.connection import Connection
from pvae_neuro.cluster.worker import run_block
from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork, check_steps
from pvae_neuro.sim.engine import Engine, Progress, Record, Recording, engine_names, get_engine
from pvae_neuro.sim.inputs import encode_inputs
from pvae_neuro.sim.noise import check_seed
from pvae_neuro.sim.recorder import check_record
from pvae_neuro.sim.trajectory import trajectory_array

__all__ = ["LOCAL", "ScheduledEngine", "engine_for"]

# A block carries some seconds of work and no more than this in results.
SAMPLES_PER_BLOCK = 128
BLOCK_BYTES = 16 << 20
# Fewer samples make smaller blocks, so that several workers have something to do.
LEAST_BLOCKS = 16

_connections: WeakValueDictionary[ConnectionOptions, Connection] = WeakValueDictionary()


class ScheduledEngine:
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
        Further fields of :class:`~pvae_neuro.cluster.clients.ConnectionOptions`.

    Raises
    ------
    InputError
        If there is no such engine, or an option cannot be meant.
    EngineUnavailableError
        If Dask's ``distributed`` is not installed.
    """

    def __init__(
        self, engine: str | Engine, scheduler: str, *, block: int | None = None, **options: Any
    ) -> None:
        if isinstance(engine, str) and engine not in engine_names():
            raise InputError(f"engine: expected one of {', '.join(engine_names())}; got {engine!r}")
        if block is not None and block < 1:
            raise InputError(f"block: expected at least 1 sample, got {block}")
        self._engine, self._block = engine, block
        self.name = f"{engine if isinstance(engine, str) else engine.name}@{scheduler}"
        self._connection = _connect(ConnectionOptions(scheduler, **options))

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
        """Run ``steps`` iterations; see :meth:`Engine.run`. Progress is told block by block."""
        check_steps(steps)
        check_seed(seed)
        check_record(record)
        encode_inputs(network, inputs)  # one clear error before anything travels
        images = np.asarray(inputs)
        size = self._block or self._block_size(network, len(images), steps, record)
        starts = range(0, len(images), size)
        calls = (
            (images[first : first + size], steps, seed, record, first_sample + first)
            for first in starts
        )
        gathered = _Gathered(len(images))
        for place, block in self.map(run_block, (network, self._engine), calls):
            gathered.take(starts[place], block)
            if progress is not None:
                progress(len(block.readout) * steps)
        return gathered.recording()

    def _block_size(self, network: IntegerNetwork, samples: int, steps: int, record: Record) -> int:
        # A count and a potential of a neuron take 5 bytes, the summaries of an iteration 32.
        full = 5 * network.latents.size if record == "full" else 0
        most = BLOCK_BYTES // (steps * (full + 32))
        # An engine that runs samples side by side says how many.
        least = getattr(self._engine, "batch", 1)
        return max(least, min(SAMPLES_PER_BLOCK, most, -(-samples // LEAST_BLOCKS)))

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
    EngineUnavailableError
        If a dependency is missing.
    """
    if scheduler is not None:
        return ScheduledEngine(name, scheduler, **options)
    if options:
        raise InputError(f"{', '.join(options)}: expected --scheduler with it, got none")
    return get_engine(name) if isinstance(name, str) else name


def _connect(options: ConnectionOptions) -> Connection:
    connection = _connections.get(options)
    if connection is None:
        connection = _connections[options] = Connection(options)
    return connection


class _Gathered:
    """Blocks of samples, put together as one recording."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._values: dict[str, Any] = {}

    def take(self, first: int, block: Recording) -> None:
        rows = slice(first, first + len(block.readout))
        for field in fields(block):
            value = getattr(block, field.name)
            if not isinstance(value, np.ndarray):
                self._values[field.name] = value
                continue
            if field.name not in self._values:
                shape = (self._samples, *value.shape[1:])
                self._values[field.name] = trajectory_array(shape, value.dtype)
            self._values[field.name][rows] = value

    def recording(self) -> Recording:
        return Recording(**self._values)
