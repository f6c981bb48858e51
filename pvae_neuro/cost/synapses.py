"""Synapses that a message meets: how many a neuron has in a connection, one function per kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Connection

Counts = NDArray[np.float64]


def _by_transpose(connection: Connection, all_of_them: bool) -> Counts:
    """Each target passes a one back through the synapses."""
    back = connection.transposed(
        name="back", source=connection.target, variable="x", target=connection.source
    )
    there = np.ones_like(back.weight) if all_of_them else back.weight != 0
    return back.product(np.ones((1, connection.shape[0])), there.astype(np.float64))[0]


def _one_to_one(connection: Connection, all_of_them: bool) -> Counts:
    return np.ones(connection.shape[1]) if all_of_them else (connection.weight != 0) * 1.0


_KINDS: dict[str, Callable[[Connection, bool], Counts]] = {
    "dense": _by_transpose,
    "one_to_one": _one_to_one,
    "convolution": _by_transpose,
    "transposed_convolution": _by_transpose,
}


def fan_out(connection: Connection) -> Counts:
    """Synapses of each source neuron: float64 [source, 2].

    All of them, and those whose weight is not 0. A convolution's are those that end within the
    picture.
    """
    count = _KINDS[connection.kind]
    return np.stack([count(connection, True), count(connection, False)], axis=1)
