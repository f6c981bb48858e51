"""What recorded counts mean: reconstruction, squared error, and summaries, as functions of a block.

All sums are exact integers; :mod:`pvae_neuro.network.ranges` proves that they fit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import IntegerNetwork, Readout, readout_weight

FLOAT64_EXACT = 1 << 53


class Summary(NamedTuple):
    """Figures of each sample and iteration.

    Attributes
    ----------
    spikes, active, saturated : int64 [B, T]
        Sum of counts, neurons that fired, neurons at their largest count, of the counts drawn in
        the iteration; magnitudes where :attr:`~pvae_neuro.network.Circuit.code` has a sign.
    squared_error : int64 [B, T] or None
        Sum over pixels of (x - reconstruction)**2 by the counts drawn after the iteration, in
        units of :func:`error_unit`; None without a readout.
    """

    spikes: NDArray[np.int64]
    active: NDArray[np.int64]
    saturated: NDArray[np.int64]
    squared_error: NDArray[np.int64] | None


def reconstruct(network: IntegerNetwork, values: NDArray[Any]) -> NDArray[np.float32]:
    """Read values [..., n] of the readout's variable out: float32 [..., M].

    Raises
    ------
    NetworkError
        If the network has no readout.
    """
    readout = _readout(network)
    weight = readout_weight(network)
    # Exact: the proof of ranges keeps every sum below 2**53.
    image = values.astype(np.float64)
    if weight is not None:
        image = image @ weight.T.astype(np.float64)
    return (image * 2.0**-readout.frac_bits).astype(np.float32)


def error_unit(network: IntegerNetwork) -> float:
    """Value of one unit of a squared error."""
    return float(4.0 ** -_error_bits(network))


def _error_bits(network: IntegerNetwork) -> int:
    """Fixed-point position in which input and reconstruction are compared."""
    return max(network.input.frac_bits, _readout(network).frac_bits)


def _readout(network: IntegerNetwork) -> Readout:
    if network.readout is None:
        raise NetworkError(f"network {network.name!r}: has no readout to reconstruct by")
    return network.readout


def squared_errors(
    network: IntegerNetwork, x: NDArray[np.int32], values: NDArray[Any]
) -> NDArray[np.int64]:
    """Sum over pixels of (x - reconstruction)**2, as integers of unit :func:`error_unit`.

    Parameters
    ----------
    network : IntegerNetwork
    x : int32 [B, M] or [B, T, M]
        Encoded pixels.
    values : int [B, T, n]
        Of the readout's variable.

    Returns
    -------
    int64 [B, T]
    """
    bits = _error_bits(network)
    weight = readout_weight(network)
    image = values.astype(np.float64)
    if weight is not None:
        image = image @ weight.T.astype(np.float64)
    target = x if x.ndim == 3 else x[:, None]
    error = target * 2.0 ** (bits - network.input.frac_bits)
    error = error - image * 2.0 ** (bits - _readout(network).frac_bits)
    if float(np.abs(error).max(initial=0.0)) ** 2 * error.shape[2] >= FLOAT64_EXACT:
        error = error.astype(np.int64)
    squares: NDArray[np.int64] = np.einsum("btm,btm->bt", error, error).astype(np.int64)
    return squares


def summarize(
    network: IntegerNetwork, x: NDArray[np.int32], code: NDArray[Any], values: NDArray[Any]
) -> Summary:
    """Summary of a block.

    Parameters
    ----------
    network : IntegerNetwork
    x : int32 [B, M] or [B, T, M]
    code : int [B, T + 1, K]
        The variable :attr:`~pvae_neuro.network.Circuit.code`; the last ones are those of ``final``.
    values : int [B, T + 1, n]
        The readout's variable.
    """
    # In 32 bits: of -32768 there is no magnitude in 16.
    emitted = np.abs(code[:, :-1], dtype=np.int32)
    error = None if network.readout is None else squared_errors(network, x, values[:, 1:])
    return Summary(emitted.sum(axis=2, dtype=np.int64), *activity(network, emitted), error)


def activity(
    network: IntegerNetwork, code: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many neurons of a code [..., K] fired, and how many are at the largest: int64 [...]."""
    # A silent neuron is at no limit.
    largest = (np.abs(code, dtype=np.int32) == network.largest_code) & (code != 0)
    return (
        np.count_nonzero(code, axis=-1).astype(np.int64),
        np.count_nonzero(largest, axis=-1).astype(np.int64),
    )
