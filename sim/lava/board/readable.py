"""When a variable can be read from outside. Knows nothing of Lava.

A variable is read in the step of the last activation that sets it in an iteration: another one of
the population may act for the next iteration in the step in which this one ends.
"""

from __future__ import annotations

from collections.abc import Iterator

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.lava.plan import Plan, plan_network


def last_set(network: IntegerNetwork, plans: dict[str, Plan]) -> dict[str, int]:
    """Phase, by ``population.variable``, of the last activation of an iteration that sets it."""
    found: dict[str, int] = {}
    for variable, phase in _set(network, plans):
        found[variable] = phase
    return found


def unreadable(network: IntegerNetwork) -> list[str]:
    """Variables that two iterations set in one step, so that the first value cannot be read."""
    plans = plan_network(network)
    last = last_set(network, plans)
    period = next(iter(plans.values())).timing.period
    return [
        f"engine loihi2 cannot read {variable}: two iterations set it in one step"
        for variable, phase in dict(reversed(list(_set(network, plans)))).items()
        if phase + period <= last[variable]
    ]


def _set(network: IntegerNetwork, plans: dict[str, Plan]) -> Iterator[tuple[str, int]]:
    for name, plan in plans.items():
        population = network.population_of[name]
        for action in plan.iteration:
            for output in population.program(action.program).outputs:
                yield f"{name}.{output.variable}", action.phase
