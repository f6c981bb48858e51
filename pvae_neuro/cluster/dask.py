"""Dask: join a scheduler, or start one here, and run calls so that losing a worker loses no work.

Parts of a run are tasks whose arguments the scheduler keeps until their results are fetched, and
what they share (a network) is itself the result of a task. Whatever a lost worker had is computed
again by another.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import pickle
import re
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from pvae_neuro.cluster.scratch import scratch_folder
from pvae_neuro.cluster.worker import call, own_version
from pvae_neuro.errors import EngineError, InputError, PvaeNeuroError
from pvae_neuro.utils.optional import require

if TYPE_CHECKING:
    from distributed import Client, Future

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
_SETTINGS: dict[str, Any] = {
    # Statistics of what workers run and how busy they are take a share of the cores; nobody reads
    # them.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.limit": "1h",
    "distributed.admin.system-monitor.interval": "10s",
    # Dask would have workers give memory back as soon as it is free. Then every array of a block is
    # fetched from the system page by page, which takes a tenth of a block's time.
    "distributed.nanny.pre-spawn-environ": {},
}

Close = Callable[[], None]
_SHARED_KEPT = 8
_POLL_SECONDS = 1.0


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


class Connection:
    """Client of a scheduler; opened at first use, and again after :meth:`close`.

    Parameters
    ----------
    options : ConnectionOptions

    Raises
    ------
    InputError
        If an option cannot be meant.
    MissingDependencyError
        If Dask's ``distributed`` is not installed.
    """

    def __init__(self, options: ConnectionOptions) -> None:
        options.check()
        require_distributed()
        self.options = options
        self._client: Client | None = None
        self._shared: dict[str, Future] = {}
        self._threads, self._counted = 0, 0.0
        self._close: Callable[[], object] = lambda: None

    def client(self) -> Client:
        """Return the client, connected; raises what ``open_client`` raises."""
        if self._client is None:
            self._client, close = open_client(self.options)
            self._close = weakref.finalize(self, close)
        return self._client

    def close(self) -> None:
        """Disconnect; ends the processes of a local cluster. Closing twice does nothing."""
        self._client = None
        self._shared.clear()
        self._close()

    def map(
        self, function: Callable[..., Any], shared: object, calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Run ``function(shared, *call)`` on the workers, a bounded number of calls at a time.

        Parameters
        ----------
        function : callable
            Importable on the workers.
        shared : object
            Sent to the scheduler once, whatever the number of calls.
        calls : iterable of tuple

        Yields
        ------
        tuple of (int, Any)
            Place of a call, and its result, as they come in.

        Raises
        ------
        PvaeNeuroError
            What a call raised.
        EngineError
            If a call failed otherwise, workers died of it time and again, or all are gone.
        """
        pending: dict[Future, int] = {}
        try:
            client = self.client()
            subject = self._share(client, shared)
            waiting = enumerate(calls)
            while self._fill(client, pending, waiting, (function, subject)):
                for future in self._finished(client, pending):
                    yield pending.pop(future), _result(future)
        except (KeyboardInterrupt, SystemExit):
            self.close()
            raise
        finally:
            self._drop(pending)

    def _share(self, client: Client, value: object) -> Future:
        """Content of ``value`` as a task that any worker can repeat."""
        import cloudpickle
        from dask import config

        data = cloudpickle.dumps(value)
        key = f"pvae-neuro-{hashlib.sha256(data).hexdigest()}"
        future = self._shared.pop(key, None)
        if future is None or future.status not in ("pending", "finished"):
            # Dask warns of large arguments in case there are thousands; here it is one.
            with config.set({"distributed.admin.large-graph-warning-threshold": "100GB"}):
                future = client.submit(pickle.loads, data, key=key)
        self._shared[key] = future
        while len(self._shared) > _SHARED_KEPT:
            del self._shared[next(iter(self._shared))]
        return future

    def _fill(
        self,
        client: Client,
        pending: dict[Future, int],
        waiting: Iterator[tuple[int, tuple[Any, ...]]],
        task: tuple[Callable[..., Any], Future],
    ) -> bool:
        """Keep every thread busy with the next block at hand; false when all is done."""
        room = 2 * self._workers_threads(client) + 2 - len(pending)
        while room > 0 and (item := next(waiting, None)) is not None:
            place, arguments = item
            future = client.submit(call, own_version(), *task, *arguments, pure=False)
            pending[future] = place
            room -= 1
        return bool(pending)

    def _workers_threads(self, client: Client) -> int:
        """Threads of all workers, asked for now and then: workers come and go."""
        now = time.monotonic()
        if not self._threads or now - self._counted > _POLL_SECONDS:
            with self._lost_is_an_error():
                self._threads = sum(client.nthreads().values())
            self._counted = now
        return self._threads

    def _finished(self, client: Client, pending: dict[Future, int]) -> list[Future]:
        """Wait until blocks are done; look now and then whether anyone still works on them."""
        from distributed import TimeoutError as DaskTimeoutError
        from distributed import wait

        last_seen = time.monotonic()
        while True:
            with self._lost_is_an_error():
                with suppress(DaskTimeoutError), client.as_current():
                    return list(wait(list(pending), _POLL_SECONDS, "FIRST_COMPLETED").done)
                if client.nthreads():
                    last_seen = time.monotonic()
            if time.monotonic() - last_seen > self.options.patience:
                raise EngineError(
                    f"scheduler {self.options.scheduler}: no worker for "
                    f"{self.options.patience:g} s; start some: dask worker "
                    f"{self.options.scheduler}"
                )

    def _drop(self, pending: dict[Future, int]) -> None:
        """Call off what was not fetched."""
        if pending and self._client is not None:
            # The scheduler may be the very thing that is gone.
            with suppress(Exception):
                self._client.cancel(list(pending))

    @contextmanager
    def _lost_is_an_error(self) -> Iterator[None]:
        from asyncio import CancelledError as AsyncCancelledError
        from concurrent.futures import CancelledError

        try:
            yield
        except (CancelledError, AsyncCancelledError, OSError) as error:
            self.close()
            raise EngineError(
                f"scheduler {self.options.scheduler}: lost the connection; run again when it is "
                f"back"
            ) from error


