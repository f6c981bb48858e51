"""What each population does on Lava, and when: its ports, held inputs and timetable.

Knows nothing of Lava. Connections that are received together in every activation share a port,
where Lava adds them up; an input that reaches its target neuron by neuron has no connection at all,
but is held there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pvae_neuro.network import Activation, IntegerNetwork
from pvae_neuro.sim.lava.timing import Timing, is_held, network_timing


@dataclass(frozen=True)
class Port:
    """A port of a population.

    Attributes
    ----------
    name : str
    connections : tuple of str
        What arrives there.
    """

    name: str
    connections: tuple[str, ...]


@dataclass(frozen=True)
class Sum:
    """What a program reads under one name.

    Attributes
    ----------
    name : str
    ports, held : tuple of str
        Ports, and connections whose source's values are held, that add up.
    exponent : int
        Power of two that turns the sum into the population's unit.
    """

    name: str
    ports: tuple[str, ...]
    held: tuple[str, ...]
    exponent: int


@dataclass(frozen=True)
class Action:
    """An activation of one population.

    Attributes
    ----------
    program : str
    phase : int
        In Lava steps from the start of its iteration.
    sums : tuple of Sum
    """

    program: str
    phase: int
    sums: tuple[Sum, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a population does.

    Attributes
    ----------
    timing : Timing
    ports : tuple of Port
    held : dict of str to str
        Connection to ``population.variable`` whose values its target holds.
    iteration, final : tuple of Action
        In order.
    load : int or None
        Phase on which an input population takes on the values of the iteration's frame.
    sending : dict of str to frozenset of int
        For each variable that travels, the steps of the period on which what is sent is used.
    counts_progress : bool
        Whether the end of this population's iteration is that of the network's.
    """

    timing: Timing
    ports: tuple[Port, ...]
    held: dict[str, str]
    iteration: tuple[Action, ...]
    final: tuple[Action, ...]
    load: int | None
    sending: dict[str, frozenset[int]]
    counts_progress: bool

    def phases_of(self, connection: str) -> tuple[int, ...]:
        """Phases of the iteration's activations that read a held input."""
        return tuple(a.phase for a in self.iteration if any(connection in s.held for s in a.sums))

    @property
    def end(self) -> int:
        """Phase after whose activations the population's iteration is over."""
        return max((a.phase for a in self.iteration), default=0)


def plan_network(network: IntegerNetwork) -> dict[str, Plan]:
    """Plan of every population that needs a process, by name."""
    timed = network_timing(network)
    used = {name for a in network.activations for name in a.connections}
    held = {
        c.name: f"{c.source}.{c.variable}"
        for c in network.connections
        if c.name in used and is_held(network, c)
    }
    phases = timed.timing.iteration[len(timed.loads) :]
    iteration = list(zip(network.iteration, phases, strict=True))
    final = list(zip(network.final, timed.timing.final, strict=True))
    slowest = max(iteration, key=lambda pair: pair[1])[0].population
    plans = {}
    for population in network.populations:
        name = population.name
        if population.is_input and name not in timed.loads:
            continue
        ports = _ports(network, name, held)
        plans[name] = Plan(
            timing=timed.timing,
            ports=ports,
            held={c: v for c, v in held.items() if network.connection_of[c].target == name},
            iteration=_actions(network, name, iteration, ports),
            final=_actions(network, name, final, ports),
            load=timed.loads.get(name),
            sending={
                variable.partition(".")[2]: steps
                for variable, steps in timed.sending.items()
                if variable.partition(".")[0] == name
            },
            counts_progress=name == slowest,
        )
    return plans


def _ports(network: IntegerNetwork, population: str, held: dict[str, str]) -> tuple[Port, ...]:
    """One port for connections that every activation receives under one name, or none of them."""
    together: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for connection in network.connections:
        if connection.target != population or connection.name in held:
            continue
        receiving = tuple(
            number
            for number, activation in enumerate(network.activations)
            if connection.name in activation.connections
        )
        if receiving:
            together.setdefault((connection.received_as, receiving), []).append(connection.name)
    found: list[Port] = []
    for (received_as, _), connections in together.items():
        before = sum(port.name.startswith(f"{received_as}_") for port in found)
        name = f"{received_as}_{before}_in" if before else f"{received_as}_in"
        found.append(Port(name, tuple(connections)))
    return tuple(found)


def _actions(
    network: IntegerNetwork,
    population: str,
    timed: Sequence[tuple[Activation, int]],
    ports: tuple[Port, ...],
) -> tuple[Action, ...]:
    return tuple(
        Action(activation.program, phase, tuple(_sums(network, activation, ports)))
        for activation, phase in timed
        if activation.population == population
    )


def _sums(network: IntegerNetwork, activation: Activation, ports: tuple[Port, ...]) -> list[Sum]:
    found = []
    for name, connections in network.groups(activation).items():
        delivered = [c.name for c in connections]
        arriving = tuple(p.name for p in ports if set(p.connections) & set(delivered))
        on_ports = {c for p in ports for c in p.connections}
        still = tuple(c for c in delivered if c not in on_ports)
        found.append(Sum(name, arriving, still, connections[0].exponent))
    return found
