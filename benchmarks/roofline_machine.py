"""What this machine can do at most: bandwidth, integer rates and products, in compiled loops.

Each rate is the best of several repeats, since a limit is what was reached at least once, and of
the loops of a kind (:mod:`peaks`) the fastest counts. All threads work at the same time; rates are
sums over them.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from machine import cache_bytes
from peaks import L1_BYTES, Peak, compiled, peaks

# Without the system's word on it: a size that fits any second-level cache, and one that fits none.
DEFAULT_L2 = 1 << 18
DRAM_BYTES = 1 << 28
MOST_L3 = 1 << 24
SECONDS = 0.02
PAGE = 4096


def aligned(size: int) -> Any:
    """Ones, uint8, from the beginning of a page on.

    Pages that nobody has written to are one and the same in memory, and would be read from the
    first-level cache.
    """
    memory = np.ones(size + PAGE, np.uint8)
    return memory[-memory.ctypes.data % PAGE :][:size]


class Machine:
    """Measured limits of this machine with some number of threads.

    Parameters
    ----------
    threads : int
    repeats : int
        Measurements of each limit, of which the best counts.
    seconds : float
        Length of a measurement.
    cpu : bool
        Take the processor's time instead of the clock's; for one thread.

    Attributes
    ----------
    rates : dict of str to float
        Per second, by the kinds of :mod:`peaks`: ``byte_macs`` and ``word_macs`` are products of
        operands of 8 and 16 bits with their sum, ``small_byte_macs`` those of which one operand is
        below 128, ``byte_rows`` and ``word_rows`` the same for rows that are added two at a time;
        ``ops32`` and ``ops64`` lanes; ``lookups``; ``philox`` blocks; ``bytes`` from the
        first-level cache. What no loop here does is not among them.
    instructions : dict of str to str
        What the fastest loop of each kind is made of.
    loops : dict of str to float
        Rate of every loop.
    """

    def __init__(
        self, threads: int, repeats: int = 5, seconds: float = SECONDS, *, cpu: bool = False
    ) -> None:
        self.threads, self.repeats, self.seconds = threads, repeats, seconds
        self._clock = time.thread_time if cpu else time.perf_counter
        self._bandwidth: dict[int, float] = {}
        self._small = [self._room() for _ in range(threads)]
        self.rates: dict[str, float] = {}
        self.instructions: dict[str, str] = {}
        self.loops: dict[str, float] = {}
        self._readers = [peak for peak in peaks() if peak.kind == "bytes"]
        for peak in peaks():
            rate = self._rate(peak, self._small, L1_BYTES)
            self.loops[f"{peak.kind}: {peak.instructions}"] = rate
            if rate > self.rates.get(peak.kind, 0.0):
                self.rates[peak.kind], self.instructions[peak.kind] = rate, peak.instructions

    @staticmethod
    def _room() -> Any:
        """Data of loops: places in a table of 32 bits; behind it factors of rows."""
        room = aligned(L1_BYTES + PAGE)
        entries = L1_BYTES // 4
        table = room[:L1_BYTES].view(np.uint32)
        table[:] = np.random.default_rng(0).integers(0, entries, entries)
        return room

    def bandwidth(self, size: int) -> float:
        """Bytes per second of reading an array of about this many bytes again and again.

        Arrays that are smaller than the first-level cache are read at its rate.
        """
        size = -(-max(L1_BYTES, size) // PAGE) * PAGE
        if size not in self._bandwidth:
            # Weights are shared: all threads read the same array.
            data = [aligned(size)] * self.threads
            self._bandwidth[size] = max(self._rate(peak, data, size) for peak in self._readers)
        return self._bandwidth[size]

    def levels(self) -> dict[str, float | None]:
        """Bandwidth within the second-level cache, the last level, and beyond."""
        caches = cache_bytes()
        found: dict[str, float | None] = {"L2": self.bandwidth(caches.get("L2", DEFAULT_L2) // 2)}
        # Of a last level that virtual machines share, a small part is likely ours.
        last = caches.get("L3")
        found["L3"] = None if last is None else self.bandwidth(min(last // 4, MOST_L3))
        found["DRAM"] = self.bandwidth(max(DRAM_BYTES, 2 * (last or 0)))
        return found

    def _rate(self, peak: Peak, data: list[Any], size: int) -> float:
        """Units per second, all threads together."""
        run = compiled(peak)
        addresses = [array.ctypes.data for array in data]
        with ThreadPoolExecutor(self.threads) as pool:

            def timed(number: int) -> float:
                start = self._clock()
                if self.threads == 1:
                    run(addresses[0], size, number)
                else:
                    jobs = [pool.submit(run, address, size, number) for address in addresses]
                    for job in jobs:
                        job.result()
                return self._clock() - start

            number, seconds = 1, timed(1)
            while seconds < self.seconds:
                number = int(number * min(16.0, max(2.0, 1.2 * self.seconds / seconds)))
                seconds = timed(number)
            best = min(timed(number) for _ in range(self.repeats))
        return self.threads * peak.units * (size if peak.passes else 1) * number / best
