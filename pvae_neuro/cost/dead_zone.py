"""A dead zone: neurons send their error only where it is large. It changes the network."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from pvae_neuro.cost.counts import carrying
from pvae_neuro.errors import InputError
from pvae_neuro.network import (
    Constant,
    IntegerNetwork,
    Measurements,
    Population,
    Program,
    shared,
)
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.network.program import Instruction, Output
from pvae_neuro.sim.noise import check_whole
from pvae_neuro.utils.arguments import checked

DEAD_ZONE = "dead_zone"


@checked
def error_variables(network: IntegerNetwork) -> tuple[str, ...]:
    """Errors that are sent, as ``population.variable``.

    Messages that may be negative, of populations that compare something with an input; not those
    of the latents.
    """
    latents = network.latents
    inputs = {p.name for p in network.populations if p.is_input}
    comparing = {c.target for c in network.connections if c.source in inputs}
    comparing.discard("" if latents is None else latents.name)
    sent = dict.fromkeys(
        f"{c.source}.{c.variable}" for c in carrying(network) if c.source in comparing
    )
    return tuple(name for name in sent if network.ranges.variables[name].smallest < 0)


@checked
def with_dead_zone(
    network: IntegerNetwork, threshold: int, variables: Sequence[str] | None = None
) -> IntegerNetwork:
    """The network whose error neurons send a message only where its magnitude exceeds a threshold.

    Parameters
    ----------
    network : IntegerNetwork
    threshold : int
        In units of the message; 0 changes no integer.
    variables : sequence of str, optional
        ``population.variable`` of the messages; by default :func:`error_variables`.

    Returns
    -------
    IntegerNetwork
        Another network, without the measurements of the old one.

    Raises
    ------
    InputError
        If the network has no such messages, or has a dead zone already.
    """
    threshold = check_whole("dead zone", threshold, 0, WORD_MAX)
    chosen = error_variables(network) if variables is None else tuple(variables)
    if not chosen:
        raise InputError(
            f"dead zone: the network {network.name!r} has no error neurons that send; expected a "
            f"circuit such as predictive"
        )
    for name in chosen:
        if name not in network.variables:
            known = ", ".join(network.variables)
            raise InputError(f"dead zone: expected variables of {known}; got {name!r}")
    by_population: dict[str, set[str]] = {}
    for name in chosen:
        population, _, variable = name.partition(".")
        by_population.setdefault(population, set()).add(variable)
    return replace(
        network,
        populations=tuple(
            _quieter(p, by_population[p.name], threshold) if p.name in by_population else p
            for p in network.populations
        ),
        measurements=Measurements(),
    )


def _quieter(population: Population, variables: Collection[str], threshold: int) -> Population:
    if DEAD_ZONE in {c.name for c in population.constants}:
        raise InputError(f"dead zone: {population.name!r} has one already")
    return replace(
        population,
        constants=(*population.constants, Constant(DEAD_ZONE, shared(threshold))),
        programs=tuple(_cut(program, variables) for program in population.programs),
    )


def _cut(program: Program, variables: Collection[str]) -> Program:
    """The program that stores 0 where the magnitude of a variable is within the dead zone."""
    instructions, outputs = list(program.instructions), []
    for output in program.outputs:
        if output.variable not in variables:
            outputs.append(output)
            continue
        size, small, value = (f"t{len(instructions) + n}" for n in range(3))
        instructions += [
            Instruction("abs", (output.value,), size),
            Instruction("ge", (DEAD_ZONE, size), small),
            Instruction("select", (small, "0", output.value), value),
        ]
        outputs.append(Output(output.variable, value))
    return replace(program, instructions=tuple(instructions), outputs=tuple(outputs))
