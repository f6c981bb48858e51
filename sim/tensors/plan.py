"""A network made ready for a device: formulas by proved bounds, weights, constants, thresholds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pvae_neuro.network import IntegerNetwork, Population
from pvae_neuro.network.interval import Interval
from pvae_neuro.network.program import Instruction
from pvae_neuro.network.ranges import ProvedActivation, proved_activations
from pvae_neuro.sim.tensors.draws import thresholds
from pvae_neuro.sim.tensors.interpreter import Act, State, Sum, act
from pvae_neuro.sim.tensors.library import placed, torch_library
from pvae_neuro.sim.tensors.operations import Formula, formula, shifted
from pvae_neuro.sim.tensors.products import delivered, merged
from pvae_neuro.sim.tensors.readout import Host

if TYPE_CHECKING:
    import torch


class Plan:
    """What one network needs on one device.

    Attributes
    ----------
    iteration, final : tuple of Act
    host : Host
        Encodings and readout.
    """

    def __init__(self, network: IntegerNetwork, device: torch.device) -> None:
        self.device = device
        self._network = network
        acts: dict[str, list[Act]] = {"iteration": [], "final": []}
        for proved in proved_activations(network, network.ranges.variables):
            acts[proved.part].append(self._act(proved))
        self.iteration, self.final = tuple(acts["iteration"]), tuple(acts["final"])
        self.host = Host(network, device)
        self._initial = {
            f"{p.name}.{v.name}": (placed(v.initial, device, "int32"), p.size)
            for p in network.populations
            for v in p.variables
        }

    def initial_state(self, samples: int) -> State:
        """Every variable at the start of a run."""
        return {name: v.expand(samples, size) for name, (v, size) in self._initial.items()}

    def _act(self, proved: ProvedActivation) -> Act:
        network, device, activation = self._network, self.device, proved.activation
        population = network.population_of[activation.population]
        received = {
            name: Sum(
                tuple(
                    (f"{c.source}.{c.variable}", delivered(c, weight, device))
                    for c, weight in merged(connections)
                ),
                partial(shifted, right=-connections[0].exponent),
            )
            for name, connections in network.groups(activation).items()
        }
        constants = {c.name: placed(c.values, device, "int32") for c in population.constants}
        literals = {str(n): placed(np.array([n]), device, "int32") for n in (0, 1)}
        return act(
            network,
            activation,
            received,
            {**constants, **literals},
            lambda i: self._formula(population, i, [proved.words[a] for a in i.arguments]),
        )

    def _formula(
        self, population: Population, instruction: Instruction, bounds: list[Interval]
    ) -> Formula:
        sampler = population.sampler
        if instruction.operation != "draw" or sampler is None:
            return formula(instruction.operation, bounds)
        reached = self._network.ranges.log_rates[population.name]
        return thresholds(
            reached.smallest, reached.largest, sampler.max_count, sampler.frac_bits, self.device
        ).draw


def plan_for(network: IntegerNetwork, device: torch.device) -> Plan:
    """The plan of a network, made at its first use."""
    plans = network.compiled.setdefault("torch", {})
    if str(device) not in plans:
        with torch_library().inference_mode():
            plans[str(device)] = Plan(network, device)
    plan: Plan = plans[str(device)]
    return plan
