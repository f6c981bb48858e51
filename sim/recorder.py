"""Gathers what engines produce, block by block, into a Recording."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import RECORDS, Record, Recording
from pvae_neuro.sim.trajectory import trajectory_array


class Recorder:
    """Collects blocks of samples; keeps no more than the chosen kind of record needs.

    Parameters
    ----------
    network : IntegerNetwork
    pixels : int32 [N, M]
        Encoded inputs, for the squared error.
    steps : int
        Iterations T.
    record : {"last", "summary", "full"}

    Raises
    ------
    InputError
        If ``record`` is none of these.
    """

    def __init__(
        self, network: IntegerNetwork, pixels: NDArray[np.int32], steps: int, record: Record
    ) -> None:
        check_record(record)
        self._network = network
        self._pixels = pixels
        self._record = record
        samples, latents = len(pixels), network.latents.size
        self._readout = np.zeros((samples, latents), np.uint8)
        self._final = np.zeros((samples, latents), np.int32)
        summaries = record != "last"
        self._summary = np.zeros((4, samples, steps), np.int64) if summaries else None
        full = record == "full"
        shape = (samples, steps, latents)
        self._counts = trajectory_array(shape, np.uint8) if full else None
        self._potentials = trajectory_array(shape, np.int32) if full else None

    def add(
        self, first: int, counts: NDArray[np.integer[Any]], potentials: NDArray[np.integer[Any]]
    ) -> None:
        """Take a block of samples.

        Parameters
        ----------
        first : int
            Row of the block's first sample.
        counts : int [B, T + 1, K]
            The last one is the readout.
        potentials : int [B, T, K]
            After each update.
        """
        rows = slice(first, first + len(counts))
        self._readout[rows] = counts[:, -1]
        self._final[rows] = potentials[:, -1]
        if self._summary is not None:
            self._summary[:, rows] = self._summaries(rows, counts)
        if self._counts is not None and self._potentials is not None:
            self._counts[rows] = counts[:, :-1]
            self._potentials[rows] = potentials

    def _summaries(self, rows: slice, counts: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        emitted = counts[:, :-1]
        return np.stack(
            [
                emitted.sum(axis=2, dtype=np.int64),
                np.count_nonzero(emitted, axis=2),
                np.count_nonzero(emitted == self._network.latents.table.max_count, axis=2),
                squared_errors(self._network, self._pixels[rows], counts[:, 1:]),
            ]
        )

    def finish(self) -> Recording:
        """Return the recording."""
        spikes, active, saturated, error = (None,) * 4 if self._summary is None else self._summary
        return Recording(
            readout=self._readout,
            final=self._final,
            reconstruction=reconstruct(self._network, self._readout),
            error_unit=error_unit(self._network),
            spikes=spikes,
            active=active,
            saturated=saturated,
            squared_error=error,
            counts=self._counts,
            potentials=self._potentials,
        )


def check_record(record: str) -> None:
    """Raise :class:`InputError` unless ``record`` is a kind that engines know."""
    if record not in RECORDS:
        raise InputError(f"record: expected one of {', '.join(RECORDS)}; got {record!r}")


def reconstruct(network: IntegerNetwork, counts: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Read counts [N, K] out through the integer dictionary: float32 [N, M]."""
    product = counts.astype(np.float64) @ _float_weight(network)
    return (product * 2.0**-network.readout.frac_bits).astype(np.float32)


_float_weights: WeakKeyDictionary[IntegerNetwork, NDArray[np.float64]] = WeakKeyDictionary()


def _float_weight(network: IntegerNetwork) -> NDArray[np.float64]:
    """Readout weights [K, M] in floating point, converted once per network."""
    if network not in _float_weights:
        weight = network.readout.weight.T
        _float_weights[network] = np.ascontiguousarray(weight, dtype=np.float64)
    return _float_weights[network]


def error_unit(network: IntegerNetwork) -> float:
    """Value of one unit of ``Recording.squared_error``."""
    return float(4.0 ** -_error_bits(network))


def _error_bits(network: IntegerNetwork) -> int:
    """Fixed-point position in which input and reconstruction are compared."""
    return max(network.input.frac_bits, network.readout.frac_bits)


def squared_errors(
    network: IntegerNetwork, pixels: NDArray[np.int32], counts: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """Sum over pixels of (x - reconstruction)**2, as integers.

    Parameters
    ----------
    network : IntegerNetwork
    pixels : int32 [B, M]
    counts : int [B, T, K]

    Returns
    -------
    int64 [B, T]
        Unit 4**-max(input.frac_bits, readout.frac_bits).
    """
    bits = _error_bits(network)
    target = pixels.astype(np.float64) * 2.0 ** (bits - network.input.frac_bits)
    weight = network.readout.weight.T.astype(np.float64) * 2.0 ** (bits - network.readout.frac_bits)
    # float64 holds every product and their sum exactly: mantissas below 2**15, counts below 2**7.
    error = target[:, None] - counts.astype(np.float64) @ weight
    if float(np.abs(error).max(initial=0.0)) ** 2 * error.shape[2] >= 2.0**53:
        error = error.astype(np.int64)
    squares: NDArray[np.int64] = np.einsum("btm,btm->bt", error, error).astype(np.int64)
    return squares
