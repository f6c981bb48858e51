"""Random networks: proved, varied, and repeatable."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pvae_neuro.network import CONNECTION_KINDS, OPERATIONS
from pvae_neuro.network.network import same
from pvae_neuro.network.random import random_network, random_networks

NETWORKS = 300
SHARE = 0.05


@pytest.fixture(scope="module")
def networks():
    return [random_network(np.random.default_rng(seed)) for seed in range(NETWORKS)]


def features(network):
    """What a network has of all that an engine must have."""
    yield from network.operations
    yield from network.connection_kinds
    yield f"{sum(not p.is_input for p in network.populations)} populations"
    yield f"{sum(p.is_input for p in network.populations)} inputs"
    groups = [network.groups(a) for a in network.activations]
    names = [c.shared for c in network.connections if c.shared is not None]
    sizes = {p.size for p in network.populations}
    activated = Counter(a.population for a in network.iteration)
    constants = [c.values for p in network.populations for c in p.constants]
    given = {
        "weights shared, transposed": any(s.transposed for s in names),
        "several connections under one name": any(len(c) > 1 for g in groups for c in g.values()),
        "several names at once": any(len(g) > 1 for g in groups),
        "several populations draw": len(network.drawing) > 1,
        "words from the middle of a stream": any(p.sampler.first for p in network.drawing),
        "a population acts several times": any(n > 1 for n in activated.values()),
        "final": bool(network.final),
        "draws at the end": any(a.population in _drawing(network) for a in network.final),
        "odd size": any(size % 2 and size > 1 for size in sizes),
        "one neuron": 1 in sizes,
        "readout": network.readout is not None,
        "readout by its own weights": network.readout is not None
        and network.readout.weight is not None,
        "no readout": network.readout is None,
        "weighted encoding": any(e.weight is not None for e in network.encodings),
        "pixels as they are": any(e.weight is None for e in network.encodings),
        "constant per neuron": any(len(values) > 1 for values in constants),
        "constant for all": any(len(values) == 1 for values in constants),
        "counts above 127": any(p.sampler.max_count > 127 for p in network.drawing),
    }
    yield from (name for name, has in given.items() if has)


def _drawing(network):
    return {p.name for p in network.drawing}


def test_networks_have_all_that_there_is(networks):
    seen = Counter(feature for network in networks for feature in set(features(network)))
    expected = {*OPERATIONS, *CONNECTION_KINDS, *(f"{n} populations" for n in (1, 2, 3, 4))}
    expected |= {"0 inputs", "1 inputs", "2 inputs"}
    expected |= {feature for network in networks for feature in features(network)}
    rare = {name: seen[name] for name in expected if seen[name] < SHARE * NETWORKS}
    assert rare == {}
    # These need sizes that happen to fit.
    assert sum(n.readout is not None and n.readout.connection is not None for n in networks) >= 3
    assert sum(any(_is_sliced(c) for c in n.connections) for n in networks) >= 3


def _is_sliced(connection):
    shared = connection.shared
    return shared is not None and (shared.rows is not None or shared.columns is not None)


def test_networks_are_proved(networks):
    for network in networks:
        network.require_proof()
        assert all(1 <= p.size <= 40 for p in network.populations)


def test_one_seed_gives_one_network():
    a, b = (random_network(np.random.default_rng(7)) for _ in range(2))
    assert a == b
    assert a != random_network(np.random.default_rng(8))


def test_networks_of_one_structure():
    networks = random_networks(np.random.default_rng(3), 3)
    programs = [
        [(p.name, program) for p in n.populations for program in p.programs] for n in networks
    ]
    for other in programs[1:]:
        assert all(a == b and same(x, y) for (a, x), (b, y) in zip(programs[0], other, strict=True))
    assert networks[0].iteration == networks[1].iteration == networks[2].iteration
    assert len({tuple(p.size for p in n.populations) for n in networks}) > 1
    assert networks[0] != networks[1]


def test_chosen_operations_and_kinds():
    operations, kinds = ("add", "shr", "min", "max"), ("dense", "one_to_one")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        network = random_network(rng, operations=operations, connection_kinds=kinds)
        assert network.operations <= set(operations)
        assert network.connection_kinds <= set(kinds)
        assert network.drawing == ()


def test_small_counts():
    for seed in range(20):
        network = random_network(np.random.default_rng(seed), large_counts=False)
        assert all(p.sampler.max_count <= 127 for p in network.drawing)
