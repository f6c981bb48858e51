"""What is worked out once per network: arrays laid out for the kernels, bounds checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError
from pvae_neuro.network import Connection, ErrorPopulation, IntegerNetwork, shift
from pvae_neuro.sim import reference
from pvae_neuro.sim.fast.products import FLOAT64_EXACT

INT32_MAX = (1 << 31) - 1


@dataclass(frozen=True, eq=False)
class Plan:
    """Arrays of a network as the kernels read them.

    They are copies: a kernel is compiled once per layout and writability of its arguments, and so
    one compilation serves every network, whether built here or read from a file.

    Attributes
    ----------
    network : IntegerNetwork
    first, threshold : uint16 [rows], [rows, max_count]
        Sampler table; its first column stands alone.
    sampler : int32 [3]
        u_min, row_bits, dither_bits.
    clamps : int32 [4]
        u_min, u_max, du_min, du_max.
    weight : int8 [C, source, target]
        Event-driven connections, one row per source neuron.
    exponent : int64 [C]
    mantissa_max : int
    diagonal : int32 [K]
    readout_weight : int16 [K, M]
    target_left, readout_left : int
        Left shifts that bring input and reconstruction to one unit.
    errors : ErrorPopulation or None
    feedback : Connection or None
        From the error population back.
    """

    network: IntegerNetwork
    first: NDArray[np.uint16]
    threshold: NDArray[np.uint16]
    sampler: NDArray[np.int32]
    clamps: NDArray[np.int32]
    weight: NDArray[np.int8]
    exponent: NDArray[np.int64]
    mantissa_max: int
    diagonal: NDArray[np.int32]
    readout_weight: NDArray[np.int16]
    target_left: int
    readout_left: int
    errors: ErrorPopulation | None
    feedback: Connection | None
    drive_weight: NDArray[np.float64] | None

    def drive(self, pixels: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the drive of encoded pixels [B, M]: int64 [B, K], as the reference defines it."""
        rule = self.network.drive
        if rule is None or self.drive_weight is None:
            return reference.drive(self.network, pixels)
        product = (pixels.astype(np.float64) @ self.drive_weight).astype(np.int64)
        return np.clip(shift(product, -rule.shift), -rule.limit, rule.limit)


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
    events, errors, feedback = _split(network)
    _check_bounds(network, events, errors, feedback)
    latents, table = network.latents, network.latents.table
    readout = network.readout
    unit = max(network.input.frac_bits, readout.frac_bits)
    weights = np.stack([np.ascontiguousarray(c.weight.T) for c in events])
    return Plan(
        network=network,
        first=np.array(table.threshold[:, 0], order="C"),
        threshold=np.array(table.threshold, order="C"),
        sampler=np.array([table.u_min, table.row_bits, table.dither_bits], np.int32),
        clamps=np.array([latents.u_min, latents.u_max, latents.du_min, latents.du_max], np.int32),
        weight=weights,
        exponent=np.array([c.exponent for c in events], np.int64),
        mantissa_max=max(1, int(np.abs(weights.astype(np.int64)).max())),
        diagonal=np.array(latents.diagonal, order="C"),
        readout_weight=np.array(readout.weight.T, order="C"),
        target_left=unit - network.input.frac_bits,
        readout_left=unit - readout.frac_bits,
        errors=errors,
        feedback=feedback,
        drive_weight=_exact_drive(network),
    )


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
