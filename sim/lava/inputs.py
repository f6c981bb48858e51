"""What each population is given per sample; the host computes it before Lava runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import ErrorPopulation, IntegerNetwork
from pvae_neuro.sim.reference import drive

SAMPLES_PER_BLOCK = 64


def encode_inputs(network: IntegerNetwork, inputs: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
    """Check and encode images.

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
        If shape, range or a value does not fit.
    """
    images = np.asarray(inputs, dtype=np.float64)
    encoding = network.input
    if images.ndim != 2 or images.shape[1] != encoding.pixels:
        raise InputError(f"inputs: expected shape (N, {encoding.pixels}), got {images.shape}")
    if not np.isfinite(images).all():
        raise InputError("inputs: expected finite values, got NaN or infinity")
    pixels = encoding.encode(images)
    low, high = encoding.integer_range()
    if pixels.size and not low <= pixels.min() <= pixels.max() <= high:
        raise InputError(
            f"inputs: expected values in [{encoding.low}, {encoding.high}], got "
            f"[{images.min():g}, {images.max():g}]"
        )
    return pixels


def input_values(
    network: IntegerNetwork, pixels: NDArray[np.int32]
) -> dict[str, NDArray[np.integer[Any]]]:
    """What each population is given per sample: the drive, or the pixels.

    Parameters
    ----------
    network : IntegerNetwork
    pixels : int32 [N, M]
        Encoded images.

    Returns
    -------
    dict of str to int [N, neurons]
    """
    values: dict[str, NDArray[np.integer[Any]]] = {
        p.name: pixels for p in network.populations if isinstance(p, ErrorPopulation)
    }
    if network.drive is not None:
        starts = range(0, max(1, len(pixels)), SAMPLES_PER_BLOCK)
        blocks = [drive(network, pixels[i : i + SAMPLES_PER_BLOCK]) for i in starts]
        values[network.drive.target] = np.concatenate(blocks)
    return values
