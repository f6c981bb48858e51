"""Counts of a run made in another way than the package's: step by step, with plain matrices.

The definition runs each activation; each draw is done in Python's own integers, operation by
operation, each of which counts itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from unittest import mock

import numpy as np

from pvae_neuro.network import sampler
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.reference import activate, initial_state

SAMPLER = "pvae_neuro.sim.reference.sample_counts"


class Core:
    """A neuron core that counts what it does."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.inverses = 0

    def __getattr__(self, name):
        def run(*arguments):
            self.operations[name.strip("_")] += 1
            return _MEANINGS[name.strip("_")](*arguments)

        return run

    def exp2(self, fraction):
        value = sampler.EXP2_COEFFICIENTS[0]
        for coefficient in sampler.EXP2_COEFFICIENTS[1:]:
            value = self.add(self.mul(value, fraction, 16), coefficient)
        return value

    def draw(self, u, word, max_count, frac_bits):
        """The rule of ``pvae_neuro/network/sampler.py``, as its head says."""
        q = sampler.rate_bits(max_count)
        t = self.mul(u, sampler.LOG2_E, frac_bits + 6)
        f = self.and_(t, 65535)
        i = self.shr(self.sub(t, f), 16)
        if self.ge(-2, i):
            left = self.max(self.shl(1, self.add(17, i)), 1)
            if self.below(word, self.sub(65535, left)):
                return 0
        r = self.shr(self.exp2(f), self.sub(22 - q, i))
        if self.ge(-1, i) and self.below(word, self.sub(65534, self.floor(r, q - 16))):
            return 0
        x = self.mul(r, sampler.LOG2_E, q + 6)
        fraction = self.and_(self.neg(x), 65535)
        s = self.shr(self.add(x, fraction), 16)
        p, c = self.exp2(fraction), 0
        z = 0
        while True:
            c = self.add(c, self.shr(p, s))
            # All three ends are looked at in each pass.
            ends = self.below(word, self.shr(c, 6)), self.ge(z, max_count), self.ge(0, p)
            if any(ends):
                return z
            self.inverses += 1
            z = self.add(z, 1)
            factor = self.mul(r, sampler.inverse(z), 22)
            shift, product = q, p * factor
            p = self.mul(p, factor, q)
            while self.ge(p, 1 << 22) and self.ge(s, 1):
                shift, s = self.add(shift, 1), self.sub(s, 1)
                p = self.shr(product, shift)

    def below(self, a, b):
        self.operations["ge"] += 1
        return a < b

    def floor(self, value, amount):
        self.operations["shr"] += 1
        return value >> amount if amount >= 0 else value << -amount


def _right(value, amount):
    if amount < 0:
        return value << -amount
    return (value + ((1 << amount) >> 1)) >> amount


_MEANINGS = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "neg": lambda a: -a,
    "mul": lambda a, b, s: _right(a * b, s), "shr": _right, "shl": lambda a, s: _right(a, -s),
    "and": lambda a, b: a & b, "max": max, "ge": lambda a, b: int(a >= b),
}  # fmt: skip


class Synapses:
    """Synapses of each source of a connection, found by sending a one from it."""

    def __init__(self, connection):
        ones = np.ones_like(connection.weight)
        self.full = replace(connection, weight=ones, shared=None)
        self.nonzero = replace(connection, weight=(connection.weight != 0) * ones, shared=None)
        self.known = {}
        self.all_of_them = int(self.full.apply(np.ones((1, connection.shape[1]), int)).sum())

    def of(self, source):
        """How many there are, and how many have a weight other than 0."""
        if source not in self.known:
            one = np.zeros((1, self.full.shape[1]), np.int64)
            one[0, source] = 1
            self.known[source] = tuple(int(c.apply(one).sum()) for c in (self.full, self.nonzero))
        return self.known[source]


def activated(network, activation, state, words):
    """Run an activation; return the log-rates that it draws counts of."""
    drawn = []

    def spy(u, *rest):
        drawn.append(u)
        return sampler.sample_counts(u, *rest)

    with mock.patch(SAMPLER, spy):
        activate(network, activation, state, words)
    return drawn


def counted(network, images, steps, seed):
    """Counts of each image, iteration (the last one is ``final``) and population, and kinds.

    Returns
    -------
    counts : dict of (sample, step, population, quantity) to int
    kinds : dict of (population, kind) to int
        Without ``final``.
    """
    found: Counter[tuple] = Counter()
    kinds: Counter[tuple] = Counter()
    ranges = network.ranges.variables
    synapses = {c.name: Synapses(c) for c in network.connections}
    x = network.input.encode(network.input.check(images))
    for sample in range(len(images)):
        state = initial_state(network, 1)
        for e in network.encodings:
            state[f"{e.population}.{e.variable}"] = e.apply(x[sample : sample + 1])
        words = {
            p.name: population_noise(p, seed, range(steps + 1), [sample])[0]
            for p in network.drawing
        }
        for step in range(steps + 1):
            now = {name: w[step : step + 1] for name, w in words.items()}
            for activation in network.final if step == steps else network.iteration:
                population = network.population_of[activation.population]
                at = sample, step

                def add(name, quantity, value, at=at):
                    found[(*at, name, quantity)] += int(value)

                for name in activation.connections:
                    c = network.connection_of[name]
                    held = (
                        network.population_of[c.source].is_input
                        and c.kind == "one_to_one"
                        and (c.weight == 1).all()
                    )
                    if held:
                        continue
                    values = state[f"{c.source}.{c.variable}"][0]
                    bounds = ranges[f"{c.source}.{c.variable}"]
                    bits = next(
                        b for b in range(40)
                        if (0 if bounds.smallest >= 0 else -(1 << b - 1) if b else 1)
                        <= bounds.smallest
                        and bounds.largest < (1 << b if bounds.smallest >= 0 else 1 << b >> 1)
                    )  # fmt: skip
                    for j in np.flatnonzero(values):
                        add(c.source, "messages", 1)
                        add(c.source, "message_bits", bits)
                        there, nonzero = synapses[name].of(j)
                        add(c.source, "packets", there > 0)
                        add(c.target, "synops", there)
                        add(c.target, "synops_nonzero", nonzero)
                        kind = "acs" if values[j] in (1, -1) else "macs"
                        add(c.target, kind, nonzero)
                    add(c.target, "synops_dense", synapses[name].all_of_them)
                program = population.program(activation.program)
                drawn = activated(network, activation, state, now)
                n = population.size
                add(population.name, "updates", n)
                add(population.name, "state_reads", n * len(program.reads))
                add(population.name, "state_writes", n * len(program.outputs))
                here = Counter(
                    {
                        o: n * k
                        for o, k in Counter(i.operation for i in program.instructions).items()
                    }
                )
                here.pop("draw", None)
                for u in drawn:
                    core, s = Core(), population.sampler
                    counts = [
                        core.draw(int(a), int(b), s.max_count, s.frac_bits)
                        for a, b in zip(
                            np.broadcast_to(u, (1, n))[0], now[population.name][0], strict=True
                        )
                    ]
                    add(population.name, "spikes", sum(counts))
                    add(population.name, "state_reads", core.inverses)
                    here.update(core.operations)
                add(population.name, "operations", here.total())
                if step < steps:
                    for kind, number in here.items():
                        kinds[population.name, kind] += number
    return found, kinds
