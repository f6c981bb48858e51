"""Run calls on the workers of a Dask scheduler so that losing a worker loses no work.

Blocks are tasks whose arguments the scheduler keeps until their results are fetched, and what they
share (a network) is itself the result of a task. Whatever a lost worker had is computed again by
another.
"""

from __future__ import annotations

import hashlib
import pickle
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pvae_neuro.cluster.clients import (
    ConnectionOptions,
    open_client,
    own_version,
    require_distributed,
)
from pvae_neuro.errors import EngineError, PvaeNeuroError

if TYPE_CHECKING:
    from distributed import Client, Future

_SHARED_KEPT = 8
_POLL_SECONDS = 1.0


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
        from pvae_neuro.cluster.worker import call

        with self._lost_is_an_error():
            room = 2 * sum(client.nthreads().values()) + 2 - len(pending)
        while room > 0 and (item := next(waiting, None)) is not None:
            place, arguments = item
            future = client.submit(call, own_version(), *task, *arguments, pure=False)
            pending[future] = place
            room -= 1
        return bool(pending)

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
