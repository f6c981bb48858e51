"""Which integer networks Lava's one step of delay per connection can carry exactly."""

from __future__ import annotations

import numpy as np

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import (
    ACCUMULATOR_MAX,
    Connection,
    ErrorPopulation,
    IntegerNetwork,
    PoissonPopulation,
    Population,
)

# Ports that a population has for connections: a_in and a_in_fine.
MAX_CONNECTIONS = 2
_INT32_MAX = (1 << 31) - 1


def check_supported(network: IntegerNetwork) -> None:
    """Raise :class:`NetworkError` if a part of the network cannot run on Lava; name it.

    The hops must form one ring that starts and ends at the latents, since each takes one step:
    whatever skips a hop would arrive at the wrong time.
    """
    targets = [hop.target for hop in network.schedule]
    latents = network.latents.name
    if targets[-1] != latents or len(set(targets)) != len(targets):
        raise NetworkError(
            f"lava: expected each population to be the target of one hop and {latents!r} of the "
            f"last, got {targets}; use engine 'reference'"
        )
    for population in network.populations:
        if population.name not in targets:
            raise NetworkError(f"lava: no hop of the schedule updates {population.name!r}")
        if isinstance(population, PoissonPopulation) and population.name != latents:
            raise NetworkError(
                f"lava: {population.name!r} is a second Poisson population; use engine 'reference'"
            )
    for number, hop in enumerate(network.schedule):
        _check_hop(network, number, hop.connections)
    for connection in network.connections:
        _check_range(network, connection)


def _check_hop(network: IntegerNetwork, number: int, connections: tuple[str, ...]) -> None:
    if not 1 <= len(connections) <= MAX_CONNECTIONS:
        raise NetworkError(
            f"lava: expected 1 or 2 connections per hop, got {list(connections)}; merge them, or "
            f"use engine 'reference'"
        )
    before = network.schedule[number - 1].target
    for name in connections:
        if network.connection(name).source != before:
            raise NetworkError(
                f"lava: connection {name!r} must start at {before!r}, which the hop before it "
                f"updates; use engine 'reference'"
            )


def _check_range(network: IntegerNetwork, connection: Connection) -> None:
    """Raise if a message exceeds 24 bits, or twice a product the accumulator of Lava's Dense.

    It adds 32-bit integers without saturating, and holds twice the mantissa.
    """
    source = network.population(connection.source)
    field = "message_limit" if isinstance(source, ErrorPopulation) else "max_count"
    largest = largest_message(source)
    if largest > ACCUMULATOR_MAX:
        raise NetworkError(
            f"lava: expected messages of {source.name!r} below 2**23, got {field} {largest}"
        )
    norm = np.abs(connection.weight.astype(np.int64)).sum(axis=1)
    row = int(norm.argmax())
    reach = int(norm[row]) * largest
    if 2 * reach > _INT32_MAX:
        raise NetworkError(
            f"lava: row {row} of connection {connection.name!r} can reach {reach}, which overflows "
            f"the 32-bit accumulator of Lava's Dense; lower {field} of {source.name!r}"
        )


def largest_message(population: Population) -> int:
    """Largest absolute graded spike that a population sends."""
    if isinstance(population, ErrorPopulation):
        return population.message_limit
    return population.table.max_count


def phase_of(network: IntegerNetwork, population: str) -> int:
    """Step of an iteration on which a population acts: 0 for the latents."""
    targets = [hop.target for hop in network.schedule]
    return (targets.index(population) + 1) % len(targets)
