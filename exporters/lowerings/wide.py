"""Weights of two mantissas: a connection of more than 8 bits is two, coarse and fine.

Both end at the same neurons under names of their own, each with its exponent, and the programs read
their sum. So 16 bits of a weight take two 8-bit synapses, and no engine needs wider ones.
"""

from __future__ import annotations

from dataclasses import replace

from pvae_neuro.exporters.scales import halves
from pvae_neuro.network import Connection, Program
from pvae_neuro.network.program import reading

FINE = "_fine"


def parts(connection: Connection, fine_bits: int) -> tuple[Connection, ...]:
    """The connections that a connection with mantissas of ``8 + fine_bits`` bits becomes.

    Its exponent is that of the fine ones. Without fine bits it stays one.
    """
    if not fine_bits:
        return (replace(connection, weight=connection.weight.astype("int8")),)
    coarse, fine = halves(connection.weight, fine_bits)
    return (
        replace(connection, weight=coarse, exponent=connection.exponent + fine_bits),
        replace(
            connection,
            name=connection.name + FINE,
            weight=fine,
            received_as=connection.received_as + FINE,
        ),
    )


def summed(program: Program, received: str, fine_bits: int) -> Program:
    """The program that reads the sum of both parts where it read what is received."""
    if not fine_bits:
        return program
    return reading(program, received, lambda n: getattr(n, received) + getattr(n, received + FINE))
