"""What this machine can do at most: streaming bandwidth and integer rates, in compiled kernels.

Each rate is the best of several repeats, since a limit is what was reached at least once. All
threads work at the same time; rates are sums over them. Threads are those of Python, as in the
engine: compiled code runs side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba as nb
import numpy as np
from machine import cache_bytes

from pvae_neuro.sim.fast.layouts import CACHE_LINE, aligned
from pvae_neuro.sim.fast.memory import address, int8_at, int16_at, int32_at
from pvae_neuro.sim.fast.philox import _MULTIPLIER_0, _wide_product
from pvae_neuro.sim.fast.vectors import (
    BYTE_LANES,
    PAIR_LANES,
    WORD_LANES,
    add_byte_rows,
    add_pairs,
    add_word_pairs,
    add_word_rows,
    byte_sums,
    pair_sums,
    store_byte_sums,
    store_pair_sums,
    store_word_sums,
    word_sums,
)

# Without the system's word on it: a size that fits any second-level cache, and one that fits none.
DEFAULT_L2 = 1 << 18
DRAM_BYTES = 1 << 28
L1_BYTES = 1 << 14
SECONDS = 0.05
CHAINS = 8
# Two factors of 16 bits, small enough for sums over all of a first-level cache.
PAIR = 1 | 1 << 16

# Does the work of one thread so many times.
Run = Callable[[int, int], object]


@nb.njit(nogil=True)  # type: ignore[untyped-decorator]
def _stream(data: Any, start: int, repeats: int) -> Any:
    """Read all of ``data`` (uint64), beginning at ``start``."""
    total = np.uint64(0)
    # Parts that are indexed from zero: the compiler vectorizes these.
    first, second = data[start:], data[:start]
    for r in range(repeats):
        salt = np.uint64(r)
        for i in range(first.shape[0]):
            total += first[i] ^ salt
        for i in range(second.shape[0]):
            total += second[i] ^ salt
    return total


def _lanes(kind: Any) -> Any:
    """Compile one exclusive or and one addition per element of an integer type."""

    @nb.njit(nogil=True)  # type: ignore[untyped-decorator]
    def run(data: Any, repeats: int) -> Any:
        total = kind(0)
        for r in range(repeats):
            salt = kind(r)
            for i in range(data.shape[0]):
                total = kind(total + kind(data[i] ^ salt))
        return total

    return run


@nb.njit(nogil=True)  # type: ignore[untyped-decorator]
def _wide(start: int, repeats: int) -> Any:
    """Eight independent chains of 64 by 64 bit products."""
    k = _MULTIPLIER_0
    a, b, c, d = k + np.uint64(start), k + np.uint64(1), k + np.uint64(2), k + np.uint64(3)
    e, f, g, h = k + np.uint64(4), k + np.uint64(5), k + np.uint64(6), k + np.uint64(7)
    for _ in range(repeats):
        a, b = _wide_product(k, a)[0] ^ k, _wide_product(k, b)[0] ^ k
        c, d = _wide_product(k, c)[0] ^ k, _wide_product(k, d)[0] ^ k
        e, f = _wide_product(k, e)[0] ^ k, _wide_product(k, f)[0] ^ k
        g, h = _wide_product(k, g)[0] ^ k, _wide_product(k, h)[0] ^ k
    return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h


@nb.njit(nogil=True)  # type: ignore[untyped-decorator]
def _byte_rows(weight_at: int, place: Any, pair: Any, out_at: int, repeats: int) -> None:
    """Add rows of bytes two at a time, a block of columns."""
    weight, out = int8_at(weight_at), int32_at(out_at)
    for _ in range(repeats):
        sums = byte_sums()
        for p in range(pair.shape[0]):
            sums = add_byte_rows(sums, weight, place[2 * p], place[2 * p + 1], pair[p])
        store_byte_sums(sums, out, 0)


@nb.njit(nogil=True)  # type: ignore[untyped-decorator]
def _word_rows(weight_at: int, place: Any, pair: Any, out_at: int, repeats: int) -> None:
    """Add rows of 16 bits two at a time, a block of columns."""
    weight, out = int16_at(weight_at), int32_at(out_at)
    for _ in range(repeats):
        sums = word_sums()
        for p in range(pair.shape[0]):
            sums = add_word_rows(sums, weight, place[2 * p], place[2 * p + 1], pair[p])
        store_word_sums(sums, out, 0)


@nb.njit(nogil=True)  # type: ignore[untyped-decorator]
def _pairs(weight_at: int, place: Any, pair: Any, out_at: int, repeats: int) -> None:
    """Multiply lines of two weights per sum, a block of sums."""
    weight, out = int8_at(weight_at), int32_at(out_at)
    for _ in range(repeats):
        sums = pair_sums()
        for p in range(pair.shape[0]):
            sums = add_pairs(sums, weight, place[2 * p], pair[p])
        store_pair_sums(sums, out, 0)


@nb.njit(nogil=True)  # type: ignore[untyped-decorator]
def _planes(values_at: int, place: Any, pair: Any, out_at: int, repeats: int) -> None:
    """Multiply planes of pairs by two weights, a block of sums."""
    values, out = int32_at(values_at), int32_at(out_at)
    for _ in range(repeats):
        sums = pair_sums()
        for p in range(pair.shape[0]):
            sums = add_word_pairs(sums, values, place[2 * p], pair[p])
        store_pair_sums(sums, out, 0)


class Machine:
    """Measured limits of this machine with some number of threads.

    Parameters
    ----------
    threads : int
    repeats : int
        Measurements of each limit, of which the best counts.
    seconds : float
        Length of a measurement.

    Attributes
    ----------
    rates : dict of str to float
        Per second: bytes from the first-level cache, and operations of each kind.
    """

    def __init__(self, threads: int, repeats: int = 7, seconds: float = SECONDS) -> None:
        self.threads, self.repeats, self.seconds = threads, repeats, seconds
        self._bandwidth: dict[int, float] = {}
        l1 = self.bandwidth(L1_BYTES)
        self.rates = {
            "l1_bytes": l1,
            "byte_ops": self._rows(_byte_rows, np.int8, BYTE_LANES),
            "word_ops": self._rows(_word_rows, np.int16, WORD_LANES),
            "pair_ops": self._rows(_pairs, np.int8, PAIR_LANES),
            # Two products in each number, of which a line has as many as it has sums.
            "plane_ops": 2 * self._rows(_planes, np.int32, PAIR_LANES // 2),
            "ops16": self._lane_rate(np.int16),
            "ops32": self._lane_rate(np.int32),
            # The streaming kernel does one exclusive or and one addition per 8 bytes.
            "ops64": l1 / 4,
            "wide": self._rate(lambda n, thread: _wide(thread, n), CHAINS),
        }

    def bandwidth(self, size: int) -> float:
        """Bytes per second of reading an array of about this many bytes again and again.

        Arrays that are smaller than the first-level cache are read at its rate.
        """
        words = max(L1_BYTES, size) // 8
        if words not in self._bandwidth:
            data = aligned(np.arange(words, dtype=np.uint64))
            share = words // self.threads // CACHE_LINE * CACHE_LINE
            self._bandwidth[words] = self._rate(
                lambda n, thread: _stream(data, share * thread, n), data.nbytes
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

    def _lane_rate(self, kind: Any) -> float:
        """Operations per second on lanes of an integer type."""
        run = _lanes(kind)
        data = aligned(np.arange(L1_BYTES // np.dtype(kind).itemsize, dtype=kind))
        return self._rate(lambda n, thread: run(data, n), 2 * len(data))

    def _rows(self, kernel: Any, kind: Any, lanes: int) -> float:
        """Operations per second on rows that fill the first-level cache."""
        weight = aligned(np.ones(L1_BYTES // np.dtype(kind).itemsize, kind))
        place = np.arange(0, len(weight), lanes, dtype=np.int32)
        pair = np.full(len(place) // 2, PAIR, np.int32)
        out = np.zeros((self.threads, BYTE_LANES), np.int32)
        # A product and a sum for each weight.
        return self._rate(
            lambda n, thread: kernel(address(weight), place, pair, address(out[thread]), n),
            2 * len(weight),
        )

    def _rate(self, run: Run, units: int) -> float:
        """Units per second, all threads together."""
        with ThreadPoolExecutor(self.threads) as pool:

            def timed(number: int) -> float:
                start = time.perf_counter()
                list(pool.map(run, [number] * self.threads, range(self.threads)))
                return time.perf_counter() - start

            run(1, 0)
            number, seconds = 1, timed(1)
            while seconds < self.seconds:
                number = int(number * min(16.0, max(2.0, 1.2 * self.seconds / seconds)))
                seconds = timed(number)
            best = min(timed(number) for _ in range(self.repeats))
        return self.threads * units * number / best
