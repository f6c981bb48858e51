"""Checking and encoding images: the one way in for every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork


def encode_inputs(network: IntegerNetwork, inputs: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
    """Check and encode images.

    Certificates and 32-bit sums hold for the declared range alone, so no engine runs outside it.

    Parameters
    ----------
    network : IntegerNetwork
    inputs : float [N, M]
        Inside the network's declared range.

    Returns
    -------
    int32 [N, M]
        Unit 2**-input.frac_bits.

    Raises
    ------
    InputError
        If shape, range or a value does not fit, or there is no image.
    """
    encoding = network.input
    images = np.asarray(inputs, dtype=np.float64)
    if images.ndim != 2 or images.shape[1] != encoding.pixels or not len(images):
        raise InputError(
            f"inputs: expected shape [N, {encoding.pixels}] with N >= 1, got {list(images.shape)}"
        )
    if not np.isfinite(images).all():
        raise InputError("inputs: expected finite values, got NaN or infinity")
    if images.min() < encoding.low or images.max() > encoding.high:
        raise InputError(
            f"inputs: expected values in [{encoding.low:g}, {encoding.high:g}], got "
            f"[{images.min():g}, {images.max():g}]; rescale them, or clip them to the range"
        )
    return encoding.encode(images)
