"""What numbers are divided by to become pixels: what the user or a file says, or a clear case."""

from __future__ import annotations

import numpy as np

from pvae_neuro.errors import InputError
from pvae_neuro.utils.edges import DARKEST_BYTE, tolerance

Range = tuple[float, float]

# White in pictures of 8 and of 16 bits.
_WHITE = {"uint8": 255.0, "uint16": 65535.0}
# Pictures of which nothing is brighter than this fraction of white may be something else.
_DARK = 16


def divisor(
    dtype: np.dtype[np.generic],
    found: Range,
    name: str,
    *,
    scale: float | None = None,
    declared: Range | None = None,
    model_range: Range | None = None,
) -> float:
    """The number by which values become pixels.

    Parameters
    ----------
    dtype : dtype
        Of the values as they were stored.
    found : (float, float)
        Lowest and highest of them.
    name : str
        Where they came from; begins messages.
    scale : float, optional
        The divisor, where the user or the format of the file says it.
    declared : (float, float), optional
        Range that the file declares: values within it stay as they are.
    model_range : (float, float), optional
        Range that a model declares: floats are compared with it later, and stay as they are.

    Raises
    ------
    InputError
        If the values could mean several things: bytes or 16-bit numbers of which the largest is
        at most a sixteenth of white, or which fit the model both ways; without a range, other
        numbers above 1 of which none is negative.
    """
    lowest, highest = found
    if scale is not None:
        return scale
    if dtype.kind == "b" or (declared is not None and _fits(found, declared)):
        return 1.0
    white = _WHITE.get(dtype.name)
    if white is None:
        if model_range or declared or lowest < 0.0 or highest <= 1.0 + tolerance(0.0, 1.0):
            return 1.0
        raise InputError(
            f"{name}: {dtype} values from {lowest:g} to {highest:g}: expected values in [0, 1], or "
            f"on both sides of zero, or a scale to divide by: {_scale_of(highest)}, or 1 to take "
            f"them as they are",
            remedy="scale",
        )
    dark = highest <= (white + 1) / _DARK
    as_they_are = model_range is not None and _fits(found, model_range)
    if highest > 0.0 and (dark or as_they_are):
        reason = (
            f"may be dark pictures, or classes, counts or levels up to {highest:g}"
            if dark
            else "fit the range of the model both as they are and divided"
        )
        raise InputError(
            f"{name}: {dtype} values from {lowest:g} to {highest:g} {reason}: expected a scale to "
            f"divide by, the number that means white, such as {white:g}"
            + (f" or {highest:g}" if highest > 1.0 else "")
            + "; 1 takes them as they are",
            remedy="scale",
        )
    return white


def _fits(found: Range, allowed: Range) -> bool:
    return allowed[0] <= found[0] and found[1] <= allowed[1]


def check_scale(scale: float) -> float:
    """A number that values can be divided by."""
    if not 1e-6 <= scale <= 1e12:
        raise InputError(f"scale: expected a number from 1e-06 to 1e+12, got {scale}")
    return float(scale)


def _scale_of(highest: float) -> str:
    known = {255.0: "bytes", 4095.0: "12 bits", 65535.0: "16 bits"}
    near = next((white for white in known if DARKEST_BYTE < highest <= white), None)
    return f"{highest:g}" if near is None else f"{near:g} for {known[near]}"
