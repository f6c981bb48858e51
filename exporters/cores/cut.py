"""A network cut over cores: what each core computes in which phase, and what it sends to others.

A core runs whole populations; a population that is too large for one is split first, by a
placement. All cores go through the same phases, and between two phases they exchange messages. A
phase ends where a population would read what another core has set in it, so that every read has the
value that the schedule of the network gives it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import Activation, Circuit, IntegerNetwork, Population
from pvae_neuro.utils.show import show

HOST = -1
WORD = "word"
MOST_NEURONS = 1 << 16
"""Neurons that the key of a message tells apart."""
Phase = tuple[Activation, ...]


@dataclass(frozen=True)
class Link:
    """A variable whose values travel as messages.

    Attributes
    ----------
    number : int
        Upper 16 bits of the key of its messages; the lower ones are the neuron.
    population, variable : str
        Random words are the variable ``word``.
    size : int
        Number of neurons.
    source : int
        Core that sends it, or ``HOST``.
    targets : tuple of int
        Cores that receive it, and ``HOST``.
    phases : tuple of int
        Phases at whose end it is sent. What the host sends has none: inputs come before the first
        phase of a run, words before the first phase of each step.
    """

    number: int
    population: str
    variable: str
    size: int
    source: int
    targets: tuple[int, ...]
    phases: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Core:
    """What one core runs.

    Attributes
    ----------
    number : int
    populations : tuple of str
        Those that it computes.
    circuit : Circuit
        These, their connections, and a copy of every variable that is sent to them from elsewhere,
        as inputs.
    phases : tuple of tuple of Activation
        Its activations in each phase.
    """

    number: int
    populations: tuple[str, ...]
    circuit: Circuit
    phases: tuple[Phase, ...]


@dataclass(frozen=True, eq=False)
class Cut:
    """A network cut over cores.

    Attributes
    ----------
    cores : tuple of Core
    iteration_phases : int
        The first phases, which every iteration goes through; the others are those of ``final``.
    links : tuple of Link
    """

    cores: tuple[Core, ...]
    iteration_phases: int
    links: tuple[Link, ...]

    @property
    def phases(self) -> int:
        """Number of phases."""
        return len(self.cores[0].phases)


def cut(network: IntegerNetwork, cores: Sequence[Sequence[str]] | None = None) -> Cut:
    """Cut a network.

    Parameters
    ----------
    network : IntegerNetwork
    cores : sequence of sequences of str, optional
        Names of the populations of each core; inputs belong to the host. By default every
        population has a core.

    Raises
    ------
    NetworkError
        If a population has no core or several, or more neurons than a message can name.
    """
    own = [p.name for p in network.populations if not p.is_input]
    given = [tuple(names) for names in cores] if cores is not None else [(name,) for name in own]
    if sorted(name for names in given for name in names) != sorted(own):
        raise NetworkError(f"cores: expected each of {show(own)} on one core, got {show(given)}")
    place = {name: number for number, names in enumerate(given) for name in names}
    iteration = list(_phases(network, network.iteration, place))
    phases = iteration + list(_phases(network, network.final, place))
    return Cut(
        tuple(
            Core(
                number,
                names,
                _circuit(network, number, names),
                tuple(tuple(a for a in phase if place[a.population] == number) for phase in phases),
            )
            for number, names in enumerate(given)
        ),
        len(iteration),
        tuple(_links(network, phases, len(iteration), place)),
    )


def _phases(
    network: IntegerNetwork, activations: tuple[Activation, ...], place: dict[str, int]
) -> Iterator[Phase]:
    phase: list[Activation] = []
    for activation in activations:
        here = place[activation.population]
        changed = {v for a in phase if place[a.population] != here for v in _sets(network, a)}
        if changed & _reads(network, activation):
            yield tuple(phase)
            phase = []
        phase.append(activation)
    if phase:
        yield tuple(phase)


def _sets(network: IntegerNetwork, activation: Activation) -> set[tuple[str, str]]:
    program = network.population_of[activation.population].program(activation.program)
    return {(activation.population, o.variable) for o in program.outputs}


def _reads(network: IntegerNetwork, activation: Activation) -> set[tuple[str, str]]:
    sending = (network.connection_of[name] for name in activation.connections)
    return {(c.source, c.variable) for c in sending}


def _circuit(network: IntegerNetwork, number: int, names: tuple[str, ...]) -> Circuit:
    connections = {c.name: c for c in network.connections if c.target in names}
    sent = {(c.source, c.variable) for c in connections.values()}
    copies = tuple(
        Population(p.name, p.size, variables)
        for p in network.populations
        if p.name not in names
        and (variables := tuple(v for v in p.variables if (p.name, v.name) in sent))
    )
    return Circuit(
        name=f"core_{number}",
        input=network.input,
        encodings=(),
        populations=(*copies, *(network.population_of[name] for name in names)),
        connections=tuple(
            # Weights of a connection that ends on another core are stored here too.
            c if c.shared is None or c.shared.connection in connections
            else replace(c, weight=np.ascontiguousarray(c.weight), shared=None)
            for c in connections.values()
        ),
        iteration=tuple(a for a in network.iteration if a.population in names),
        final=tuple(a for a in network.final if a.population in names),
    )  # fmt: skip


def _links(
    network: IntegerNetwork, phases: list[Phase], iteration_phases: int, place: dict[str, int]
) -> Iterator[Link]:
    numbers = count()
    targets: dict[tuple[str, str], set[int]] = {}
    for c in network.connections:
        here = place.get(c.source, HOST)
        if place[c.target] != here:
            targets.setdefault((c.source, c.variable), set()).add(place[c.target])
    for name in results(network):
        targets.setdefault(name, set()).add(HOST)
    for population in network.populations:
        source, size = place.get(population.name, HOST), population.size
        for variable in population.variables:
            name = population.name, variable.name
            cores = targets.get(name, set())
            after = [
                number
                for number, phase in enumerate(phases)
                if any(name in _sets(network, a) for a in phase)
                # The host asks for results alone.
                and (cores != {HOST} or number >= iteration_phases)
            ]
            if cores and size > MOST_NEURONS:
                raise NetworkError(
                    f"cores: {population.name}.{variable.name}: expected at most "
                    f"{MOST_NEURONS:,} neurons that send, got {size:,}; split the population"
                )
            if cores:
                yield Link(next(numbers), *name, size, source, tuple(sorted(cores)), tuple(after))
        if population in network.drawing:
            yield Link(next(numbers), population.name, WORD, size, HOST, (source,), ())


def results(network: IntegerNetwork) -> set[tuple[str, str]]:
    """Variables that the host is sent: the readout's, or counts that ``final`` draws, or all of it.

    A network that a placement has split may have lost its readout.
    """
    if network.readout is not None:
        return {(network.readout.population, network.readout.variable)}
    last = {name for a in network.final for name in _sets(network, a)}
    drawn = set()
    for activation in network.final:
        program = network.population_of[activation.population].program(activation.program)
        draws = {i.result for i in program.instructions if i.operation == "draw"}
        drawn |= {(activation.population, o.variable) for o in program.outputs if o.value in draws}
    return drawn or last
