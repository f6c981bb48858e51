"""Uniform numbers that depend on their position only: sample, neuron and arrival.

A sequential generator hands out numbers in the order of the requests, so one sample's numbers
depend on the rest of its batch. Here each number is a hash of its position and of one key per draw:
a part of a batch, on another process or device, draws what the whole batch would draw there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Uniforms = Callable[[Tensor, int, int], Tensor]
"""Takes positions [n], the first arrival and the number of arrivals.

Returns uniform numbers in [0, 1), [arrivals, n]. Arrival 0 must be asked for alone, and of all
positions in order."""

SPREAD = 0x9E3779B9
"""Knuth's multiplicative constant: it spreads consecutive positions."""
FIRST, SECOND = 0x7FEB352D, 0x846CA68B
"""Multipliers of the hash "lowbias32" (Chris Wellons, Hash Prospector)."""


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


_SPREAD, _FIRST, _SECOND = _signed(SPREAD), _signed(FIRST), _signed(SECOND)


class CounterNoise:
    """Source of uniform numbers that do not depend on how a batch is split.

    Parameters
    ----------
    seed : int
        Not negative.
    offset : int
        Index of the first neuron of the first sample within the whole batch.
    """

    def __init__(self, seed: int, offset: int = 0) -> None:
        self._keys = np.random.PCG64(seed)
        self._offset = offset

    @property
    def offset(self) -> int:
        """Index of the first neuron of the first sample within the whole batch."""
        return self._offset

    def keys(self, draws: int) -> npt.NDArray[np.uint32]:
        """Take the keys of the next draws, [draws], for loops that hash positions themselves.

        Each replaces one call of :meth:`draw` of which only arrival 0 is used.
        """
        raw = np.atleast_1d(self._keys.random_raw(draws))
        return (raw & np.uint64(0xFFFFFFFF)).astype(np.uint32)

    def draw(self, size: int, device: torch.device) -> Uniforms:
        """Start the next draw for a part of a batch of ``size`` numbers, samples times neurons.

        Positions count from the first of the part.
        """
        raw = int(self._keys.random_raw())
        here, arrivals = _signed(raw & 0xFFFFFFFF), _signed(raw >> 32)
        places = torch.arange(self._offset, self._offset + size, device=device)
        base, spare = _mix(places.to(torch.int32).mul_(_SPREAD).bitwise_xor_(here))
        _fold(base, 16, spare)

        def uniforms(places: Tensor, first: int, count: int) -> Tensor:
            if first == 0:
                return _to_unit(base.clone(), torch.empty_like(base)).unsqueeze(0)
            number = torch.arange(first, first + count, device=device, dtype=torch.int32)
            number = number.mul_(_SPREAD).add_(arrivals)
            return _to_unit(*_mix(base.index_select(0, places) + number.unsqueeze(1)))

        return uniforms


def _mix(word: Tensor) -> tuple[Tensor, Tensor]:
    """Bijective hash of int32, in place; also returns a buffer of its size for reuse.

    It leaves out the last shift of "lowbias32", which only improves the lowest bits.
    """
    # Allocating this buffer costs more than the arithmetic in it.
    spare = torch.empty_like(word)
    _fold(word, 16, spare)
    word *= _FIRST
    _fold(word, 15, spare)
    word *= _SECOND
    return word, spare


def _fold(word: Tensor, bits: int, spare: Tensor) -> None:
    """``word ^= word >> bits``; the mask turns the arithmetic shift into a logical one."""
    torch.bitwise_right_shift(word, bits, out=spare)
    word ^= spare.bitwise_and_((1 << (32 - bits)) - 1)


def _to_unit(word: Tensor, spare: Tensor) -> Tensor:
    """Upper 24 bits as a float32 in [0, 1), without rounding; overwrites both arguments."""
    word >>= 8
    return spare.view(torch.float32).copy_(word).mul_(2.0**-24).add_(0.5)
