"""What this machine can do at most: streaming bandwidth and integer rates, in compiled kernels.

Each rate is the best of several repeats, since a limit is what was reached at least once. All
threads work at the same time; rates are sums over them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np

from pvae_neuro.bench_machine import cache_bytes, use_threads
from pvae_neuro.sim.fast.philox import _MULTIPLIER_0, _high_product

# Without the system's word on it: a size that fits any second-level cache, and one that fits none.
DEFAULT_L2 = 1 << 18
DRAM_BYTES = 1 << 28
L1_BYTES = 1 << 14
SECONDS = 0.05
CHAINS = 8
GEMM_SIZE = 768
MATRIX_SEED = 0


@nb.njit(parallel=True)  # type: ignore[untyped-decorator]
def _stream(data: Any, repeats: int, threads: int, out: Any) -> None:
    """Read all of ``data`` (uint64); thread t begins at its own share of it."""
    for t in nb.prange(threads):
        total = np.uint64(0)
        start = data.shape[0] // threads * t
        # Parts that are indexed from zero: the compiler vectorizes these.
        first, second = data[start:], data[:start]
        for r in range(repeats):
            salt = np.uint64(r)
            for i in range(first.shape[0]):
                total += first[i] ^ salt
            for i in range(second.shape[0]):
                total += second[i] ^ salt
        out[t] = total


@nb.njit(parallel=True)  # type: ignore[untyped-decorator]
def _lanes32(data: Any, repeats: int, threads: int, out: Any) -> None:
    """One exclusive or and one addition per int32."""
    for t in nb.prange(threads):
        total = np.int32(0)
        for r in range(repeats):
            salt = np.int32(r)
            for i in range(data.shape[0]):
                total = np.int32(total + np.int32(data[i] ^ salt))
        out[t] = total


@nb.njit(parallel=True)  # type: ignore[untyped-decorator]
def _lanes16(weight: Any, repeats: int, threads: int, out: Any) -> None:
    """Widen an int8, multiply and add in 16 bits, as the engine's row products do."""
    for t in nb.prange(threads):
        total = np.int16(0)
        for r in range(repeats):
            z = np.int16(r & 15)
            for i in range(weight.shape[0]):
                total = np.int16(total + np.int16(z * np.int16(weight[i])))
        out[t] = total


@nb.njit(parallel=True)  # type: ignore[untyped-decorator]
def _wide(repeats: int, threads: int, out: Any) -> None:
    """Eight independent chains of 64 by 64 bit products."""
    for t in nb.prange(threads):
        k = _MULTIPLIER_0
        a, b, c, d = k + np.uint64(t), k + np.uint64(1), k + np.uint64(2), k + np.uint64(3)
        e, f, g, h = k + np.uint64(4), k + np.uint64(5), k + np.uint64(6), k + np.uint64(7)
        for _ in range(repeats):
            a, b = _high_product(k, a) ^ k, _high_product(k, b) ^ k
            c, d = _high_product(k, c) ^ k, _high_product(k, d) ^ k
            e, f = _high_product(k, e) ^ k, _high_product(k, f) ^ k
            g, h = _high_product(k, g) ^ k, _high_product(k, h) ^ k
        out[t] = a ^ b ^ c ^ d ^ e ^ f ^ g ^ h


class Machine:
    """Measured limits of this machine with some number of threads.

    Parameters
    ----------
    threads : int
    repeats : int
        Measurements of each limit, of which the best counts.
    seconds : float
        Length of a measurement.
    """

    def __init__(self, threads: int, repeats: int = 7, seconds: float = SECONDS) -> None:
        self.threads, self.repeats, self.seconds = threads, repeats, seconds
        self._bandwidth: dict[int, float] = {}
        l1 = self.bandwidth(L1_BYTES)
        words = np.arange(L1_BYTES // 4, dtype=np.int32)
        weight = (np.arange(L1_BYTES) % 201 - 100).astype(np.int8)
        out = np.zeros(threads, np.int64)
        self.rates = {
            "l1_bytes": l1,
            # The streaming kernel does one exclusive or and one addition per 8 bytes.
            "ops64": l1 / 4,
            "ops32": self._rate(lambda n: _lanes32(words, n, threads, out), 2 * len(words)),
            "ops16": self._rate(lambda n: _lanes16(weight, n, threads, out), 2 * len(weight)),
            "wide": self._rate(lambda n: _wide(n, threads, out.view(np.uint64)), CHAINS),
            "flops32": self._gemm(np.float32),
            "flops64": self._gemm(np.float64),
        }

    def bandwidth(self, size: int) -> float:
        """Bytes per second of reading an array of about this many bytes again and again."""
        words = max(64, size // 8)
        if words not in self._bandwidth:
            data = np.arange(words, dtype=np.uint64)
            out = np.zeros(self.threads, np.uint64)
            self._bandwidth[words] = self._rate(
                lambda n: _stream(data, n, self.threads, out), data.nbytes
            )
        return self._bandwidth[words]

    def levels(self) -> dict[str, float | None]:
        """Bandwidth within the second-level cache, the last level, and beyond."""
        caches = cache_bytes()
        found: dict[str, float | None] = {"L2": self.bandwidth(caches.get("L2", DEFAULT_L2) // 2)}
        # Of a last level that virtual machines share, a quarter is likely ours.
        last = caches.get("L3")
        found["L3"] = None if last is None else self.bandwidth(last // 4)
        found["DRAM"] = self.bandwidth(max(DRAM_BYTES, 4 * (last or 0)))
        return found

    def _rate(self, run: Callable[[int], object], units: int) -> float:
        """Units per second and thread, times threads."""
        nb.set_num_threads(self.threads)
        with use_threads(self.threads, ()):
            run(1)
            number, seconds = 1, _timed(run, 1)
            while seconds < self.seconds:
                number = int(number * min(16.0, max(2.0, 1.2 * self.seconds / seconds)))
                seconds = _timed(run, number)
            best = min(_timed(run, number) for _ in range(self.repeats))
        return self.threads * units * number / best

    def _gemm(self, dtype: Any) -> float:
        """Floating-point operations per second of a matrix product."""
        rng = np.random.default_rng(MATRIX_SEED)
        a, b = (rng.random((GEMM_SIZE, GEMM_SIZE)).astype(dtype) for _ in range(2))
        out = np.empty_like(a)
        with use_threads(self.threads, ()):
            np.matmul(a, b, out=out)
            best = min(_timed(lambda _: np.matmul(a, b, out=out), 1) for _ in range(self.repeats))
        return 2.0 * GEMM_SIZE**3 / best


def _timed(run: Callable[[int], object], number: int) -> float:
    start = time.perf_counter()
    run(number)
    return time.perf_counter() - start
