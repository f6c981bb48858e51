"""Any network, through Lava's and our ProcessModels, gives the reference's integers.

The models run in threads of this process (``lava_threads``); ``test_lava_engine`` starts Lava.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from pvae_neuro.network import (
    Activation,
    Constant,
    Dense,
    Encoding,
    Input,
    IntegerNetwork,
    OneToOne,
    Population,
    Sampler,
    Variable,
    shared,
    trace,
)
from pvae_neuro.network.interval import Interval
from pvae_neuro.network.random import random_inputs, random_network
from pvae_neuro.sim.lava.engine import LavaEngine
from pvae_neuro.sim.lava.plan import plan_network
from pvae_neuro.sim.reference import ReferenceEngine

needs_lava = pytest.mark.skipif(find_spec("lava") is None, reason="lava-nc is not installed")


def assert_equals_reference(network, images, iterations, seed=0, first_sample=0, **options):
    from lava_threads import run_job

    expected = ReferenceEngine().run(
        network, images, iterations, seed, record="full", first_sample=first_sample
    )
    last, variables = run_job(
        network, images, iterations, seed, first_sample=first_sample, **options
    )
    for name in network.variables:
        np.testing.assert_array_equal(variables[name], expected[name], err_msg=name)
        np.testing.assert_array_equal(last[name], expected.last[name], err_msg=name)


@needs_lava
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    samples=st.integers(1, 5),
    frames=st.sampled_from([None, 1, 2, 3]),
    iterations=st.integers(1, 5),
    width=st.integers(1, 3),
    piece_bytes=st.sampled_from([1, 3000, 1 << 20]),
)
def test_random_networks(seed, samples, frames, iterations, width, piece_bytes):
    rng = np.random.default_rng(seed)
    network = random_network(rng, large_counts=False)
    images = random_inputs(network, rng, samples, frames)
    width = min(width, samples)
    assert_equals_reference(
        network, images, iterations, seed, 11, width=width, piece_bytes=piece_bytes
    )


def leak_and_fire(n):
    """Leaky integrate-and-fire, as a user would write it: it sends what it emits, and resets."""
    v = n.shr(n.v * n.decay, n.bits) + n.received
    spike = n.clip(v, n.floor, n.ceiling) >= n.threshold
    n.v = n.select(spike, 0, n.clip(v, n.floor, n.ceiling))
    n.s = spike


def leaky(size: int = 9, weight: int = 40) -> IntegerNetwork:
    """A user's network: leaky neurons that excite each other and are driven by dense weights.

    Each reads what the others sent in the iteration before, initial values among it.
    """
    rng = np.random.default_rng(3)
    initial = (rng.random(size) < 0.5).astype(np.int32)
    neurons = Population(
        "cells",
        size,
        (Variable("v", shared(0)), Variable("s", initial, 2)),
        tuple(
            Constant(name, shared(value))
            for name, value in {
                "decay": 13, "bits": 4, "threshold": 900, "floor": -4000, "ceiling": 4000,
            }.items()
        ),
        (trace(leak_and_fire),),
    )  # fmt: skip
    recurrent = toy.mantissas(rng, (size, size), 8)
    return IntegerNetwork(
        name="leaky",
        input=Input(5, 0.0, 1.0, 6),
        encodings=(Encoding("light", "x"),),
        populations=(Population("light", 5, (Variable("x", shared(0)),)), neurons),
        connections=(
            Dense("drive", "light", "x", "cells", np.full((size, 5), weight, np.int8), -3),
            Dense("recurrent", "cells", "s", "cells", recurrent, -3),
        ),
        iteration=(Activation("cells", "leak_and_fire", ("drive", "recurrent")),),
    )


@needs_lava
@pytest.mark.parametrize("width", [1, 2])
def test_a_users_own_neuron_with_dense_input_in_frames(width):
    network = leaky()
    images = np.random.default_rng(0).random((3, 4, 5))
    assert_equals_reference(network, images, 3, width=width)


def half_filled(n):
    n.a = n.clip(n.coarse + n.fine, n.low, n.high)
    n.b = n.clip(n.shr(n.fine, n.shift), n.low, n.high)


@needs_lava
def test_sixteen_bit_weights_are_two_connections_with_exponents_of_their_own():
    rng = np.random.default_rng(4)
    target = Population(
        "wide",
        6,
        (Variable("a", shared(0)), Variable("b", shared(0))),
        (
            Constant("low", shared(-(1 << 22))),
            Constant("high", shared(1 << 22)),
            Constant("shift", shared(3)),
        ),
        (trace(half_filled),),
    )
    network = toy.lateral(2)
    parts = [
        Dense(name, "latents", "z", "wide", toy.mantissas(rng, (6, 12), 8), exponent, name)
        for name, exponent in (("coarse", 7), ("fine", -1))
    ]
    network = replace(
        network,
        populations=(*network.populations, target),
        connections=(*network.connections, *parts),
        iteration=(*network.iteration, Activation("wide", "half_filled", ("coarse", "fine"))),
    )
    assert {len(p.ports) for p in plan_network(network).values()} == {1, 2}
    assert_equals_reference(network, toy.images(network, 2), 5)


def remember(n):
    n.before = n.z
    n.z = n.draw(n.u)


@needs_lava
def test_two_populations_that_draw_and_a_part_that_nothing_joins():
    def counting(name: str, stream: int, log_rate: int) -> Population:
        return Population(
            name,
            8,
            (Variable("z", shared(0), 8), Variable("before", shared(3), 8)),
            (Constant("u", shared(log_rate)),),
            (trace(remember),),
            Sampler(63, 12, stream, first=5),
        )

    network = toy.predictive(5)
    network = replace(
        network,
        populations=(*network.populations, counting("alone", 1, 4000), counting("other", 2, 0)),
        iteration=(*network.iteration, *(Activation(n, "remember") for n in ("alone", "other"))),
        final=(Activation("other", "remember"), *network.final),
    )
    assert_equals_reference(network, toy.images(network, 3), 4, width=2, first_sample=1 << 40)


def test_inputs_that_reach_their_target_neuron_by_neuron_are_held_there():
    plans = plan_network(toy.predictive())
    assert set(plans) == {"latents", "errors"}
    assert plans["errors"].held == {"pixels": "pixels.x"}
    assert [p.name for p in plans["errors"].ports] == ["prediction_in"]
    doubled = toy.with_connection(toy.predictive(), "pixels", weight=np.full(20, 2, np.int8))
    assert set(plan_network(doubled)) == {"pixels", "latents", "errors"}


def test_connections_of_one_name_share_a_port_where_they_always_come_together():
    network = leaky()
    assert [p.connections for p in plan_network(network)["cells"].ports] == [("drive", "recurrent")]
    (together,) = network.iteration
    apart = replace(network, iteration=(together, replace(together, connections=("recurrent",))))
    plan = plan_network(apart)["cells"]
    assert [(p.name, p.connections) for p in plan.ports] == [
        ("received_in", ("drive",)),
        ("received_1_in", ("recurrent",)),
    ]


def test_what_lava_cannot_carry_is_named():
    def ranged(network, variable, high):
        """The network as if a variable reached so far: a proved one never does."""
        far = Interval(np.array([0]), np.array([high]))
        known = {**network.ranges.variables, variable: far}
        network.__dict__["ranges"] = replace(network.ranges, variables=known)
        return LavaEngine().unsupported(network)

    assert LavaEngine().unsupported(toy.predictive()) == []
    (wide,) = ranged(toy.predictive(), "errors.m", 1 << 24)
    assert "messages of errors.m can reach [0, 16777216], 26 bits; expected at most 24" in wide
    (sums,) = ranged(toy.predictive(), "errors.m", (1 << 23) - 1)
    assert "of connection 'feedback' can reach" in sums


@needs_lava
def test_names_that_lava_has_for_something_else():
    from pvae_neuro.sim.lava import build_lava

    def odd(n):
        n.phase = n.clip(n.run + n.phase, n.low, n.high)
        n.step = n.phase
        n.z_out = n.step

    names = ("phase", "step", "z_out", "time_step", "join")
    cells = Population(
        "cells",
        4,
        tuple(Variable(name, shared(1)) for name in names),
        (Constant("low", shared(-9)), Constant("high", shared(9000))),
        (trace(odd),),
    )
    network = IntegerNetwork(
        name="odd",
        input=Input(4, 0.0, 1.0, 6),
        encodings=(Encoding("light", "x"),),
        populations=(Population("light", 4, (Variable("x", shared(0)),)), cells),
        connections=(
            OneToOne("run", "light", "x", "cells", np.ones(4, np.int8), received_as="run"),
        ),
        iteration=(Activation("cells", "odd", ("run",)),),
    )
    process = build_lava(network).populations["cells"]
    assert len({id(process.variable(name)) for name in names}) == len(names)
    assert process.variable("phase") is process.phase_
    images = np.random.default_rng(0).random((2, 4))
    assert_equals_reference(network, images, 3)
