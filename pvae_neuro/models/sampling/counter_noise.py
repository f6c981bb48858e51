"""Uniform numbers that depend on their place alone: sample, neuron and arrival.

A stream of random numbers hands them out in the order in which they are asked for, so that one
sample's share depends on all the others in its batch. Here each is a hash of its place and of a
key per draw: a part of a batch, on another process or device, draws what the whole would.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Uniforms = Callable[[Tensor, int, int], Tensor]
"""Takes places [n], the first arrival and how many: uniform numbers in [0, 1), [arrivals, n].

Arrival 0 is asked for alone, and of all places in their order."""

# Knuth's multiplicative constant spreads consecutive places; the others are those of the hash
# "lowbias32" (Chris Wellons, Hash Prospector). As signed numbers of 32 bits.
_SPREAD = 0x9E3779B9 - (1 << 32)
_FIRST = 0x7FEB352D
_SECOND = 0x846CA68B - (1 << 32)


class CounterNoise:
    """Source of samples whose numbers do not depend on how a batch is split.

    Parameters
    ----------
    seed : int
        Not negative.
    offset : int
        Place of the first neuron of the first sample within the whole batch.
    """

    def __init__(self, seed: int, offset: int = 0) -> None:
        self._keys = np.random.PCG64(seed)
        self._offset = offset

    @property
    def offset(self) -> int:
        """Place of the first neuron of the first sample within the whole batch."""
        return self._offset

    def keys(self, draws: int) -> npt.NDArray[np.uint32]:
        """Take the keys of the next draws, for loops that hash places themselves.

        Parameters
        ----------
        draws : int
            How many; each stands for one call of :meth:`draw`, of which only arrival 0 is asked.

        Returns
        -------
        uint32 [draws]
        """
        raw = np.atleast_1d(self._keys.random_raw(draws))
        return (raw & np.uint64(0xFFFFFFFF)).astype(np.uint32)

    def draw(self, size: int, device: torch.device) -> Uniforms:
        """Start the next draw for a part of a batch.

        Parameters
        ----------
        size : int
            Number of places, samples times neurons.
        device : torch.device

        Returns
        -------
        callable
            See :data:`Uniforms`; places count from the part's first.
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


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def _mix(word: Tensor) -> tuple[Tensor, Tensor]:
    """Bijective hash of int32, in place, and memory of its size that may be used again.

    The last shift of "lowbias32" is left to those who need the lowest bits.
    """
    # New memory of this size costs more than what is computed in it.
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
