"""Text listing of a network: it reads like the circuit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pvae_neuro.network.circuit import Circuit
from pvae_neuro.network.connection import Connection
from pvae_neuro.network.operations import OPERATIONS
from pvae_neuro.network.population import Population
from pvae_neuro.network.program import Program
from pvae_neuro.utils.arguments import checked


@checked
def listing(circuit: Circuit) -> str:
    """Populations with their programs, connections, and the schedule, as text."""
    return "\n".join(_lines(circuit)) + "\n"


def _lines(circuit: Circuit) -> Iterator[str]:
    yield f"network {circuit.name}"
    yield ""
    for encoding in circuit.encodings:
        how = "encoded pixel"
        if encoding.weight is not None:
            rows, columns = encoding.weight.shape
            how = (
                f"clip((W[{rows} x {columns}] x) >> {encoding.shift}, "
                f"-{encoding.limit}, {encoding.limit})"
            )
        yield f"host sets {encoding.population}.{encoding.variable} = {how}"
    yield ""
    for population in circuit.populations:
        yield from _population(population)
        yield ""
    for connection in circuit.connections:
        yield _connection(connection)
    yield ""
    yield "every iteration"
    yield from (f"  {activation}" for activation in circuit.iteration)
    if circuit.final:
        yield "after the last iteration"
        yield from (f"  {activation}" for activation in circuit.final)
    if circuit.readout is not None:
        yield ""
        yield f"host reads {circuit.readout.population}.{circuit.readout.variable}"


def _population(population: Population) -> Iterator[str]:
    yield f"population {population.name}: {population.size} neurons"
    for variable in population.variables:
        initial = _values(variable.initial)
        yield f"  variable {variable.name}: {variable.bits} bits, initial {initial}"
    for constant in population.constants:
        yield f"  constant {constant.name} = {_values(constant.values)}"
    if population.sampler is not None:
        s = population.sampler
        yield (
            f"  draws counts to {s.max_count} of a log-rate in units of 2^-{s.frac_bits}; "
            f"stream {s.stream}, from {s.first}"
        )
    for program in population.programs:
        received = ", ".join(population.received_names(program))
        yield f"  program {program.name}({received})"
        yield from (f"    {line}" for line in program_lines(program))


def program_lines(program: Program) -> Iterator[str]:
    """Yield a line for each instruction and each output of a program."""
    for i in program.instructions:
        text = OPERATIONS[i.operation].text.format(*i.arguments)
        yield f"{i.result} = {text.removesuffix(' >> 0')}"
    for output in program.outputs:
        yield f"{output.variable} <- {output.value}"


def _values(values: object) -> str:
    array = np.asarray(values)
    if len(array) == 1:
        return f"{array[0]}"
    return f"[{len(array)}] {array.min()} .. {array.max()}"


def _connection(c: Connection) -> str:
    size = " x ".join(str(n) for n in c.weight.shape)
    text = f"connection {c.name}: {c.source}.{c.variable} -> {c.target}.{c.received_as}, {c.kind}"
    text += f" [{size}] * 2^{c.exponent}{c.details}"
    if c.shared is not None:
        text += f", weights of {c.shared.connection}"
    return text
