"""Numbers that callers hand over, in whatever holds them, as a NumPy array."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError

_masked: Any = np.ma  # Without types in NumPy.


def real_array(name: str, values: object) -> NDArray[Any]:
    """Real numbers as an array in this machine's byte order; the data are copied only if needed.

    Takes what NumPy takes, such as arrays, nested lists and data frames, and tensors of torch on
    any device, with or without a gradient. Floats keep their precision up to float64.

    Raises
    ------
    InputError
        If these are no real numbers, rows differ in length, or an entry is masked.
    """
    if type(values) is np.ndarray and _is_plain(values.dtype):
        return values
    try:
        array = _masked.asanyarray(_from_torch(values))
    except MemoryError:
        raise
    # The conversion runs code of the object's own, which may raise anything.
    except Exception as error:
        raise InputError(
            f"{name}: expected an array of real numbers, got {_described(values)} that does not "
            f"convert to one: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"{name}: expected an array of real numbers, got {_described(values)}"
            + (f" of type {array.dtype}" if array.ndim else "")
        )
    if _masked.is_masked(array):
        raise InputError(
            f"{name}: expected a number everywhere, got {_masked.count_masked(array)} masked "
            f"entries; fill them first"
        )
    kept = np.dtype(np.float64) if array.dtype.itemsize > 8 else array.dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # Infinity, which the check of values names.
        return np.asarray(array.data, kept)


def _is_plain(kind: np.dtype[Any]) -> bool:
    """Whether numbers of a type stay as they are."""
    return kind.kind in "fiub" and kind.itemsize <= 8 and bool(kind.isnative)


def _from_torch(values: object) -> object:
    """A tensor as an array on the CPU; anything else as it is."""
    torch = sys.modules.get("torch")  # Whoever holds a tensor has imported torch.
    if torch is None or not isinstance(values, torch.Tensor):
        return values
    tensor = values.detach().cpu()
    # NumPy has no type of such floats.
    small = tensor.is_floating_point() and tensor.element_size() <= 2
    return (tensor.float() if small else tensor).numpy()


def _described(values: object) -> str:
    kind = type(values).__name__
    return "None" if values is None else f"an object of type {kind!r}"
