"""Engines with one small fault each: what a parity check must not let pass.

As a pytest plugin (``-p faulty_engines``) it makes them known by name.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from unittest.mock import patch

import numpy as np

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim import engine, reference
from pvae_neuro.sim.engine import Block, BlockResult
from pvae_neuro.sim.reference import ReferenceEngine


class Faulty(ReferenceEngine):
    """The reference with something replaced while it runs a block."""

    def fault(self, network: IntegerNetwork) -> AbstractContextManager:
        raise NotImplementedError

    def run_block(self, block: Block) -> BlockResult:
        with self.fault(block.network):
            return super().run_block(block)


class WeightOffByOne(Faulty):
    """One mantissa of what the latents receive is off by one."""

    name = "weight_off_by_one"

    def fault(self, network):
        received = reference.receive

        def off(net, activation, state):
            values = received(net, activation, state)
            name = activation.connections[-1] if activation.connections else ""
            if activation.population == net.latents.name and name:
                connection = net.connection_of[name]
                sent = state[f"{connection.source}.{connection.variable}"]
                values = dict(values)
                # One more unit of weight from the source that sends most.
                busiest = np.abs(sent).sum(axis=0).argmax()
                values[connection.received_as] = values[connection.received_as].copy()
                values[connection.received_as][:, 0] += sent[:, busiest] << max(
                    connection.exponent, 0
                )
            return values

        return patch.object(reference, "receive", off)


class NoiseWordChanged(Faulty):
    """One random word of one step of one neuron is another."""

    name = "noise_word_changed"

    def fault(self, network):
        drawn = reference.population_noise

        def changed(*place):
            words = drawn(*place)
            # The largest word makes any neuron spike; any other might change no count.
            words[0, 1, 0] = 65535
            return words

        return patch.object(reference, "population_noise", changed)


class OneStepLate(Faulty):
    """What the last connections of an iteration deliver arrives one iteration late."""

    name = "one_step_late"

    def fault(self, network):
        received = reference.receive
        waiting: list[dict[str, np.ndarray]] = []

        def late(net, activation, state):
            now = received(net, activation, state)
            if activation is not net.iteration[-1]:
                return now
            waiting.append(now)
            if len(waiting) > 1:
                return waiting[-2]
            return {name: np.zeros_like(value) for name, value in now.items()}

        return patch.object(reference, "receive", late)


for fault in (WeightOffByOne, NoiseWordChanged, OneStepLate):
    engine.ENGINES.setdefault(fault.name, f"{__name__}:{fault.__name__}")
