"""What is worked out once per network: arrays laid out for the kernels, bounds checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.count_table import CountTable
from pvae_neuro.errors import EngineError
from pvae_neuro.network import Connection, ErrorPopulation, IntegerNetwork, shift
from pvae_neuro.sim import reference
from pvae_neuro.sim.fast.drive import add_drive
from pvae_neuro.sim.fast.events import HEAD, Rows, Sampler
from pvae_neuro.sim.fast.feedback import Feedback
from pvae_neuro.sim.fast.readout import Readout
from pvae_neuro.sim.fast.vectors import BYTE_LANES, PAIR_LANES, THRESHOLDS_TOGETHER, WORD_LANES

INT32_MAX = (1 << 31) - 1
UINT16_MAX = (1 << 16) - 1
FLOAT64_EXACT = 1 << 53
CACHE_LINE = 64


class Neurons(NamedTuple):
    """Numbers of the Poisson population.

    Attributes
    ----------
    clamps : int32 [4]
        u_min, u_max, du_min, du_max.
    diagonal : int32 [K]
    """

    clamps: NDArray[np.int32]
    diagonal: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Plan:
    """A network as the kernels read it.

    All arrays are copies: a kernel is compiled once per layout and writability of its arguments,
    and so one compilation serves every network, whether built here or read from a file.

    Attributes
    ----------
    network : IntegerNetwork
    neurons : Neurons
    sampler : Sampler
    rows : Rows
        Event-driven connections.
    readout : Readout
    target_left : int
        Left shift that brings inputs to the unit of the readout.
    feedback : Feedback or None
        The error population and its way back, where there is one.
    """

    network: IntegerNetwork
    neurons: Neurons
    sampler: Sampler
    rows: Rows
    readout: Readout
    target_left: int
    feedback: Feedback | None
    drive_weight: NDArray[np.float64] | None

    def drive(self, pixels: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the drive of encoded pixels [B, M]: int64 [B, K], as the reference defines it."""
        rule = self.network.drive
        if rule is None or self.drive_weight is None:
            return reference.drive(self.network, pixels)
        product = np.zeros((len(pixels), rule.weight.shape[0]))
        add_drive(pixels, self.drive_weight, product)
        return np.clip(shift(product.astype(np.int64), -rule.shift), -rule.limit, rule.limit)


_plans: WeakKeyDictionary[IntegerNetwork, Plan] = WeakKeyDictionary()


def plan_for(network: IntegerNetwork) -> Plan:
    """Return the network's plan; made at the first call, kept while the network lives.

    Raises
    ------
    EngineError
        If the schedule has a shape that no kernel knows, or a sum could leave 32 bits.
    """
    if network not in _plans:
        _plans[network] = _make(network)
    return _plans[network]


def _make(network: IntegerNetwork) -> Plan:
    events, errors, back = _split(network)
    _check_bounds(network, events, errors, back)
    latents, readout = network.latents, network.readout
    unit = max(network.input.frac_bits, readout.frac_bits)
    return Plan(
        network=network,
        neurons=Neurons(
            np.array([latents.u_min, latents.u_max, latents.du_min, latents.du_max], np.int32),
            np.array(latents.diagonal, order="C"),
        ),
        sampler=_sampler(latents.table),
        rows=_rows(events),
        readout=_readout(readout.weight, unit - readout.frac_bits),
        target_left=unit - network.input.frac_bits,
        feedback=None if errors is None or back is None else _feedback(errors, back),
        drive_weight=_exact_drive(network),
    )


def _sampler(table: CountTable) -> Sampler:
    # No word exceeds the largest one.
    more = -table.max_count % THRESHOLDS_TOGETHER
    threshold = np.pad(table.threshold, [(0, 0), (0, more)], constant_values=UINT16_MAX)
    return Sampler(
        first=np.array(threshold[:, 0], order="C"),
        head=np.array(threshold[:, :HEAD], order="C"),
        threshold=_aligned(threshold.reshape(-1)),
        width=threshold.shape[1],
        most=table.max_count,
        shape=np.array([table.u_min, table.row_bits, table.dither_bits], np.int32),
    )


def _rows(events: list[Connection]) -> Rows:
    weights = np.stack([_pad(c.weight.T, 1, BYTE_LANES) for c in events])
    return Rows(
        weight=_aligned(weights.reshape(len(events), -1)),
        largest=np.abs(weights.astype(np.int32)).max(axis=2),
        exponent=np.array([c.exponent for c in events], np.int64),
    )


def _readout(weight: NDArray[np.int16], left: int) -> Readout:
    padded = _pad(weight, 0, WORD_LANES)
    blocks = padded.reshape(-1, WORD_LANES, weight.shape[1]).swapaxes(1, 2)
    return Readout(_aligned(blocks.reshape(-1)), left)


