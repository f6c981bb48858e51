"""Synapses that a message meets: how many a neuron has in a connection, one function per kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Connection

Floats = NDArray[np.float64]


def _by_transpose(connection: Connection, targets: Floats, all_of_them: bool) -> Floats:
    """Targets pass ones back through the synapses."""
    back = connection.transposed(
        name="back", source=connection.target, variable="x", target=connection.source
    )
    there = np.ones_like(back.weight) if all_of_them else back.weight != 0
    return back.product(targets, there.astype(np.float64))


def _one_to_one(connection: Connection, targets: Floats, all_of_them: bool) -> Floats:
    return targets if all_of_them else targets * (connection.weight != 0)


_KINDS: dict[str, Callable[[Connection, Floats, bool], Floats]] = {
    "dense": _by_transpose,
    "one_to_one": _one_to_one,
    "convolution": _by_transpose,
    "transposed_convolution": _by_transpose,
}


def fan_out(connection: Connection, targets: Floats) -> tuple[Floats, Floats]:
    """Synapses of each source neuron that end in each part of the targets.

    Parameters
    ----------
    connection : Connection
    targets : float64 [P, target]
        1 for the neurons of a part, else 0.

    Returns
    -------
    all_of_them, nonzero : float64 [source, P]
        All synapses, and those whose weight is not 0. A convolution's are those that end within
        the picture.
    """
    count = _KINDS[connection.kind]
    return count(connection, targets, True).T, count(connection, targets, False).T
