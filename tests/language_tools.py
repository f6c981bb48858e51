"""What the tests of the language share: a small network to spoil, and a scalar interpreter.

The interpreter is written from the language's description alone, in Python integers, neuron by
neuron and synapse by synapse; it shares no formula with the package.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pvae_neuro.network import (
    Activation,
    Constant,
    Convolution,
    Dense,
    Encoding,
    Input,
    IntegerNetwork,
    OneToOne,
    Population,
    Readout,
    Sampler,
    TransposedConvolution,
    Variable,
    shared,
    trace,
    transpose_of,
)
from pvae_neuro.sim.noise import population_noise

# ------------------------------------------------------------------------ scalar interpreter


def round_shift(value: int, amount: int) -> int:
    """``value / 2**amount``, the nearest whole number; halves go up."""
    if amount <= 0:
        return value * 2**-amount
    return (value + 2 ** (amount - 1)) // 2**amount


def zeros_in_front(value: int) -> int:
    return 0 if value < 0 else 24 - len(f"{value:b}".lstrip("0"))


SCALAR: dict[str, Any] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b, s: round_shift(a * b, s),
    "shl": lambda a, s: round_shift(a, -s),
    "shr": round_shift,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "min": min,
    "max": max,
    "ge": lambda a, b: 1 if a >= b else 0,
    "select": lambda c, a, b: b if c == 0 else a,
    "abs": lambda a: -a if a < 0 else a,
    "neg": lambda a: -a,
    "clz": zeros_in_front,
}


def scalar_draw(u: int, w: int, max_count: int, frac_bits: int) -> int:
    """The sampler's rule in Python integers, as its documentation states it."""
    log2_e = 6051102
    polynomial = (56766, 218152, 1012684, 2906669, 4194315)

    def mul(a: int, b: int, s: int) -> int:
        return round_shift(a * b, s)

    def exp2(f: int) -> int:
        value = polynomial[0]
        for coefficient in polynomial[1:]:
            value = mul(value, f, 16) + coefficient
        return value

    q = 17 - max(0, len(f"{max_count:b}") - 6)
    t = mul(u, log2_e, frac_bits + 6)
    f = t % 65536
    i = (t - f) // 65536
    if i < -1 and w < (65534 if 17 + i < 0 else 65535 - 2 ** (17 + i)):
        return 0
    r = round_shift(exp2(f), 22 - q - i)
    if i < 0 and w < 65534 - (r >> (q - 16) if q >= 16 else r << (16 - q)):
        return 0
    x = mul(r, log2_e, q + 6)
    s = -(-x // 65536)
    p, c = exp2(s * 65536 - x), 0
    for z in range(max_count + 1):
        c += round_shift(p, s)
        if w < (c + 32) >> 6 or z == max_count or p == 0:
            return z
        product, shift = p * mul(r, (2**23 + z + 1) // (2 * (z + 1)), 22), q
        p = round_shift(product, shift)
        while p >= 2**22 and s > 0:
            shift, s = shift + 1, s - 1
            p = round_shift(product, shift)
    raise AssertionError("unreachable")


def synapses(c: Any) -> list[tuple[int, int, int]]:
    """(target, source, weight) of every synapse of a connection."""
    if isinstance(c, OneToOne):
        return [(i, i, int(w)) for i, w in enumerate(c.weight)]
    if isinstance(c, Dense):
        return [(i, j, int(w)) for (i, j), w in np.ndenumerate(c.weight)]
    assert isinstance(c, Convolution)
    back = isinstance(c, TransposedConvolution)
    wide, narrow = (c.target_shape, c.source_shape) if back else (c.source_shape, c.target_shape)
    found = []
    for (o, i, a, b), w in np.ndenumerate(c.weight):
        for y in range(narrow[1]):
            for x in range(narrow[2]):
                row, column = c.stride * y + a - c.padding, c.stride * x + b - c.padding
                if 0 <= row < wide[1] and 0 <= column < wide[2]:
                    outer = (i * wide[1] + row) * wide[2] + column
                    inner = (o * narrow[1] + y) * narrow[2] + x
                    found.append((outer, inner, int(w)) if back else (inner, outer, int(w)))
    return found


class Scalar:
    """One sample of a network, in Python integers. ``seen`` gets every word by its place."""

    def __init__(self, network: IntegerNetwork, seed: int, sample: int, steps: int) -> None:
        self.network = network
        self.state: dict[str, list[int]] = {}
        self.seen: dict[tuple[str, str], list[int]] = {}
        for p in network.populations:
            for v in p.variables:
                self.state[f"{p.name}.{v.name}"] = _values(v.initial, p.size)
        self.words = {
            p.name: population_noise(p, seed, range(steps), [sample])[0] for p in network.drawing
        }
        self.synapses = {c.name: synapses(c) for c in network.connections}

    def run(self, frames: list[dict[str, list[int]]], iterations: int) -> list[dict[str, Any]]:
        """Every variable at the end of each iteration, then after ``final``."""
        out, step = [], 0
        for frame in frames:
            self.state.update(frame)
            for _ in range(iterations):
                for activation in self.network.iteration:
                    self.activate(activation, step)
                out.append(dict(self.state))
                step += 1
        for activation in self.network.final:
            self.activate(activation, step)
        return [*out, dict(self.state)]

    def activate(self, activation: Activation, step: int) -> None:
        p = self.network.population_of[activation.population]
        program = p.program(activation.program)
        received = self.receive(activation, p.size)
        constants = {c.name: _values(c.values, p.size) for c in p.constants}
        where, new = f"{p.name}.{program.name}", {o.variable: [] for o in program.outputs}
        for n in range(p.size):
            known = {"0": 0, "1": 1}
            known |= {v.name: self.state[f"{p.name}.{v.name}"][n] for v in p.variables}
            known |= {name: values[n] for name, values in constants.items()}
            known |= {name: values[n] for name, values in received.items()}
            for i in program.instructions:
                arguments = [known[a] for a in i.arguments]
                known[i.result] = self.compute(p, i.operation, arguments, n, step)
                self.seen.setdefault((where, i.result), []).append(known[i.result])
            for o in program.outputs:
                new[o.variable].append(known[o.value])
        self.state |= {f"{p.name}.{name}": values for name, values in new.items()}

    def compute(
        self, p: Population, operation: str, arguments: list[int], n: int, step: int
    ) -> int:
        if operation == "word":
            return int(self.words[p.name][step][n])
        if operation == "draw":
            assert p.sampler is not None
            word = int(self.words[p.name][step][n])
            return scalar_draw(arguments[0], word, p.sampler.max_count, p.sampler.frac_bits)
        return int(SCALAR[operation](*arguments))

    def receive(self, activation: Activation, size: int) -> dict[str, list[int]]:
        sums: dict[str, list[int]] = {}
        exponents, senders = {}, {}
        for name in activation.connections:
            c = self.network.connection_of[name]
            total = sums.setdefault(c.received_as, [0] * size)
            exponents[c.received_as] = c.exponent
            senders.setdefault(c.received_as, []).append(name)
            value = self.state[f"{c.source}.{c.variable}"]
            for target, source, weight in self.synapses[name]:
                total[target] += weight * value[source]
        for name, total in sums.items():
            self.seen.setdefault((" + ".join(senders[name]), "accumulator"), []).extend(total)
        return {n: [round_shift(v, -exponents[n]) for v in total] for n, total in sums.items()}


def _values(array: np.ndarray, size: int) -> list[int]:
    return [int(v) for v in np.broadcast_to(array, size)]


def scalar_frames(network: IntegerNetwork, x: np.ndarray) -> list[dict[str, list[int]]]:
    """Values of the inputs for encoded frames [F, M] of one sample, in Python integers."""
    frames = []
    for pixels in x:
        values = {}
        for e in network.encodings:
            row = [int(v) for v in pixels]
            if e.weight is not None:
                sums = [sum(int(w) * v for w, v in zip(ws, row, strict=True)) for ws in e.weight]
                row = [max(-e.limit, min(e.limit, round_shift(s, e.shift))) for s in sums]
            values[f"{e.population}.{e.variable}"] = row
        frames.append(values)
    return frames


# ----------------------------------------------------------------------------- small network


def hear(n):
    n.a = n.clip(n.sent + n.bias, n.low, n.high)


def integrate(n):
    n.u = n.clip(n.u + n.shr(n.feedback, 1), n.u_low, n.u_high)


def fire(n):
    n.z = n.draw(n.u)


def small_parts(**changes: Any) -> dict[str, Any]:
    """Arguments of a network that is sound; change one to spoil it."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-20, 21, (3, 4)).astype(np.int8)
    forward = Dense("forward", "cells", "z", "hidden", weight, -2, "sent")
    parts: dict[str, Any] = {
        "name": "small",
        "input": Input(6, 0.0, 1.0, 4, (2, 3)),
        "encodings": (Encoding("drive", "x", np.ones((3, 6), np.int32), shift=1, limit=100),),
        "populations": (
            Population("drive", 3, (Variable("x", shared(0)),)),
            Population(
                "cells",
                4,
                (Variable("u", shared(-3), 12), Variable("z", shared(0), 8)),
                (Constant("u_low", shared(-1000)), Constant("u_high", shared(400))),
                (trace(integrate), trace(fire)),
                Sampler(15, 8),
            ),
            Population(
                "hidden",
                3,
                (Variable("a", np.array([1, -2, 3], np.int32), 9),),
                (
                    Constant("bias", np.array([4, 5, -6], np.int32)),
                    Constant("low", shared(-200)),
                    Constant("high", shared(200)),
                ),
                (trace(hear),),
            ),
        ),
        "connections": (
            forward,
            transpose_of(forward, "back", "hidden", "a", "cells", received_as="feedback"),
            OneToOne("given", "drive", "x", "hidden", np.ones(3, np.int8), -2, "sent"),
        ),
        "iteration": (
            Activation("cells", "fire"),
            Activation("hidden", "hear", ("forward", "given")),
            Activation("cells", "integrate", ("back",)),
        ),
        "final": (Activation("cells", "fire"),),
        "readout": Readout("cells", "z", np.ones((6, 4), np.int16), frac_bits=2),
    }
    return parts | changes


def small_network(**changes: Any) -> IntegerNetwork:
    return IntegerNetwork(**small_parts(**changes))
