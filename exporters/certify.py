"""Proof by interval arithmetic that no accumulator or state leaves signed 24 bits; stability.

The proof takes every noise word, every input of the declared range and every order of summation:
an accumulator lies within [-N, P], N and P the sums of its row's negative and positive terms at
the largest message. Nothing is sampled here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.count_table import MAX_TOTAL_VARIATION
from pvae_neuro.errors import CertificateError
from pvae_neuro.network import (
    ACCUMULATOR_BITS,
    Connection,
    ErrorPopulation,
    IntegerNetwork,
    PoissonPopulation,
    shift,
)

Ints = NDArray[np.int64]
# The error gain is a fixed-point multiply: its product is wider than a state, as in Lava's LIF
# (24-bit state times 12-bit decay), and must fit the 64-bit integers that all engines compute in.
MULTIPLIER_BITS = 48
# A lateral matrix whose smallest eigenvalue is this far below zero, in units of its largest entry,
# is no rounding of a positive semidefinite one. Milder cases are decided by a trial run of 1,000
# iterations, because leak and rates decide with them (docs/decisions.md).
EIGENVALUE_TOLERANCE = 1.0


@dataclass(frozen=True)
class RangeRow:
    """Worst-case range of one quantity.

    Attributes
    ----------
    where : str
        Population or connection, with the neuron that attains it.
    quantity : str
    low, high : int
        Over all inputs and all noise.
    bits : int
        Signed width that holds the range.
    limit_bits : int
        Signed width that is there.
    """

    where: str
    quantity: str
    low: int
    high: int
    bits: int
    limit_bits: int

    @property
    def fits(self) -> bool:
        """Whether the range fits the width."""
        return self.bits <= self.limit_bits


@dataclass(frozen=True)
class Certificate:
    """What was proved of a network.

    Attributes
    ----------
    rows : tuple of RangeRow
        Every accumulator and state.
    total_variation : float
        Largest exact distance of the sampler from Poisson over the range of u.
    eigenvalue : float or None
        Smallest eigenvalue of the rounded lateral matrix over its largest entry; None where no
        connection is recurrent within one population.
    """

    rows: tuple[RangeRow, ...]
    total_variation: float
    eigenvalue: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def certify(network: IntegerNetwork) -> Certificate:
    """Prove ranges, sampler accuracy and the sign structure of a lateral network.

    Parameters
    ----------
    network : IntegerNetwork

    Returns
    -------
    Certificate

    Raises
    ------
    CertificateError
        At the first quantity that cannot be proved; names it and the remedy.
    """
    certificate = examine(network)
    for row in certificate.rows:
        if not row.fits:
            raise CertificateError(_range_message(row))
    if certificate.total_variation > MAX_TOTAL_VARIATION:
        raise CertificateError(
            f"sampler: expected total variation at most {MAX_TOTAL_VARIATION} from Poisson, got "
            f"{certificate.total_variation:.2e}; rebuild its table with build_count_table"
        )
    if certificate.eigenvalue is not None and certificate.eigenvalue < -EIGENVALUE_TOLERANCE:
        raise CertificateError(_stability_message(network, certificate.eigenvalue))
    return certificate


def examine(network: IntegerNetwork) -> Certificate:
    """Compute the certificate without judging it."""
    return Certificate(
        rows=tuple(_rows(network)),
        total_variation=float(network.latents.table.total_variation().max()),
        eigenvalue=_smallest_eigenvalue(network),
    )


def _range_message(row: RangeRow) -> str:
    return (
        f"{row.where}: {row.quantity} can reach [{row.low}, {row.high}], {row.bits} bits; "
        f"expected at most {row.limit_bits} bits. Lower --max-count, --frac-bits or "
        f"--weight-bits, or take --topology {'predictive' if 'lateral' in row.where else 'lateral'}"
    )


def _stability_message(network: IntegerNetwork, eigenvalue: float) -> str:
    bits = network.connections[0].bits
    return (
        f"lateral connection of {bits} bits: its smallest eigenvalue is {eigenvalue:.3f} of the "
        f"largest entry, below -{EIGENVALUE_TOLERANCE}: rounding would feed itself and diverge. "
        f"Take --weight-bits 8, or --topology predictive, which stays stable at low widths"
    )


# ------------------------------------------------------------------------------------- ranges


def _rows(network: IntegerNetwork) -> Iterator[RangeRow]:
    emitted = {network.latents.name: (0, network.latents.table.max_count)}
    for hop in network.schedule:
        target = network.population(hop.target)
        low = np.zeros(target.size, np.int64)
        high = np.zeros(target.size, np.int64)
        for name in hop.connections:
            connection = network.connection(name)
            accumulated = _accumulate(connection, emitted[connection.source])
            yield _row(connection.name, "accumulator", *accumulated)
            least, most = (shift(side, connection.exponent) for side in accumulated)
            yield _row(connection.name, "after its exponent", least, most)
            low, high = low + least, high + most
        if isinstance(target, ErrorPopulation):
            yield from _error_rows(network, target, low, high)
            emitted[target.name] = (-target.message_limit, target.message_limit)
        else:
            yield from _poisson_rows(network, target, low, high)


def _accumulate(connection: Connection, message: tuple[int, int]) -> tuple[Ints, Ints]:
    weight = connection.weight.astype(np.int64)
    positive = np.where(weight > 0, weight, 0).sum(axis=1)
    negative = np.where(weight < 0, weight, 0).sum(axis=1)
    low, high = message
    # Zero is reached too: partial sums start there.
    return (
        np.minimum(positive * low + negative * high, 0),
        np.maximum(positive * high + negative * low, 0),
    )


def _error_rows(
    network: IntegerNetwork, p: ErrorPopulation, low: Ints, high: Ints
) -> Iterator[RangeRow]:
    x_low, x_high = network.input.integer_range()
    error_low, error_high = np.minimum(x_low + low, x_low), np.maximum(x_high + high, x_high)
    yield _row(p.name, "error", error_low, error_high)
    half = 1 << (p.gain_shift - 1)
    product_low = np.minimum(error_low * p.gain, 0)
    product_high = np.maximum(error_high * p.gain, 0) + half
    yield _row(p.name, "multiplier output", product_low, product_high, MULTIPLIER_BITS)
    limit = np.array([p.message_limit])
    yield _row(p.name, "graded spike", -limit, limit)


def _poisson_rows(
    network: IntegerNetwork, p: PoissonPopulation, low: Ints, high: Ints
) -> Iterator[RangeRow]:
    drive_low, drive_high = _drive_range(network, p)
    yield _row(p.name, "drive", drive_low, drive_high)
    inhibition = p.diagonal.astype(np.int64) * p.table.max_count
    yield _row(p.name, "self-inhibition", -inhibition, np.zeros_like(inhibition))
    # Any order of these additions stays between the sums of all negative and all positive terms.
    total_low = np.minimum(drive_low, 0) - np.maximum(p.leak, 0) - np.maximum(inhibition, 0) + low
    total_high = (
        np.maximum(drive_high, 0) + np.maximum(-p.leak, 0) + np.maximum(-inhibition, 0) + high
    )
    yield _row(p.name, "potential change", total_low, total_high)
    yield _row(
        p.name,
        "potential before its clamp",
        np.array([p.u_min + p.du_min]),
        np.array([p.u_max + p.du_max]),
    )


def _drive_range(network: IntegerNetwork, p: PoissonPopulation) -> tuple[Ints, Ints]:
    zero = np.zeros(p.size, np.int64)
    drive = network.drive
    if drive is None or drive.target != p.name:
        return zero, zero
    weight = drive.weight.astype(np.int64)
    corners = [weight * side for side in network.input.integer_range()]
    low = shift(np.minimum(*corners).sum(axis=1), -drive.shift)
    high = shift(np.maximum(*corners).sum(axis=1), -drive.shift)
    return np.clip(low, -drive.limit, drive.limit), np.clip(high, -drive.limit, drive.limit)


def _row(
    where: str, quantity: str, low: Ints, high: Ints, limit_bits: int = ACCUMULATOR_BITS
) -> RangeRow:
    widest = int(np.argmax(np.maximum(high, -low - 1)))
    bits = max(int(low.min() + 1).bit_length(), int(high.max()).bit_length()) + 1
    if int(low.min()) >= 0:
        bits = int(high.max()).bit_length() + 1
    place = f"{where}[{widest}]" if len(low) > 1 else where
    return RangeRow(place, quantity, int(low.min()), int(high.max()), bits, limit_bits)


# ---------------------------------------------------------------------------------- stability


def _smallest_eigenvalue(network: IntegerNetwork) -> float | None:
    """Of the inhibition matrix (diagonal and mantissas together), over its largest entry."""
    latents = network.latents
    recurrent = [c for c in network.connections if c.source == c.target == latents.name]
    if not recurrent:
        return None
    matrix = np.diag(latents.diagonal.astype(np.float64))
    for connection in recurrent:
        matrix -= connection.weight.astype(np.float64) * 2.0**connection.exponent
    largest = float(np.abs(matrix).max())
    symmetric = (matrix + matrix.T) / 2
    return float(np.linalg.eigvalsh(symmetric)[0]) / max(largest, 1.0)
