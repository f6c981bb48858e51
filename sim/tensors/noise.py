"""Random words on the device: the generator of :mod:`pvae_neuro.sim.noise`, over tensors.

PyTorch does not have unsigned arithmetic of 64 bits on every device. An int64 is taken as 64 bits
here: sums, products and differences modulo 2**64 are the same, and a shift to the right is followed
by a mask. The upper half of a product comes from those of 32-bit halves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pvae_neuro.network import Sampler
from pvae_neuro.sim.noise import WORDS_PER_BLOCK
from pvae_neuro.sim.tensors.library import torch_library

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ROUNDS = 10
LOW = (1 << 32) - 1
# Multipliers of the first and the third number of the counter, and what a round adds to the key.
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
KEY_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


def signed(bits: int) -> int:
    """The int64 with these 64 bits."""
    return (bits & ((1 << 64) - 1) ^ (1 << 63)) - (1 << 63)


def product_halves(factor: int, value: Tensor) -> tuple[Tensor, Tensor]:
    """Upper and lower 64 bits of the product of 64-bit numbers without sign."""
    high, low = factor >> 32, factor & LOW
    value_high, value_low = (value >> 32) & LOW, value & LOW
    # A product of two 32-bit numbers and two more of them still fit 64 bits.
    middle = ((value_low * low) >> 32).bitwise_and_(LOW).add_(value_low, alpha=high)
    other = (middle & LOW).add_(value_high, alpha=low)
    upper = (middle >> 32).bitwise_and_(LOW).add_(value_high, alpha=high)
    return upper.add_((other >> 32).bitwise_and_(LOW)), value * signed(factor)


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], seed: int) -> list[Tensor]:
    """Philox4x64-10 with the key (seed, 0): four int64 of one shape, to be read as 64 bits.

    The numbers of the counter broadcast. They stay as small as they are until the rounds have mixed
    them, which saves two rounds of ten.
    """
    c0, c1, c2, c3 = counter
    key = [signed(seed), 0]
    for _ in range(ROUNDS):
        upper0, lower0 = product_halves(MULTIPLIERS[0], c0)
        upper1, lower1 = product_halves(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = upper1 ^ (c1 ^ key[0]), lower1, upper0 ^ (c3 ^ key[1]), lower0
        key = [signed(k + step) for k, step in zip(key, KEY_STEPS, strict=True)]
    return [c0, c1, c2, c3]


def words(
    sampler: Sampler, size: int, seed: int, steps: range, samples: range, device: torch.device
) -> Tensor:
    """Words of a population that draws: int16 [steps, samples, size], their bits without sign."""
    torch = torch_library()
    first, skipped = divmod(sampler.first, WORDS_PER_BLOCK)
    blocks = -(-(skipped + size) // WORDS_PER_BLOCK)

    def numbers(start: int, count: int, *shape: int) -> Tensor:
        counted = torch.arange(count, dtype=torch.int64, device=device)
        return (counted + start).view(shape)

    counter = (
        # NumPy raises the counter before it makes a block.
        numbers(first + 1, blocks, 1, 1, -1),
        numbers(steps.start, len(steps), -1, 1, 1),
        numbers(samples.start, len(samples), 1, -1, 1),
        numbers(sampler.stream, 1, 1, 1, 1),
    )
    raw = torch.stack(philox(counter, seed), dim=-1)
    # Low bits first, as on every processor that PyTorch runs on.
    found: Tensor = raw.view(torch.int16).flatten(2)
    return found[:, :, skipped : skipped + size]


def words_by_step(
    sampler: Sampler,
    size: int,
    seed: int,
    steps: range,
    samples: range,
    device: torch.device,
    together: int,
) -> Iterator[Tensor]:
    """Yield the words of each step, int32 [samples, size]; ``together`` blocks are made at once."""
    blocks = -(-size // WORDS_PER_BLOCK) * len(samples)
    count = max(1, together // blocks)
    for first in range(steps.start, steps.stop, count):
        some = range(first, min(first + count, steps.stop))
        for word in words(sampler, size, seed, some, samples, device):
            yield word.int() & 0xFFFF