def _feedback(errors: ErrorPopulation, back: Connection) -> Feedback:
    digits, digit_bits = _digits(_row_sum(back.weight), errors.message_limit)
    padded = _pad(_pad(back.weight, 0, PAIR_LANES), 1, 2)
    blocks = padded.reshape(-1, PAIR_LANES, padded.shape[1] // 2, 2).swapaxes(1, 2)
    return Feedback(
        gain=errors.gain.astype(np.int64),
        gain_shift=errors.gain_shift,
        limit=errors.message_limit,
        weight=_aligned(blocks.reshape(len(blocks), blocks.shape[1], -1)),
        exponent=back.exponent,
        digits=digits,
        digit_bits=digit_bits,
    )


def _digits(row_sum: int, limit: int) -> tuple[int, int]:
    """Return how many digits of how many bits make products with messages add up in 32 bits."""
    bits = 15
    while bits > 1 and row_sum << bits > INT32_MAX:
        bits -= 1
    digits = 1
    while limit >= 1 << (digits * bits):
        digits += 1
    return digits, bits


def _pad(weight: NDArray[Any], axis: int, multiple: int) -> NDArray[Any]:
    """Add zeros along an axis, up to a multiple."""
    more = [(0, 0), (0, 0)]
    more[axis] = (0, -weight.shape[axis] % multiple)
    return np.pad(weight, more)


def _aligned(weight: NDArray[Any]) -> NDArray[Any]:
    """Copy to an address that a cache line begins at: a load across two lines costs two."""
    raw = np.empty(weight.nbytes + CACHE_LINE, np.uint8)
    first = -raw.ctypes.data % CACHE_LINE
    copy = raw[first : first + weight.nbytes].view(weight.dtype).reshape(weight.shape)
    copy[...] = weight
    return copy


def _exact_drive(network: IntegerNetwork) -> NDArray[np.float64] | None:
    """Drive weights [M, K] in float64 if every partial sum is exact there."""
    if network.drive is None:
        return None
    largest = max(abs(side) for side in network.input.integer_range())
    if _row_sum(network.drive.weight) * largest >= FLOAT64_EXACT:
        return None
    return np.ascontiguousarray(network.drive.weight.T, dtype=np.float64)


def _split(
    network: IntegerNetwork,
) -> tuple[list[Connection], ErrorPopulation | None, Connection | None]:
    """Sort a schedule into event-driven connections and, if there is one, the error loop."""
    latents = network.latents.name
    hops = [
        (hop, [network.connection(name) for name in hop.connections]) for hop in network.schedule
    ]
    if len(hops) == 1 and all(c.source == c.target == latents for c in hops[0][1]):
        return hops[0][1], None, None
    if len(hops) == 2 and all(len(connections) == 1 for _, connections in hops):
        (prediction,), (feedback,) = hops[0][1], hops[1][1]
        errors = network.population(prediction.target)
        if (
            isinstance(errors, ErrorPopulation)
            and prediction.source == feedback.target == latents
            and feedback.source == errors.name
        ):
            return [prediction], errors, feedback
    raise EngineError(
        "fast: expected a schedule of one recurrent hop, or of one error population and its "
        f"feedback; got {[hop for hop, _ in hops]}. Use --engine reference, which runs any schedule"
    )


def _check_bounds(
    network: IntegerNetwork,
    events: list[Connection],
    errors: ErrorPopulation | None,
    feedback: Connection | None,
) -> None:
    """Prove that the kernels' 32-bit sums cannot overflow."""
    latents, most = network.latents, network.latents.table.max_count
    change = _largest(latents.leak) + _largest(latents.diagonal) * most
    if network.drive is not None:
        change += network.drive.limit
    reach = [("readout", _row_sum(network.readout.weight) * most)]
    for connection in events:
        total = _row_sum(connection.weight) * most
        reach.append((connection.name, _shifted(total, connection.exponent)))
        reach.append((f"{connection.name} before its exponent", total))
        change += 0 if errors is not None else reach[-2][1]
    if errors is not None and feedback is not None:
        change += _shifted(_row_sum(feedback.weight) * errors.message_limit, feedback.exponent)
        reach.append(("messages", errors.message_limit))
    encoded = max(abs(side) for side in network.input.integer_range())
    unit = max(network.input.frac_bits, network.readout.frac_bits)
    reach += [
        ("potential change", change + max(abs(latents.u_min), abs(latents.u_max))),
        ("input", encoded << (unit - network.input.frac_bits)),
    ]
    for name, bound in reach:
        if bound > INT32_MAX:
            raise EngineError(
                f"fast: {name} can reach {bound}, beyond 32 bits; certify the network first, or "
                f"use --engine reference"
            )


def _largest(values: NDArray[Any]) -> int:
    return int(np.abs(values.astype(np.int64)).max())


def _row_sum(weight: NDArray[Any]) -> int:
    return int(np.abs(weight.astype(np.int64)).sum(axis=1).max())


def _shifted(value: int, exponent: int) -> int:
    return value << exponent if exponent >= 0 else (value >> -exponent) + 1
