"""Reaching a Dask scheduler: join a running one, or start one with workers on this machine."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from pvae_neuro.errors import EngineError, InputError
from pvae_neuro.utils.optional import require

if TYPE_CHECKING:
    from distributed import Client

LOCAL = "local"
# More processes than this win nothing over more threads, and each holds the network.
MOST_LOCAL_WORKERS = 8
_ADDRESS = re.compile(r"([a-z]+://)?[^\s/:]+(:[^\s/:]+)*:\d+")
_THREAD_VARIABLES = (
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)

Close = Callable[[], None]


@dataclass(frozen=True)
class ConnectionOptions:
    """How to reach workers.

    Attributes
    ----------
    scheduler : str
        ``local``, or the address of a running scheduler, such as ``tcp://host:8786``.
    workers : int, optional
        Processes to start (``local`` only); by default one per core, up to
        ``MOST_LOCAL_WORKERS``.
    threads : int, optional
        Threads of each of them; by default an equal share of the cores.
    timeout : float
        Seconds within which the scheduler must answer.
    patience : float
        Seconds to go on without a single worker, at the start or later.
    """

    scheduler: str
    workers: int | None = None
    threads: int | None = None
    timeout: float = 10.0
    patience: float = 60.0

    def check(self) -> None:
        """Raise :class:`InputError` if an option cannot be meant."""
        if self.scheduler != LOCAL and not _ADDRESS.fullmatch(self.scheduler):
            raise InputError(
                f"scheduler: expected local, or an address such as tcp://host:8786; got "
                f"{self.scheduler!r}"
            )
        for name, value in (("workers", self.workers), ("threads", self.threads)):
            if value is not None and value < 1:
                raise InputError(f"{name}: expected at least 1, got {value}")
            if value is not None and self.scheduler != LOCAL:
                raise InputError(
                    f"{name}: only the scheduler local starts workers; those of "
                    f"{self.scheduler} have their own"
                )
        for name, seconds in (("timeout", self.timeout), ("patience", self.patience)):
            if not seconds > 0:
                raise InputError(f"{name}: expected a positive number of seconds, got {seconds}")


def own_version() -> str:
    """Version of this package, as installed here."""
    return version("pvae-neuro")


def require_distributed() -> None:
    """Raise :class:`MissingDependencyError` where Dask's ``distributed`` is missing."""
    require("distributed", "cluster", "running on a scheduler")


def open_client(options: ConnectionOptions) -> tuple[Client, Close]:
    """Connect, and start workers where that is asked for.

    Parameters
    ----------
    options : ConnectionOptions

    Returns
    -------
    client : Client
    close : callable
        Ends everything that was started.

    Raises
    ------
    EngineError
        If the scheduler does not answer, workers cannot be started, or one of them has another
        version of this package.
    """
    client, close = _start(options) if options.scheduler == LOCAL else _join(options)
    try:
        _check_versions(client)
    except BaseException:
        close()
        raise
    return client, close


def _join(options: ConnectionOptions) -> tuple[Client, Close]:
    from distributed import Client

    address = options.scheduler
    try:
        client = Client(address, timeout=options.timeout, set_as_default=False)
    except ValueError as error:
        raise InputError(f"scheduler {address}: {error}") from error
    # No answer comes as an OSError or as one of two kinds of TimeoutError.
    except Exception as error:
        raise EngineError(
            f"scheduler {address}: no answer within {options.timeout:g} s; is it running there "
            f"(dask scheduler), and does a firewall let you through?"
        ) from error
    return client, partial(_shut, client, None, None)


def _start(options: ConnectionOptions) -> tuple[Client, Close]:
    from dask import config
    from distributed import Client, LocalCluster

    cores = _cores()
    workers = options.workers or min(cores, MOST_LOCAL_WORKERS)
    threads = options.threads or max(1, cores // workers)
    folder = tempfile.mkdtemp(prefix="pvae-neuro-dask-")
    cluster = None
    try:
        with _interrupts_held(), config.set({"temporary-directory": folder}):
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=threads, processes=True,
                dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                local_directory=folder, env=dict.fromkeys(_THREAD_VARIABLES, str(threads)),
            )  # fmt: skip
        client = Client(cluster, timeout=options.timeout, set_as_default=False)
    except BaseException as error:
        _shut(None, cluster, folder)
        if isinstance(error, Exception):
            raise EngineError(f"scheduler local: cannot start workers: {error}") from error
        raise
    return client, partial(_shut, client, cluster, folder)


def _shut(client: Any, cluster: Any, folder: str | None) -> None:
    for item in (client, cluster):
        if item is not None:
            # Whatever is wrong with the far end, the rest must be closed too.
            with suppress(Exception):
                item.close()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Start threads and processes that never see Ctrl-C: this one alone decides what ends.

    They inherit the blocked signal; a Ctrl-C in the meantime is delivered afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Its start would unblock the signal again in the very thread that starts the first worker.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_versions(client: Client) -> None:
    """Refuse workers that might compute something else."""
    # A function of the standard library: it runs even where this package is missing.
    found = client.run(version, "pvae-neuro", on_error="return")
    for worker, theirs in found.items():
        # A worker that died meanwhile has no version; its successor is checked with each block.
        if isinstance(theirs, OSError) or theirs == own_version():
            continue
        got = "none" if isinstance(theirs, Exception) else theirs
        raise EngineError(
            f"worker {worker}: expected pvae-neuro {own_version()}, as here, got {got}; install "
            f"the same version on both"
        )
