"""What runs on a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import Engine, get_engine
from pvae_neuro.sim.fast.team import limited_threads
from pvae_neuro.sim.recording import Record, Recording

# Engines have threads or processes of their own, so a worker runs one part at a time.
_one_at_a_time = threading.Lock()


@cache
def own_version() -> str:
    """Version of this package, as installed here."""
    return version("pvae-neuro")


def call(expected_version: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function`` if this is the version that asks.

    Parameters
    ----------
    expected_version : str
        Version of this package where the result goes.
    function : callable
    *arguments

    Raises
    ------
    EngineError
        If the version here is another.
    """
    if own_version() != expected_version:
        raise EngineError(
            f"a worker joined with pvae-neuro {own_version()}, expected {expected_version}; "
            f"install the same version on both"
        )
    from distributed import get_worker

    # Compiled kernels use as many threads as the worker was given.
    with _one_at_a_time, limited_threads(get_worker().state.nthreads):
        return function(*arguments)


def run_part(
    subject: tuple[IntegerNetwork, str | Engine],
    images: NDArray[np.floating[Any]],
    steps: int,
    seed: int,
    record: Record,
    first_sample: int,
    reset: bool,
) -> Recording:
    """Run a part of the samples; see :meth:`Engine.run`.

    Parameters
    ----------
    subject : tuple of (IntegerNetwork, str or Engine)
        The same object for all parts of a worker, so that engines compile once.
    images : float [B, M] or [B, F, M]
    steps, seed : int
    record : {"last", "summary", "full"} or list of str
    first_sample : int
    reset : bool
    """
    network, engine = subject
    runner = get_engine(engine) if isinstance(engine, str) else engine
    return runner.run(
        network, images, steps, seed,
        record=record, first_sample=first_sample, reset=reset, progress=False,
    )  # fmt: skip
