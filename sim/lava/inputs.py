"""What each population is given per sample; the host computes it before Lava runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import ErrorPopulation, IntegerNetwork
from pvae_neuro.sim.reference import drive

SAMPLES_PER_BLOCK = 64


def check_batch(batch: int) -> int:
    """Return ``batch`` if it is an integer of at least 1; raise :class:`InputError` if not."""
    if not isinstance(batch, int | np.integer) or isinstance(batch, bool) or batch < 1:
        raise InputError(f"batch: expected a whole number of samples, at least 1, got {batch!r}")
    return int(batch)


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
