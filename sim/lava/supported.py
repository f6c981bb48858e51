"""What Lava cannot run exactly. Knows nothing of Lava."""

from __future__ import annotations

import numpy as np

from pvae_neuro.network import Dense, IntegerNetwork
from pvae_neuro.network.interval import Interval
from pvae_neuro.network.operations import WORD_WIDTH
from pvae_neuro.sim.lava.timing import is_held

_INT32_MAX = (1 << 31) - 1


def lacking(network: IntegerNetwork) -> list[str]:
    """What keeps a network from running on Lava, one sentence each.

    A message has 24 bits, and Lava's ``Dense`` adds 32-bit integers without saturating, with
    doubled mantissas. A network whose ranges are proved keeps to both.
    """
    found = []
    used = {name for activation in network.activations for name in activation.connections}
    for connection in network.connections:
        if connection.name not in used or is_held(network, connection):
            continue
        sent = f"{connection.source}.{connection.variable}"
        message = network.ranges.variables[sent]
        if message.bits > WORD_WIDTH:
            found.append(
                f"lava: messages of {sent} can reach [{message.smallest}, {message.largest}], "
                f"{message.bits} bits; expected at most {WORD_WIDTH}"
            )
        elif isinstance(connection, Dense) and (reach := _largest(connection, message)):
            row, total = reach
            found.append(
                f"lava: row {row} of connection {connection.name!r} can reach {total}, twice "
                f"which overflows the 32-bit accumulator of Lava's Dense; send smaller values of "
                f"{sent}"
            )
    return found


def _largest(connection: Dense, message: Interval) -> tuple[int, int] | None:
    """Row and sum that overflow, if one does."""
    adding, _ = connection.reach(message)
    sums = np.maximum(np.abs(adding.low), np.abs(adding.high))
    row = int(sums.argmax())
    return (row, int(sums[row])) if 2 * int(sums[row]) > _INT32_MAX else None
