"""What neurons need of the core that they are placed on, counted for any cut of their population.

Synapses lie with the neurons that they end at. A connection whose target and source are many is
counted by its own product: of ones it gives the synapses of each neuron, and its transpose says
which sources reach a neuron. So no kind of connection is named here but one: an input that is
connected one to one is a word that the host sets in each neuron, and no synapse.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Connection, IntegerNetwork, OneToOne, Population, transpose_of
from pvae_neuro.network.sampler import EXP2_COEFFICIENTS
from pvae_neuro.placement.split import Slice

Ints = NDArray[np.int64]
Counts = dict[str, Ints]
"""Numbers of each part of a population, int64 [parts]."""
# Of a product that is worked on at once.
_VALUES = 1 << 24


class Fan:
    """Which neurons a connection connects.

    Parameters
    ----------
    connection : Connection
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._ones = np.ones(connection.weight.shape, np.float32)

    @cached_property
    def synapses(self) -> Ints:
        """Synapses of each target neuron, weights of 0 included: int64 [target]."""
        sources = np.ones((1, self.connection.shape[1]), np.float32)
        return np.rint(self.connection.product(sources, self._ones)[0]).astype(np.int64)

    @cached_property
    def is_complete(self) -> bool:
        """Whether every source reaches every target."""
        return bool((self.synapses == self.connection.shape[1]).all())

    def sources(self, slices: tuple[Slice, ...]) -> NDArray[np.bool_]:
        """Which sources reach each slice of the target: bool [slices, source]."""
        targets, sources = self.connection.shape
        if self.is_complete:
            return np.ones((len(slices), sources), bool)
        rows = max(1, _VALUES // self.connection.working_size)
        found = np.empty((len(slices), sources), bool)
        for first in range(0, len(slices), rows):
            some = slices[first : first + rows]
            marked = np.zeros((len(some), targets), np.float32)
            for row, ends in zip(marked, some, strict=True):
                row[slice(*ends)] = 1
            found[first : first + rows] = self._reaching(marked)
        return found

    def _reaching(self, marked: NDArray[np.float32]) -> NDArray[np.bool_]:
        c = self.connection
        if isinstance(c, OneToOne):
            return marked > 0
        back = transpose_of(c, c.name, c.target, c.variable, c.source)
        reached: NDArray[np.bool_] = back.product(marked, np.ones(back.weight.shape, "f4")) > 0
        return reached


class Demands:
    """Counts of a network's populations, for any cut.

    Parameters
    ----------
    network : IntegerNetwork
    """

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self.populations = tuple(p for p in network.populations if not p.is_input)
        inputs = {p.name for p in network.populations if p.is_input}
        self.host_sets = {
            c.name for c in network.connections if c.source in inputs and isinstance(c, OneToOne)
        }
        self.fans = {c.name: Fan(c) for c in network.connections if c.name not in self.host_sets}

    def into(self, population: str) -> list[Fan]:
        """Connections that end at a population and take synapses."""
        return [f for f in self.fans.values() if f.connection.target == population]

    def out_of(self, population: str) -> list[Fan]:
        """Connections that a population sends to."""
        return [f for f in self.fans.values() if f.connection.source == population]

    def count(self, population: Population, slices: tuple[Slice, ...]) -> Counts:
        """Everything but ``axons_out``, which depends on how the targets are cut."""
        name, sizes = population.name, np.array([last - first for first, last in slices])
        into = self.into(name)
        synapses, axons = np.zeros(len(slices), np.int64), np.zeros(len(slices), np.int64)
        for fan in into:
            added = np.concatenate([[0], np.cumsum(fan.synapses)])
            synapses += [added[last] - added[first] for first, last in slices]
            axons += fan.sources(slices).sum(axis=1)
        set_by_host = sum(
            c.target == name for c in self.network.connections if c.name in self.host_sets
        )
        sent = {f.connection.variable for f in self.out_of(name)}
        shared = sum(len(c.values) == 1 for c in population.constants)
        one_each = len(population.constants) - shared
        if population.sampler is not None:
            shared += len(EXP2_COEFFICIENTS) + population.sampler.max_count
        operations = sum(len(program.instructions) for program in population.programs)
        bounds = self.network.ranges.variables
        bits = max((bounds[f"{name}.{variable}"].bits for variable in sent), default=0)
        everywhere = np.ones(len(slices), np.int64)
        return {
            "synapses": synapses,
            "neurons": sizes,
            "axons_in": axons,
            "message_bits": bits * everywhere,
            "state": sizes * (len(population.variables) + set_by_host),
            "constants": sizes * one_each + shared,
            "messages": axons + sizes * len(sent),
            "operations": operations * everywhere,
            "cores": everywhere,
        }

    def destinations(self, connection: str, slices: Mapping[str, tuple[Slice, ...]]) -> Ints:
        """Number of cores that a message of each source goes to: int64 [source]."""
        fan = self.fans[connection]
        cut = slices[fan.connection.target]
        if fan.is_complete:
            return np.full(fan.connection.shape[1], len(cut), np.int64)
        return fan.sources(cut).sum(axis=0)

    def axons_out(self, population: str, slices: Mapping[str, tuple[Slice, ...]]) -> Ints:
        """Pairs of a neuron's message and a core that it goes to, of each part: int64 [parts]."""
        found = np.zeros(len(slices[population]), np.int64)
        for fan in self.out_of(population):
            reached = np.concatenate(
                [[0], np.cumsum(self.destinations(fan.connection.name, slices))]
            )
            found += [reached[last] - reached[first] for first, last in slices[population]]
        return found
