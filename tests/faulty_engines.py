"""Engines with one small fault each: what a parity check must not let pass.

As a pytest plugin (``-p faulty_engines``) it makes them known by name.
"""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np

from pvae_neuro.sim import engine, reference
from pvae_neuro.sim.reference import ReferenceEngine


class WeightOffByOne(ReferenceEngine):
    """One mantissa of the connection that drives the latents is off by one."""

    name = "weight_off_by_one"

    def run(self, network, inputs, steps, seed, **options):
        *others, last = network.connections
        counts = ReferenceEngine().run(network, inputs, steps, seed, record="full").counts
        # Onto a neuron that is awake, from a source that spikes: elsewhere nothing could show.
        busy = np.argsort(counts.sum(axis=(0, 1)))[::-1]
        target, source = busy[0], busy[1] if last.source == network.latents.name else 0
        weight = last.weight.copy()
        weight[target, source] += -1 if weight[target, source] == 127 else 1
        faulty = replace(network, connections=(*others, replace(last, weight=weight)))
        return super().run(faulty, inputs, steps, seed, **options)


class NoiseWordChanged(ReferenceEngine):
    """One random word of one step of one neuron is another."""

    name = "noise_word_changed"

    def run(self, network, inputs, steps, seed, **options):
        drawn = reference.noise

        def changed(*place):
            words = drawn(*place)
            # The largest word makes any neuron spike; any other might change no count.
            words[0, 1, 0] = 65535
            return words

        with patch.object(reference, "noise", changed):
            return super().run(network, inputs, steps, seed, **options)


class OneStepLate(ReferenceEngine):
    """What the last hop delivers arrives one iteration late."""

    name = "one_step_late"

    def run(self, network, inputs, steps, seed, **options):
        received = reference.receive
        waiting = []

        def late(net, hop, emitted):
            now = received(net, hop, emitted)
            if hop is not net.schedule[-1]:
                return now
            waiting.append(now)
            same_block = len(waiting) > 1 and waiting[-2].shape == now.shape
            return waiting[-2] if same_block else np.zeros_like(now)

        with patch.object(reference, "receive", late):
            return super().run(network, inputs, steps, seed, **options)


for fault in (WeightOffByOne, NoiseWordChanged, OneStepLate):
    engine.ENGINES.setdefault(fault.name, f"{__name__}:{fault.__name__}")
