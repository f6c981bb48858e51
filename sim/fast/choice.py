"""Which way computes each dense product: by activity, samples at once and processor.

The estimates of :mod:`ways` decide, and the activity of a network's last steps in this process. No
choice changes an integer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.fast.plan import tasks_of
from pvae_neuro.sim.fast.processor import level
from pvae_neuro.sim.fast.ways import WAYS, Task, ways_for
from pvae_neuro.utils.show import show

AUTO = "auto"
# Taken before anything was measured.
FIRST_ACTIVITY = 0.2
_ACTIVITY = "fast activity"


def check_products(products: str) -> str:
    """Return the name of a way, or ``auto``; raise :class:`InputError` if it is neither."""
    known = [AUTO, *dict.fromkeys(way.name for way in WAYS)]
    if products not in known:
        raise InputError(f"products: expected one of {', '.join(known)}; got {show(products)}")
    return products


def note_activity(network: IntegerNetwork, values_of: Callable[[str], NDArray[np.int32]]) -> None:
    """Keep the share of values that are not zero, for each variable that a product reads."""
    network.compiled[_ACTIVITY] = {
        task.source: float(np.count_nonzero(values_of(task.source)) / values_of(task.source).size)
        for task in tasks_of(network).values()
    }


def chosen_ways(network: IntegerNetwork, rows: int, products: str) -> dict[str, str]:
    """The name of the way of each product, for groups of so many samples."""
    tasks = tasks_of(network)
    # Activity in steps of 2 %: a choice is made anew where one of them changes.
    steps = tuple(round(50 * _activity(network, task)) for task in tasks.values())
    made: dict[Any, tuple[Any, dict[str, str]]] = network.compiled.setdefault("fast choices", {})
    known, choice = made.get((rows, products), (None, {}))
    if known != steps:
        choice = {
            name: _choose(_costs(network, task, rows), products) for name, task in tasks.items()
        }
        made[rows, products] = steps, choice
    return choice


def explained(network: IntegerNetwork, rows: int, products: str) -> list[str]:
    """A line for each product: its ways with their estimates, and the one that is taken."""
    measured = "as of late" if _ACTIVITY in network.compiled else "not measured yet"
    lines = [f"engine fast: instructions {level()}, {rows} samples at a time, activity {measured}"]
    for name, task in tasks_of(network).items():
        costs = _costs(network, task, rows)
        ways = ", ".join(f"{way} {cost:.2f} us" for way, cost in costs.items())
        lines.append(
            f"{name}: {task.targets} x {task.sources}, {100 * _activity(network, task):.1f} % of "
            f"{task.source} active: {ways} an image; takes {_choose(costs, products)}"
        )
    return lines


def _activity(network: IntegerNetwork, task: Task) -> float:
    found: dict[str, float] = network.compiled.get(_ACTIVITY, {})
    return found.get(task.source, FIRST_ACTIVITY)


def _costs(network: IntegerNetwork, task: Task, rows: int) -> dict[str, float]:
    share = _activity(network, task)
    return {name: way.cost(task, share, rows) for name, way in ways_for(task).items()}


def _choose(costs: dict[str, float], products: str) -> str:
    return products if products in costs else min(costs, key=lambda name: costs[name])
