"""Proved bounds of every word at every activation, which widths and ways are chosen by."""

from __future__ import annotations

from dataclasses import dataclass

from pvae_neuro.network import OPERATIONS, Activation, IntegerNetwork, Interval
from pvae_neuro.network.interval import point, shift_bounds
from pvae_neuro.network.ranges import Bounds


@dataclass(frozen=True, eq=False)
class Proved:
    """One activation with its bounds.

    Attributes
    ----------
    part : str
        ``iteration`` or ``final``.
    activation : Activation
    sent : dict of str to Interval
        Values that each connection sends.
    words : dict of str to Interval
        What the program reads and computes, by name.
    """

    part: str
    activation: Activation
    sent: dict[str, Interval]
    words: dict[str, Interval]


def proved_activations(network: IntegerNetwork) -> list[Proved]:
    """Follow the schedule once from the invariant of :attr:`IntegerNetwork.ranges`."""
    bounds = dict(network.ranges.variables)
    found = []
    for part in ("iteration", "final"):
        for activation in getattr(network, part):
            found.append(_prove(network, part, activation, bounds))
    return found


def _prove(network: IntegerNetwork, part: str, activation: Activation, bounds: Bounds) -> Proved:
    """Bounds of one activation; those of the variables that it sets are updated."""
    population = network.population_of[activation.population]
    program = population.program(activation.program)
    words = {"0": point(0), "1": point(1)}
    words.update({v.name: bounds[f"{population.name}.{v.name}"] for v in population.variables})
    words.update({c.name: point(c.values) for c in population.constants})
    sent = {}
    for name, connections in network.groups(activation).items():
        total = None
        for c in connections:
            sent[c.name] = bounds[f"{c.source}.{c.variable}"]
            _, finished = c.reach(sent[c.name])
            total = finished if total is None else OPERATIONS["add"].interval(total, finished)
        if total is not None:
            words[name] = shift_bounds(total, point(-connections[0].exponent))
    for i in program.instructions:
        arguments = [words[a] for a in i.arguments]
        if i.operation == "draw" and population.sampler is not None:
            words[i.result] = OPERATIONS["draw"].interval(population.sampler.max_count)
        else:
            words[i.result] = OPERATIONS[i.operation].interval(*arguments)
    bounds.update({f"{population.name}.{o.variable}": words[o.value] for o in program.outputs})
    return Proved(part, activation, sent, words)