def _result(future: Future) -> Any:
    from distributed import KilledWorker

    try:
        return future.result()
    except PvaeNeuroError:
        raise
    except KilledWorker as error:
        raise EngineError(
            "a block of samples killed every worker that tried it, most likely for memory; give "
            "workers more of it, or make blocks smaller"
        ) from error
    except Exception as error:
        raise EngineError(f"a worker failed: {type(error).__name__}: {error}") from error


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
    return client, partial(_shut, client, None, lambda unused: None)


def _start(options: ConnectionOptions) -> tuple[Client, Close]:
    from dask import config
    from distributed import Client, LocalCluster

    cores = _cores()
    workers = options.workers or min(cores, MOST_LOCAL_WORKERS)
    threads = options.threads or max(1, cores // workers)
    _end_if_imported_anew()
    folder, remove = scratch_folder("pvae-neuro-dask-")
    cluster = None
    try:
        with _interrupts_held(), config.set(_SETTINGS | {"temporary-directory": folder}):
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=threads, processes=True,
                dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                local_directory=folder, env=dict.fromkeys(_THREAD_VARIABLES, str(threads)),
            )  # fmt: skip
        client = Client(
            cluster, timeout=options.timeout, set_as_default=False, direct_to_workers=True
        )
    except BaseException as error:
        _shut(None, cluster, remove)
        if isinstance(error, Exception):
            raise EngineError(
                f"scheduler local: cannot start workers: {error} {_advice()}"
            ) from error
        raise
    return client, partial(_shut, client, cluster, remove)


def _end_if_imported_anew() -> None:
    """End a worker that would start workers: it imports a script whose work has no guard.

    The process that starts workers reports that, once and not once for each of them.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)


def _advice() -> str:
    """What to do where workers did not start: a script is run anew by each of them."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is None:
        return "Give fewer workers, or look for a limit of processes or memory"
    return (
        f"Each worker imports {script} anew: whatever is to run once must stand in it below the "
        f'guard `if __name__ == "__main__":`'
    )


def _shut(client: Any, cluster: Any, remove: Callable[[bool], None]) -> None:
    for item in (client, cluster):
        if item is not None:
            # Whatever is wrong with the far end, the rest must be closed too.
            with suppress(Exception):
                item.close()
    # A cluster that was not finished leaves workers that are about to start, and to end.
    remove(cluster is not None)


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
