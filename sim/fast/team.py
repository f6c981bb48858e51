"""Threads that share the samples of a block.

Threads of Python run compiled code side by side, since kernels release the interpreter's lock. They
wait without spinning, so that other libraries keep their cores, and may be started from any thread.
They stay for the next run: to start them takes as long as some thousand iterations of an image.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise

from pvae_neuro.errors import InputError

# Advances samples first to last from step start to stop.
Kernel = Callable[[int, int, int, int], None]

_limit: ContextVar[int | None] = ContextVar("threads of the fast engine", default=None)


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let engines that are not told otherwise use so many threads, in this context alone."""
    token = _limit.set(count)
    try:
        yield
    finally:
        _limit.reset(token)


def default_threads() -> int:
    """As limited, else ``NUMBA_NUM_THREADS`` where it is set, else as many as there are cores."""
    limit = _limit.get()
    if limit is not None:
        return limit
    variable = os.environ.get("NUMBA_NUM_THREADS", "")
    if not variable:
        return _cores()
    if not variable.isdecimal() or int(variable) < 1:
        raise InputError(f"NUMBA_NUM_THREADS: expected a whole number from 1, got {variable!r}")
    return int(variable)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_pools: dict[int, ThreadPoolExecutor] = {}
_one_at_a_time = threading.Lock()


def _pool(members: int) -> ThreadPoolExecutor:
    """So many threads, started once in a process."""
    with _one_at_a_time:
        if members not in _pools:
            _pools[members] = ThreadPoolExecutor(members)
        return _pools[members]


def _forget_pools() -> None:
    """A child process has none of its parent's threads, nor one that would release the lock."""
    global _one_at_a_time  # noqa: PLW0603
    _one_at_a_time = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)


class Team:
    """As many threads as may be used, for a block of samples.

    Parameters
    ----------
    samples : int
    threads : int or None
        None for the default.
    most : int
        Samples that one call may advance.

    Attributes
    ----------
    rows : int
        Samples that one call advances, at most.
    """

    def __init__(self, samples: int, threads: int | None, most: int) -> None:
        members = 1 if samples == 1 else min(threads or default_threads(), samples)
        # Every thread gets the same number of groups, as large as may be.
        shares = members * -(-samples // (members * most))
        edges = [samples * share // shares for share in range(shares + 1)]
        self.rows = -(-samples // shares)
        self._shares = list(pairwise(edges))
        self._members = members

    def run(self, kernel: Kernel, start: int, stop: int) -> None:
        """Advance all samples from step ``start`` to ``stop``."""
        if self._members == 1:
            for share in self._shares:
                kernel(*share, start, stop)
            return
        pool = _pool(self._members)
        futures = [pool.submit(kernel, *share, start, stop) for share in self._shares]
        try:
            for future in futures:
                future.result()
        finally:
            # After an error or Ctrl-C no thread works on arrays that go.
            for future in futures:
                future.cancel()
            wait(futures)


# Images differ in their number of dark pixels, so that equal shares do not take equal times.
SHARES_PER_THREAD = 8


def share_out(work: Callable[[int, int], None], samples: int, threads: int | None) -> None:
    """Have threads do some work on samples ``first`` to ``last``, each on a share."""
    most = -(-samples // (SHARES_PER_THREAD * (threads or default_threads())))
    team = Team(samples, threads, max(1, most))
    team.run(lambda first, last, start, stop: work(first, last), 0, 0)
