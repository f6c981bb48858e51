"""Values outside a declared range: the tolerance at its edges, and advice on the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pvae_neuro.utils.decoded import Rows, pieces

EDGE_TOLERANCE = 2.0**-20
"""How far values may leave a range, relative to its largest magnitude: they are clipped then.

It is eight roundings of float32, as many as a division, a resize and a normalization make; an
encoded pixel of at most 20 fractional bits moves by no more than one unit.
"""

DARKEST_BYTE = 16
"""Whole numbers up to this one may be classes, counts or levels of a few bits: never bytes."""


def tolerance(low: float, high: float) -> float:
    """How far values may lie outside [low, high]."""
    return EDGE_TOLERANCE * max(abs(low), abs(high))


class _Seen(NamedTuple):
    """What is known about values that leave [low, high]."""

    lowest: float
    highest: float
    whole: bool
    low: float
    high: float

    @property
    def excess(self) -> float:
        return max(self.low - self.lowest, self.highest - self.high) / (self.high - self.low)

    @property
    def unit(self) -> bool:
        """Whether pictures in [0, 1] are wanted."""
        return self.low == 0.0 and self.high == 1.0

    @property
    def positive(self) -> bool:
        return self.unit and self.lowest >= 0.0


# The advice of the first that fits is given.
_LOOKS: tuple[tuple[Callable[[_Seen], bool], str, str], ...] = (
    (lambda seen: seen.excess <= 0.01, "they leave it by {excess:.2g}: clip them", "clip"),
    (
        lambda seen: seen.positive and seen.highest <= DARKEST_BYTE and seen.whole,
        "they look like levels or counts: divide them by the largest that there can be",
        "scale",
    ),
    (
        lambda seen: seen.positive and DARKEST_BYTE < seen.highest <= 255.0,
        "they look like bytes: divide them by 255",
        "scale",
    ),
    (
        lambda seen: seen.positive and 255.0 < seen.highest <= 65535.0 and seen.whole,
        "they look like numbers of 16 bits: divide them by 65535, or by the largest that their "
        "camera writes",
        "scale",
    ),
    (
        lambda seen: seen.unit and -1.001 <= seen.lowest < -0.5 and seen.highest <= 1.001,
        "they look like images mapped to [-1, 1]: map them back by (x + 1) / 2",
        "",
    ),
    (
        lambda seen: seen.unit and seen.lowest < 0.0,
        "they look standardized: multiply them by the standard deviation and add the mean that "
        "were used",
        "",
    ),
    (lambda seen: True, "rescale them as the training images were, or clip them", "clip"),
)


def advice(values: Rows, low: float, high: float) -> tuple[str, str | None]:
    """What to do with finite values that leave [low, high], by what they look like.

    Returns a text, and the argument that helps (see :class:`~pvae_neuro.errors.InputError`).
    """
    whole = all(bool((np.rint(piece) == piece).all()) for piece in pieces(values))
    lowest = min(float(piece.min()) for piece in pieces(values))
    highest = max(float(piece.max()) for piece in pieces(values))
    seen = _Seen(lowest, highest, whole, low, high)
    text, remedy = next((text, remedy) for fits, text, remedy in _LOOKS if fits(seen))
    excess = max(low - seen.lowest, seen.highest - high)
    return text.format(excess=excess), remedy or None
