"""What the word operations mean over tensors of int32.

Words of a proved network have 24 bits, so that int32 holds them; products have 48, and are made in
int64 where their bounds ask for it. The formulas are those of
:mod:`pvae_neuro.network.operations`, which define them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pvae_neuro.network.interval import Interval
from pvae_neuro.network.operations import WORD_WIDTH, product_interval
from pvae_neuro.sim.tensors.library import torch_library

if TYPE_CHECKING:
    from torch import Tensor

Formula = Callable[..., "Tensor"]
# Exponent of float32 that says 1/2: the length of a whole number is what exceeds it.
_HALF = 126


def shift_right(value: Tensor, amount: Tensor) -> Tensor:
    """``value >> amount``, rounded half up, in int64; a negative amount shifts to the left."""
    wide, amount = value.long(), amount.long()
    right, left = amount.clamp(min=0), (-amount).clamp(min=0)
    return ((wide << left) + (right.new_ones(()) << right >> 1)) >> right


def leading_zeros(value: Tensor) -> Tensor:
    """Zeros before the first one of a 24-bit word: 24 of 0, none of a negative number."""
    torch = torch_library()
    # Below 2**24 a float32 is exact, and its exponent is the length of the number.
    length = (value.clamp(min=0).float().view(torch.int32) >> 23) - _HALF
    return (WORD_WIDTH - length.clamp(min=0)).masked_fill(value < 0, 0)


FORMULAS: dict[str, Formula] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b, shift: shift_right(a.long() * b, shift).int(),
    "shl": lambda a, amount: shift_right(a, -amount).int(),
    "shr": lambda a, amount: shift_right(a, amount).int(),
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "min": lambda a, b: a.minimum(b),
    "max": lambda a, b: a.maximum(b),
    "ge": lambda a, b: a.ge(b).int(),
    # Where PyTorch chooses one by one, it takes five times as long.
    "select": lambda condition, a, b: (a - b) * (condition != 0) + b,
    "abs": lambda a: a.abs(),
    "neg": lambda a: -a,
    "clz": leading_zeros,
    # The counts, or the words, of this step.
    "draw": lambda counts: counts,
    "word": lambda word: word,
}


def shifted(value: Tensor, right: int) -> Tensor:
    """``value >> right`` by one number that is known, rounded half up, in the type of ``value``."""
    if right > 0:
        return (value + (1 << (right - 1))) >> right
    return value << -right if right else value


# With one amount that is known beforehand, the half is a number, and nothing is compared.
BY_NUMBER: dict[str, Callable[[int], Formula]] = {
    "shr": lambda amount: lambda a, _: shifted(a, amount),
    "shl": lambda amount: lambda a, _: shifted(a, -amount),
    "mul": lambda amount: lambda a, b, _: shifted(a.long() * b, amount).int(),
}


def formula(operation: str, arguments: list[Interval]) -> Formula:
    """The quickest formula that is exact for arguments within these bounds."""
    found = FORMULAS[operation]
    if operation not in BY_NUMBER:
        return found
    amount = arguments[-1]
    if amount.smallest != amount.largest:
        return found
    right = amount.smallest
    if operation == "mul" and _is_narrow(product_interval(*arguments[:2]), right):
        return partial(_narrow_product, right)
    return BY_NUMBER[operation](right)


def _is_narrow(product: Interval, right: int) -> bool:
    """Whether a product, and half a unit above it, fit 32 bits."""
    half = 1 << (right - 1) if right > 0 else 0
    return product.smallest >= -(1 << 31) and product.largest + half < 1 << 31


def _narrow_product(right: int, a: Tensor, b: Tensor, _: Tensor) -> Tensor:
    return shifted(a * b, right)
