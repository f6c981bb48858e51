"""What must hold of every IntegerNetwork before an engine sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.errors import NetworkError
from pvae_neuro.network_parts import (
    LARGEST_COUNT,
    Connection,
    ErrorPopulation,
    PoissonPopulation,
    Population,
)

if TYPE_CHECKING:
    from pvae_neuro.network import IntegerNetwork


def check_network(network: IntegerNetwork) -> None:
    """Raise :class:`NetworkError` at the first part that does not fit."""
    for problem in _problems(network):
        raise NetworkError(problem)


def _problems(network: IntegerNetwork) -> Iterator[str]:
    names = [p.name for p in network.populations]
    if len(set(names)) != len(names):
        yield f"population names must differ, got {names}"
    for population in network.populations:
        yield from _population_problems(network, population)
    for connection in network.connections:
        yield from _connection_problems(network, connection)
    yield from _schedule_problems(network)
    yield from _edge_problems(network)


def _population_problems(network: IntegerNetwork, population: Population) -> Iterator[str]:
    if isinstance(population, PoissonPopulation):
        yield from _poisson_problems(population)
    else:
        yield from _error_problems(network, population)


def _poisson_problems(p: PoissonPopulation) -> Iterator[str]:
    for field in ("initial", "leak", "diagonal"):
        yield from _array(f"{p.name}.{field}", getattr(p, field), np.int32, (p.size,))
    if not p.u_min <= int(p.initial.min()) <= int(p.initial.max()) <= p.u_max:
        yield f"{p.name}.initial: expected values in [{p.u_min}, {p.u_max}]"
    if not p.du_min < 0 < p.du_max:
        yield f"{p.name}: expected du_min < 0 < du_max, got {p.du_min} and {p.du_max}"
    t = p.table
    if (t.u_min, t.u_max, t.frac_bits) != (p.u_min, p.u_max, p.frac_bits):
        yield f"{p.name}.table: expected the population's range and fixed point"
    if not 1 <= t.max_count <= LARGEST_COUNT:
        yield f"{p.name}.table: expected a largest count of 1 to {LARGEST_COUNT}, got {t.max_count}"
    rows = ((t.u_max - t.u_min + (1 << t.row_bits) - 1) >> t.row_bits) + 1
    yield from _array(f"{p.name}.table", t.threshold, np.uint16, (rows, t.max_count))
    if not 0 <= t.dither_bits <= t.row_bits:
        yield f"{p.name}.table: expected 0 <= dither_bits <= row_bits"
    if np.any(np.diff(t.threshold.astype(np.int64), axis=1) < 0):
        yield f"{p.name}.table: thresholds must not decrease along a row"


def _error_problems(network: IntegerNetwork, p: ErrorPopulation) -> Iterator[str]:
    yield from _array(f"{p.name}.gain", p.gain, np.int32, (network.input.pixels,))
    if p.gain_shift < 1 or p.message_limit < 1 or int(p.gain.min()) < 0:
        yield f"{p.name}: expected gain >= 0, gain_shift >= 1 and message_limit >= 1"


def _connection_problems(network: IntegerNetwork, c: Connection) -> Iterator[str]:
    shape = (network.population(c.target).size, network.population(c.source).size)
    yield from _array(f"{c.name}.weight", c.weight, np.int8, shape)
    if not 2 <= c.bits <= 8:
        yield f"{c.name}.bits: expected 2 to 8, got {c.bits}"
    limit = (1 << (c.bits - 1)) - 1
    if int(np.abs(c.weight.astype(np.int16)).max()) > limit:
        yield f"{c.name}.weight: a mantissa of {c.bits} bits lies in +-{limit}"


def _schedule_problems(network: IntegerNetwork) -> Iterator[str]:
    if not network.schedule:
        yield "schedule: expected at least one hop"
    delivered: list[str] = []
    for hop in network.schedule:
        network.population(hop.target)
        for name in hop.connections:
            if network.connection(name).target != hop.target:
                yield f"schedule: connection {name!r} does not end at {hop.target!r}"
        delivered.extend(hop.connections)
    if sorted(delivered) != sorted(c.name for c in network.connections):
        yield f"schedule: every connection must deliver once per iteration, got {delivered}"


def _edge_problems(network: IntegerNetwork) -> Iterator[str]:
    latents = network.latents.size
    pixels = network.input.pixels
    if not network.input.low < network.input.high:
        yield f"input: expected low < high, got {network.input.low} and {network.input.high}"
    yield from _array("readout.weight", network.readout.weight, np.int16, (pixels, latents))
    if network.drive is not None:
        target = network.population(network.drive.target).size
        yield from _array("drive.weight", network.drive.weight, np.int32, (target, pixels))
        if network.drive.shift < 1 or network.drive.limit < 1:
            yield "drive: expected shift >= 1 and limit >= 1"


def _array(name: str, array: Any, dtype: Any, shape: tuple[int, ...]) -> Iterator[str]:
    if array.dtype != dtype or array.shape != shape:
        yield (
            f"{name}: expected {np.dtype(dtype).name} {list(shape)}, "
            f"got {array.dtype.name} {list(array.shape)}"
        )
