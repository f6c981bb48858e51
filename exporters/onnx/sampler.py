"""Draws counts by the rule of :mod:`pvae_neuro.network.sampler`, step by step, without a table.

Neurons leave as soon as their count is known: the first test lets most of them go, and a Loop over
counts keeps only those that are still undecided. Names are those of the rule: t, f, i, m, r, x, P,
S, C.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import GraphProto, TensorProto, numpy_helper

from pvae_neuro.exporters.onnx.integers import IntegerGraph, Signal, value_info
from pvae_neuro.network import Sampler
from pvae_neuro.network.sampler import (
    EXP2_COEFFICIENTS,
    LOG2_E,
    ONE,
    WORD_BITS,
    inverse,
    mul,
    rate_bits,
)

# A word of 24 bits, shifted right by this much and rounded, is 0: larger shifts do no more.
LARGEST_SHIFT = 25
# What a neuron still undecided takes along: its place, word test, rate, C, P and S.
STATES = ("place", "test", "rate", "cumulative", "probability", "exponent")


def word(graph: IntegerGraph, name: str, words: str, sampler: Sampler) -> Signal:
    """The random words of this step, from uint16 [batch, n]."""
    return Signal(graph.cast(words, "int32"), 0, (1 << WORD_BITS) - 1)


def draw(
    graph: IntegerGraph, name: str, words: str, sampler: Sampler, potential: Signal
) -> Signal:
    """Counts of a log-rate [batch, n], or of one row for all samples, and of words [batch, n]."""
    return Signal(_Draw(graph, name, sampler).counts(potential, words), 0, sampler.max_count)


class _Draw:
    def __init__(self, graph: IntegerGraph, name: str, sampler: Sampler) -> None:
        self.graph, self.name, self.sampler = graph, name, sampler
        self.q = rate_bits(sampler.max_count)

    # Short forms: a node with this name, a constant, the number in a type.
    def node(self, operator: str, inputs: list[str], name: str, **attributes: object) -> str:
        return self.graph.node(operator, inputs, f"{self.name}.{name}", **attributes)

    def number(self, value: int, dtype: str = "int64") -> str:
        return self.graph.constant(value, dtype)

    def counts(self, potential: Signal, words: str) -> str:
        graph = self.graph
        shape = self.node("Shape", [words], "shape")
        u = potential.name
        if not potential.wide:
            u = self.node("Expand", [u, shape], "u")
        flat = graph.constant([-1], "int64")
        u = self.node("Reshape", [u, flat], "u_flat")
        w = self.node("Reshape", [graph.cast(words, "int32"), flat], "w")
        t, bounds = self._log2(u, potential)
        left = self._first_test(t, bounds, w)
        stay = self.node("Not", [left], "stay")
        t = self.node("Compress", [t, stay], "t_undecided")
        w = self.node("Compress", [w, stay], "w_undecided")
        counts = self._undecided(t, bounds, w)
        return self.node("Reshape", [self._spread(counts, stay), shape], "counts")

    def _spread(self, counts: str, stay: str) -> str:
        """Counts of those that stayed at their places, 0 elsewhere."""
        graph = self.graph
        stayed = graph.cast(stay, "int32")
        number = self.node("CumSum", [stayed, self.number(0, "int32")], "number")
        place = self.node("Mul", [number, stayed], "place")
        zero = graph.constant([0], "int32")
        counts = self.node("Concat", [zero, counts], "zero_and_counts", axis=0)
        return self.node("Gather", [counts, place], "flat_counts", axis=0)

    def _log2(self, u: str, potential: Signal) -> tuple[str, tuple[int, int]]:
        """Step 1: ``t``, int32, and its bounds."""
        shift = self.sampler.frac_bits + 6
        low, high = potential.low * LOG2_E, potential.high * LOG2_E
        wide = self.node("Mul", [self.graph.cast(u, "int64"), self.number(LOG2_E)], "u_log2e")
        t, _ = self.graph.round_shift(f"{self.name}.t64", wide, "int64", (low, high), shift)
        ends = mul(potential.low, LOG2_E, shift), mul(potential.high, LOG2_E, shift)
        return self.graph.cast(t, "int32", f"{self.name}.t"), ends

    def _whole(self, t: str, bounds: tuple[int, int]) -> str:
        return self.graph.floor_shift(f"{self.name}.i", t, bounds, WORD_BITS)

    def _first_test(self, t: str, bounds: tuple[int, int], w: str) -> str:
        """Step 2: whether the count is 0 for certain, by a limit of the word for each ``i``."""
        first, last = bounds[0] >> WORD_BITS, bounds[1] >> WORD_BITS
        limits = [_first_limit(i) for i in range(first, last + 1)]
        table = self.graph.constant(limits, "int32")
        whole = self._whole(t, bounds)
        row = self.node("Sub", [whole, self.number(first, "int32")], "row")
        limit = self.node("Gather", [table, row], "limit", axis=0)
        return self.node("Less", [w, limit], "is_zero")

    def _undecided(self, t: str, bounds: tuple[int, int], w: str) -> str:
        """Steps 3 to 5 for a list of neurons: int32 counts."""
        graph, number = self.graph, self.number
        whole = self._whole(t, bounds)
        scaled = self.node("Mul", [whole, number(1 << WORD_BITS, "int32")], "i_scaled")
        fraction = self.node("Sub", [t, scaled], "f")
        m = self._exp2(graph.cast(fraction, "int64"), "m")
        # The rate: m >> (22 - q - i).
        amount = self.node("Sub", [number(22 - self.q, "int32"), whole], "rate_shift")
        r = self._shift(m, amount, "r")
        x = self._mul(r, LOG2_E, self.q + 6, "x")
        negative = self.node("Neg", [x], "minus_x")
        fraction = self.node("BitwiseAnd", [negative, number((1 << WORD_BITS) - 1)], "x_rest")
        p = self._exp2(fraction, "P")
        raised = self.node("Add", [x, fraction], "x_raised")
        s, _ = graph.round_shift(f"{self.name}.S", raised, "int64", (0, 1), WORD_BITS)
        s = graph.cast(s, "int32", f"{self.name}.S32")
        # w < (C + 32) >> 6 is 64 w + 32 <= C.
        test = self.node("Mul", [graph.cast(w, "int64"), number(64)], "w_64")
        test = self.node("Add", [test, number(32)], "test")
        size = self.node("Shape", [w], "undecided")
        zeros = self.node("ConstantOfShape", [size], "C", value=_zero("int64"))
        counts = self.node("ConstantOfShape", [size], "no_counts", value=_zero("int32"))
        ones = self.node("Add", [counts, number(1, "int32")], "ones")
        places = self.node("CumSum", [ones, number(0, "int32")], "places")
        places = self.node("Sub", [places, number(1, "int32")], "places_from_0")
        start = [counts, places, test, r, zeros, p, s]
        outputs = [graph.fresh(f"{self.name}.{state}.end") for state in ("counts", *STATES)]
        trips = self.number(self.sampler.max_count)
        more = self.graph.constant(True, "bool")
        loop = f"{self.name}.loop"
        graph.block("Loop", [trips, more, *start], outputs, loop, body=self._body())
        return outputs[0]

    def _exp2(self, fraction: str, name: str) -> str:
        """2**f in units of 2**-22, int64."""
        value = self.number(EXP2_COEFFICIENTS[0])
        for place, coefficient in enumerate(EXP2_COEFFICIENTS[1:]):
            product = self.node("Mul", [value, fraction], f"{name}.{place}")
            value, _ = self.graph.round_shift(
                f"{self.name}.{name}.{place}.shifted", product, "int64", (0, 1), WORD_BITS
            )
            value = self.node("Add", [value, self.number(coefficient)], f"{name}.{place}.sum")
        return value

    def _mul(self, a: str, b: int, shift: int, name: str) -> str:
        product = self.node("Mul", [a, self.number(b)], f"{name}.product")
        return self.graph.round_shift(f"{self.name}.{name}", product, "int64", (0, 1), shift)[0]

    def _shift(self, a: str, amount: str, name: str) -> str:
        """``a >> amount``, rounded half up, of int64 values that are not negative."""
        graph = self.graph
        shift = graph.cast(amount, "uint64")
        one = self.number(1, "uint64")
        unit = self.node("BitShift", [one, shift], f"{name}.unit", direction="LEFT")
        half = self.node("BitShift", [unit, one], f"{name}.half", direction="RIGHT")
        raised = self.node("Add", [a, graph.cast(half, "int64")], f"{name}.raised")
        raw = graph.cast(raised, "uint64")
        raw = self.node("BitShift", [raw, shift], f"{name}.raw", direction="RIGHT")
        return graph.cast(raw, "int64")

    def _body(self) -> GraphProto:
        """One count z: who has it leaves; the others take the next probability along."""
        graph = IntegerGraph(f"{self.name}.loop.", outer=self.graph)
        one = _Draw(graph, f"{self.name}.each", self.sampler)
        return one._step()

    def _step(self) -> GraphProto:
        graph, number = self.graph, self.number
        names = {state: graph.fresh(f"{self.name}.{state}") for state in ("z", "on", "counts", *STATES)}
        p, s = names["probability"], names["exponent"]
        capped = self.node("Min", [s, number(LARGEST_SHIFT, "int32")], "S_capped")
        c = self.node("Add", [names["cumulative"], self._shift(p, capped, "part")], "C")
        undecided = self.node("Less", [c, names["test"]], "above")
        # P * 2**-S > 0, or a later P may be.
        alive = self.node("Add", [p, graph.cast(s, "int64")], "alive")
        alive = self.node("Greater", [alive, number(0)], "can_end_later")
        stay = self.node("And", [undecided, alive], "stay")
        place, test, rate, c, p, s = (
            self.node("Compress", [value, stay], f"{state}.kept")
            for state, value in zip(
                STATES, [names["place"], names["test"], names["rate"], c, p, s], strict=True
            )
        )
        counts = self._raised_counts(names["counts"], names["z"], place)
        p, s = self._next_probability(p, s, rate, names["z"])
        left = self.node("Size", [place], "left")
        on = self.node("Greater", [left, number(0)], "more")
        results = [on, counts, place, test, rate, c, p, s]
        types = ["bool", "int32", "int32", "int64", "int64", "int64", "int64", "int32"]
        shapes: list[list[str]] = [[], ["undecided"], *[["left"]] * 6]
        outputs = [graph.node("Identity", [r], f"{r}.out") for r in results]
        inputs = [value_info(names["z"], "int64"), value_info(names["on"], "bool")]
        inputs += [
            value_info(names[state], dtype, shape)
            for state, dtype, shape in zip(
                ("counts", *STATES), types[1:], ("undecided", *["some"] * 6), strict=True
            )
        ]
        infos = [value_info(o, t, *d) for o, t, d in zip(outputs, types, shapes, strict=True)]
        return graph.graph("count", inputs, infos, "Neurons whose count is above z.")

    def _raised_counts(self, counts: str, z: str, place: str) -> str:
        """Those that stay have a count of z + 1 or more."""
        z32 = self.graph.cast(z, "int32")
        count = self.node("Add", [z32, self.number(1, "int32")], "count")
        shape = self.node("Shape", [place], "stayed")
        updates = self.node("Expand", [count, shape], "updates")
        return self.node("ScatterElements", [counts, place, updates], "counts_next", axis=0)

    def _next_probability(self, p: str, s: str, r: str, z: str) -> tuple[str, str]:
        """``P * r / (z + 1)``, its exponent lowered while it would need more than 22 bits."""
        graph, number = self.graph, self.number
        inverses = [inverse(n + 1) for n in range(self.sampler.max_count)]
        by = self.node("Gather", [graph.constant(inverses, "int64"), z], "inverse", axis=0)
        factor = self.node("Mul", [r, by], "factor.product")
        factor, _ = graph.round_shift(f"{self.name}.factor", factor, "int64", (0, 1), 22)
        product = self.node("Mul", [p, factor], "product")
        # Rounded by q + j it has more than 22 bits if it reaches (2**23 - 1) * 2**(q + j - 1): so
        # many times as the quotient has bits. A rate is below 2**(23 - q).
        quotient = self.node("Div", [product, number((2 * ONE - 1) << (self.q - 1))], "quotient")
        bits = [n.bit_length() for n in range(1 << (25 - self.q))]
        extra = self.node("Gather", [graph.constant(bits, "uint8"), quotient], "bits", axis=0)
        extra = graph.cast(extra, "int32")
        extra = self.node("Min", [extra, s], "extra_shift")
        s = self.node("Sub", [s, extra], "S_next")
        amount = self.node("Add", [extra, number(self.q, "int32")], "shift")
        return self._shift(product, amount, "P_next"), s


def _first_limit(i: int) -> int:
    """Words below this give count 0 for a rate of at most ``2**(i+1)``; 0 where none does."""
    if i >= -1:
        return 0
    return 65534 if 17 + i < 0 else 65535 - (1 << (17 + i))


def _zero(dtype: str) -> TensorProto:
    return numpy_helper.from_array(np.zeros(1, dtype))


RANDOM: dict[str, Callable[..., Signal]] = {"word": word, "draw": draw}
