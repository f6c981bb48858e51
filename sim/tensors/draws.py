"""Counts of log-rates and words, by thresholds: what :mod:`pvae_neuro.network.sampler` defines.

A count is the number of z with ``word >= cumulative[z]``. The thresholds of all log-rates that a
population is proved to reach are made once. Each is kept as ``log-rate * 2**16 + threshold``, in
one sorted row: a search that leaves the thresholds of its log-rate meets larger numbers there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pvae_neuro.network.sampler import WORD_BITS, WORDS, cumulative
from pvae_neuro.sim.tensors.library import placed, torch_library

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_POTENTIALS_AT_ONCE = 1 << 13


class Thresholds:
    """The sampler for log-rates from ``low`` to ``high``.

    Parameters
    ----------
    low, high : int
    max_count, frac_bits : int
        Of the sampler.
    device : torch.device
    """

    def __init__(
        self, low: int, high: int, max_count: int, frac_bits: int, device: torch.device
    ) -> None:
        self._low = low
        self._strides = [1 << n for n in reversed(range(max_count.bit_length()))]
        first, start, keys = [], [], []
        length = 0
        for begin in range(low, high + 1, _POTENTIALS_AT_ONCE):
            u = np.arange(begin, min(begin + _POTENTIALS_AT_ONCE, high + 1))
            limits = cumulative(u, max_count, frac_bits)
            # A threshold that no word reaches is left out.
            kept = limits < WORDS
            ends = length + np.cumsum(kept.sum(axis=1))
            first.append(limits[:, 0].copy())
            start.append(np.concatenate(([length], ends[:-1])))
            keys.append((((u - low)[:, None] << WORD_BITS) + limits)[kept])
            length = int(ends[-1])
        # Beyond the end the search meets what no word reaches.
        keys.append(np.full(2 * self._strides[0], np.iinfo(np.int64).max))
        self._first = placed(np.concatenate(first), device, "int32")
        self._start = placed(np.concatenate(start), device, "int64")
        self._keys = placed(np.concatenate(keys), device, "int64")

    def draw(self, potential: Tensor, word: Tensor) -> Tensor:
        """Counts of log-rates and words, int32 of the words' shape."""
        torch = torch_library()
        row, words = (potential - self._low).expand(word.shape).reshape(-1), word.reshape(-1)
        # Most neurons are silent, which one comparison decides.
        fires = (words >= self._first.index_select(0, row)).nonzero().view(-1)
        row = row.index_select(0, fires).long()
        key = (row << WORD_BITS) + words.index_select(0, fires)
        start = self._start.index_select(0, row)
        found = start.clone()
        for stride in self._strides:
            met = self._keys.index_select(0, found + (stride - 1)) <= key
            found.add_(met, alpha=stride)
        counts = torch.zeros(words.shape, dtype=torch.int32, device=words.device)
        return counts.index_copy_(0, fires, (found - start).int()).view(word.shape)


@lru_cache(maxsize=16)
def thresholds(
    low: int, high: int, max_count: int, frac_bits: int, device: torch.device
) -> Thresholds:
    """The same for all populations and networks that draw alike, in training too."""
    with torch_library().inference_mode(False):
        return Thresholds(low, high, max_count, frac_bits, device)
