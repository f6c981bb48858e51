"""A network as the graph of a stage. Builds processes; runs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.lava.board.parts import Parts
from pvae_neuro.sim.lava.build import separate_parts
from pvae_neuro.sim.lava.plan import Plan, plan_network

if TYPE_CHECKING:
    from pvae_neuro.sim.lava.board.stages import Stage


class Path(NamedTuple):
    """The way of a connection from neurons to neurons.

    Attributes
    ----------
    connection : str
    source, target : str
        Populations.
    variable, port : int
        Place of the variable in its population, and of the port in its plan.
    """

    connection: str
    source: str
    target: str
    variable: int
    port: int


@dataclass(frozen=True, eq=False)
class Wiring:
    """A network as connected processes of a stage.

    Attributes
    ----------
    network : IntegerNetwork
    stage : Stage
    parts : Parts
        Every process.
    plans : dict of str to Plan
    populations : dict of str to process
    paths : tuple of Path
    """

    network: IntegerNetwork
    stage: Stage
    parts: Parts
    plans: dict[str, Plan]
    populations: dict[str, Any]
    paths: tuple[Path, ...]

    @property
    def firsts(self) -> tuple[Any, ...]:
        """One process of each part of the graph that no connection joins; run them all."""
        carried = [
            name for plan in self.plans.values() for p in plan.ports for name in p.connections
        ]
        return separate_parts(self.network, self.populations, carried)


def wire(stage: Stage, parts: Parts, *, seed: int, first_step: int) -> Wiring:
    """Build the graph of a network.

    Raises
    ------
    NetworkError
        If ``Dense`` would not hold its mantissas exactly; names the connection.
    """
    network = parts.network
    plans = plan_network(network)
    populations = {
        name: stage.neurons(
            parts,
            network.population_of[name],
            plan,
            network.ranges.log_rates.get(name),
            seed=seed,
            first_step=first_step,
        )
        for name, plan in plans.items()
    }
    drives: dict[tuple[str, str], Any] = {}
    paths = []
    for name, plan in plans.items():
        for number, port in enumerate(plan.ports):
            takes = stage.from_cores(
                parts, getattr(populations[name], port.name), f"{name}_{port.name}"
            )
            for connection in (network.connection_of[c] for c in port.connections):
                sender = connection.source, connection.variable
                if sender not in drives:
                    sent = getattr(populations[sender[0]], f"{sender[1]}_out")
                    drives[sender] = stage.to_cores(parts, sent, "_".join(sender))
                dense = parts.dense(connection, stage.marks)
                drives[sender].connect(dense.s_in)
                dense.a_out.connect(takes)
                own = [v.name for v in network.population_of[sender[0]].variables]
                place = own.index(sender[1])
                paths.append(Path(connection.name, sender[0], name, place, number))
    if not populations:
        raise NetworkError(f"network {network.name!r}: expected a population with programs")
    return Wiring(network, stage, parts, plans, populations, tuple(paths))
