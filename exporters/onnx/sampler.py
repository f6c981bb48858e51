"""Draws counts by the rule of :mod:`pvae_neuro.network.sampler`, from constants alone.

Two forms that give the same counts. Where it is small enough, the rule is expanded before the Scan
to how many words give each count, for every potential that can occur; a draw then is a search in
that table. Otherwise each draw follows the rule, and neurons leave as soon as their count is known.
Names are those of the rule: t, f, i, m, r, x, P, S, C. Its early exits only save work, as no word
has another count without them; here the first one is used where it pays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx import GraphProto

from pvae_neuro.exporters.onnx.integers import TYPES, IntegerGraph, Signal, value_info
from pvae_neuro.network import Sampler
from pvae_neuro.network.sampler import (
    EXP2_COEFFICIENTS,
    LOG2_E,
    ONE,
    WORD_BITS,
    WORDS,
    inverse,
    mul,
    rate_bits,
)

# A probability of 22 bits, shifted right by this much and rounded, is 0: larger shifts do no more.
LARGEST_SHIFT = 25
# Values of the expanded rule, 4 bytes each.
LARGEST_TABLE = 1 << 24


def word(
    graph: IntegerGraph, name: str, words: str, sampler: Sampler, table: Table | None
) -> Signal:
    """The random words of this step, from uint16 [batch, n]."""
    return Signal(graph.cast(words, "int32"), 0, WORDS - 1)


def draw(
    graph: IntegerGraph,
    name: str,
    words: str,
    sampler: Sampler,
    table: Table | None,
    potential: Signal,
) -> Signal:
    """Counts of a log-rate [batch, n], or of one row for all samples, and of words [batch, n]."""
    rule = _Rule(graph, name, sampler)
    shape = rule.node("Shape", [words], "shape")
    u = potential.name if potential.wide else rule.node("Expand", [potential.name, shape], "u")
    flat = graph.constant([-1], "int64")
    u = rule.node("Reshape", [u, flat], "u_flat")
    w = rule.node("Reshape", [graph.cast(words, "int32"), flat], "w")
    if table is None:
        counts = _ruled(rule, potential, u, w)
    else:
        counts = _searched(rule, potential, u, w, table)
    return Signal(rule.node("Reshape", [counts, shape], "counts"), 0, sampler.max_count)


RANDOM: dict[str, Callable[..., Signal]] = {"word": word, "draw": draw}


def is_expanded(sampler: Sampler, low: int, high: int) -> bool:
    """Whether the rule is expanded for log-rates within these bounds."""
    return (high - low + 1) * sampler.max_count <= LARGEST_TABLE


@dataclass(frozen=True)
class Table:
    """The expanded rule, for log-rates from a lowest one on.

    Attributes
    ----------
    limits : str
        int32: for each bin of log-rates, words below this one give count 0 whatever the log-rate.
    thresholds : str
        int32 [log-rates, max_count]: how many of the 65,536 words give a count of at most z.
    first_thresholds : str
        uint16 [log-rates, HEAD]: the first of these, at most 65,535. Most draws need no others, and
        a table that is looked up at random is the faster the smaller it is.
    """

    limits: str
    thresholds: str
    first_thresholds: str


HEAD = 8
# Where the names of the parts begin, with their types and numbers of dimensions.
TABLE_PARTS = {
    "limits.": ("int32", 1),
    "thresholds.": ("int32", 2),
    "first_thresholds.": ("uint16", 2),
}


def expand(graph: IntegerGraph, population: str, sampler: Sampler, low: int, high: int) -> Table:
    """Expand the rule for log-rates within these bounds."""
    names = [graph.fresh(f"{prefix}{population}") for prefix in TABLE_PARTS]
    rule = _Rule(graph, f"expand.{population}", sampler)
    ends = [graph.constant(n, "int32") for n in (low, high + 1, 1)]
    t, bounds = rule.log2(rule.node("Range", ends, "u"), low, high)
    r, p, s = rule.start(t, rule.whole(t, bounds))
    zeros = rule.node("Sub", [r, r], "C")
    outputs = [graph.fresh(f"{rule.name}.{state}") for state in (*_LOOP, "T")]
    trips, on = graph.constant(sampler.max_count, "int64"), graph.constant(True, "bool")
    body = _expanding_step(rule)
    graph.block("Loop", [trips, on, r, zeros, p, s], outputs, f"{rule.name}.loop", body=body)
    graph.output("Transpose", [outputs[-1]], names[1], perm=[1, 0])
    part = [graph.constant([n], "int64") for n in (0, HEAD, 1)]
    head = rule.node("Slice", [names[1], *part], "head")
    head = rule.node("Min", [head, rule.number(WORDS - 1, "int32")], "capped")
    graph.output("Cast", [head], names[2], to=TYPES["uint16"])
    # Thresholds fall as log-rates rise: that of a bin's end is its smallest.
    first = rule.node("Gather", [outputs[-1], rule.number(0)], "first", axis=0)
    tops = [_bin_start(sampler, number + 1) - 1 for number in range(BINS - 1)]
    places = graph.constant([min(max(top, low), high) - low for top in tops], "int64")
    limits = rule.node("Gather", [first, places], "limits", axis=0)
    graph.output("Concat", [limits, graph.constant([0], "int32")], names[0], axis=0)
    return Table(*names)


# Bins of log-rates: a quarter wide from -5 on, the first and the last without an end. There are no
# more, as ONNX's own evaluator looks up single values among at most 31.
BINS, FIRST_BIN, BINS_PER_UNIT_BITS = 26, -5, 2


def _bin_start(sampler: Sampler, number: int) -> int:
    return (FIRST_BIN << sampler.frac_bits) + (number << (sampler.frac_bits - BINS_PER_UNIT_BITS))


# What the loop over counts takes along.
_LOOP = ("r", "C", "P", "S")
_LOOP_TYPES = ("int64", "int64", "int64", "int32")


class _Rule:
    """Steps of the rule, over lists of neurons."""

    def __init__(self, graph: IntegerGraph, name: str, sampler: Sampler) -> None:
        self.graph, self.name, self.sampler = graph, name, sampler
        self.q = rate_bits(sampler.max_count)

    def node(self, operator: str, inputs: list[str], name: str, **attributes: object) -> str:
        """Append a node under a short name."""
        return self.graph.node(operator, inputs, f"{self.name}.{name}", **attributes)

    def number(self, value: int, dtype: str = "int64") -> str:
        """A constant."""
        return self.graph.constant(value, dtype)

    def within(self) -> _Rule:
        """The same rule in the body of a Loop, under a name of its own."""
        scope = self.graph.fresh(f"{self.name}.z")
        return _Rule(IntegerGraph(f"{scope}.", outer=self.graph), scope, self.sampler)

    def log2(self, u: str, low: int, high: int) -> tuple[str, tuple[int, int]]:
        """Step 1: ``t``, int32, and its bounds."""
        shift = self.sampler.frac_bits + 6
        wide = self.node("Mul", [self.graph.cast(u, "int64"), self.number(LOG2_E)], "ul")
        bounds = low * LOG2_E, high * LOG2_E
        t, _ = self.graph.round_shift(f"{self.name}.t64", wide, "int64", bounds, shift)
        ends = mul(low, LOG2_E, shift), mul(high, LOG2_E, shift)
        return self.graph.cast(t, "int32", f"{self.name}.t"), ends

    def whole(self, t: str, bounds: tuple[int, int]) -> str:
        """``i``, int32."""
        return self.graph.floor_shift(f"{self.name}.i", t, bounds, WORD_BITS)

    def start(self, t: str, i: str) -> tuple[str, str, str]:
        """Steps 3 and 4: the rate r and the probability P of count 0, int64; its exponent S."""
        graph, number = self.graph, self.number
        scaled = self.node("Mul", [i, number(1 << WORD_BITS, "int32")], "i16")
        fraction = self.node("Sub", [t, scaled], "f")
        m = self._exp2(graph.cast(fraction, "int64"), "m")
        amount = self.node("Sub", [number(22 - self.q, "int32"), i], "rs")
        r = self._shift(m, amount, "r")
        product = self.node("Mul", [r, number(LOG2_E)], "rl")
        x, _ = graph.round_shift(f"{self.name}.x", product, "int64", (0, 1), self.q + 6)
        negative = self.node("Neg", [x], "nx")
        fraction = self.node("BitwiseAnd", [negative, number(WORDS - 1)], "xf")
        p = self._exp2(fraction, "P")
        raised = self.node("Add", [x, fraction], "xr")
        s, _ = graph.round_shift(f"{self.name}.S", raised, "int64", (0, 1), WORD_BITS)
        return r, p, graph.cast(s, "int32")

    def cumulated(self, c: str, p: str, s: str) -> str:
        """``C + (P >> S)``, rounded."""
        capped = self.node("Min", [s, self.number(LARGEST_SHIFT, "int32")], "Sc")
        return self.node("Add", [c, self._shift(p, capped, "part")], "C")

    def unfinished(self, p: str) -> str:
        """Whether later counts have a probability: P > 0."""
        return self.node("Greater", [p, self.number(0)], "alive")

    def next_probability(self, p: str, s: str, r: str, z: str) -> tuple[str, str]:
        """``P * r / (z + 1)``, its exponent lowered while it would need more than 22 bits."""
        graph, number = self.graph, self.number
        inverses = [inverse(n + 1) for n in range(self.sampler.max_count)]
        by = self.node("Gather", [graph.constant(inverses, "int64"), z], "inv", axis=0)
        factor = self.node("Mul", [r, by], "ri")
        factor, _ = graph.round_shift(f"{self.name}.rz", factor, "int64", (0, 1), 22)
        product = self.node("Mul", [p, factor], "PP")
        # Rounded by q + j it has more than 22 bits if it reaches (2**23 - 1) * 2**(q + j - 1): so
        # many times as the quotient has bits. A rate is below 2**(23 - q).
        quotient = self.node("Div", [product, number((2 * ONE - 1) << (self.q - 1))], "quo")
        bits = [n.bit_length() for n in range(1 << (25 - self.q))]
        extra = self.node("Gather", [graph.constant(bits, "uint8"), quotient], "bits", axis=0)
        extra = self.node("Min", [graph.cast(extra, "int32"), s], "extra")
        s = self.node("Sub", [s, extra], "Sn")
        amount = self.node("Add", [extra, number(self.q, "int32")], "by")
        return self._shift(product, amount, "Pn"), s

    def _exp2(self, fraction: str, name: str) -> str:
        """2**f in units of 2**-22, int64."""
        value = self.number(EXP2_COEFFICIENTS[0])
        for coefficient in EXP2_COEFFICIENTS[1:]:
            product = self.node("Mul", [value, fraction], name)
            value, _ = self.graph.round_shift(
                f"{self.name}.{name}", product, "int64", (0, 1), WORD_BITS
            )
            value = self.node("Add", [value, self.number(coefficient)], name)
        return value

    def _shift(self, a: str, amount: str, name: str) -> str:
        """``a >> amount``, rounded half up, of int64 values that are not negative."""
        graph, one = self.graph, self.number(1, "uint64")
        shift = graph.cast(amount, "uint64")
        unit = self.node("BitShift", [one, shift], name, direction="LEFT")
        half = self.node("BitShift", [unit, one], name, direction="RIGHT")
        raised = self.node("Add", [a, graph.cast(half, "int64")], name)
        raw = graph.cast(raised, "uint64")
        raw = self.node("BitShift", [raw, shift], name, direction="RIGHT")
        return graph.cast(raw, "int64")


def _loop_body(
    rule: _Rule,
    taken: Sequence[tuple[str, str]],
    given: Sequence[tuple[str, str, str]],
    names: dict[str, str],
) -> GraphProto:
    """Body of a Loop with states of one dimension; ``given`` are name, type and length.

    A symbolic length means one number in all of a model, so each body has its own.
    """
    scalars = [value_info(names["z"], "int64"), value_info(names["on"], "bool")]
    inputs = [value_info(names[state], dtype, f"{rule.name} {state}") for state, dtype in taken]
    outputs = [value_info(o, t, *([f"{rule.name} {d}"] if d else [])) for o, t, d in given]
    return rule.graph.graph("count", [*scalars, *inputs], outputs, "One count z.")


def _names(rule: _Rule, states: Sequence[str]) -> dict[str, str]:
    return {state: rule.graph.fresh(f"{rule.name}.{state}_in") for state in ("z", "on", *states)}


# ----------------------------------------------------------------------------- expanded form


def _expanding_step(outer: _Rule) -> GraphProto:
    """One count z for all log-rates: its threshold, and the probability of the next."""
    rule = outer.within()
    names = _names(rule, _LOOP)
    r, p, s = (names[state] for state in ("r", "P", "S"))
    c = rule.cumulated(names["C"], p, s)
    raised = rule.node("Add", [c, rule.number(32)], "C32")
    operands = [rule.graph.cast(raised, "uint64"), rule.number(6, "uint64")]
    threshold = rule.node("BitShift", operands, "T64", direction="RIGHT")
    threshold = rule.graph.cast(threshold, "int32")
    # Where no later count has a probability, this one takes all words that are left.
    alive, never = rule.unfinished(p), rule.number(WORDS, "int32")
    threshold = rule.node("Where", [alive, threshold, never], "T")
    p, s = rule.next_probability(p, s, r, names["z"])
    on = rule.node("Identity", [names["on"]], "on")
    r = rule.node("Identity", [r], "rn")
    values = zip((on, r, c, p, s, threshold), ("bool", *_LOOP_TYPES, "int32"), strict=True)
    given = [(name, dtype, "" if dtype == "bool" else "rates") for name, dtype in values]
    return _loop_body(rule, list(zip(_LOOP, _LOOP_TYPES, strict=True)), given, names)


def _searched(rule: _Rule, potential: Signal, u: str, w: str, table: Table) -> str:
    """How many thresholds of its log-rate a word reaches; most words reach none."""
    number = rule.number
    stay = rule.node("GreaterOrEqual", [w, _limit(rule, potential, u, table)], "stay")
    places = _places(rule, stay)
    row = rule.node("Gather", [u, places], "u_left", axis=0)
    row = rule.node("Sub", [row, number(potential.low, "int32")], "row")
    word_left = rule.node("Gather", [w, places], "word", axis=0)
    most = rule.sampler.max_count
    counts = _reached(rule, table.first_thresholds, row, word_left, min(HEAD, most))
    # Who reached all of the first ones, as the largest word always does, looks at all thresholds.
    more = rule.node("Equal", [counts, number(min(HEAD, most), "int32")], "more")
    others = _places(rule, more)
    row = rule.node("Gather", [row, others], "row", axis=0)
    word_left = rule.node("Gather", [word_left, others], "word", axis=0)
    rest = _spread(rule, _reached(rule, table.thresholds, row, word_left, most), others, more)
    counts = rule.node("Where", [more, rest, counts], "count")
    return _spread(rule, counts, places, stay)


def _limit(rule: _Rule, potential: Signal, u: str, table: Table) -> str:
    """For each neuron, words below this one give count 0."""
    sampler, number = rule.sampler, rule.number
    start = _bin_start(sampler, 0)
    bounds = potential.low - start, potential.high - start
    above = rule.node("Sub", [u, number(start, "int32")], "above")
    bits = sampler.frac_bits - BINS_PER_UNIT_BITS
    place = rule.graph.floor_shift(f"{rule.name}.bin", above, bounds, bits)
    place = rule.node("Max", [place, number(0, "int32")], "bin")
    place = rule.node("Min", [place, number(BINS - 1, "int32")], "bin")
    return rule.node("GatherElements", [table.limits, place], "limit", axis=0)


def _reached(rule: _Rule, thresholds: str, row: str, words: str, number: int) -> str:
    """How many of so many thresholds of its log-rate each word reaches: int32."""
    thresholds = rule.node("Gather", [thresholds, row], "T", axis=0)
    # Long rows are compared much faster than many short ones.
    by_count = rule.node("Transpose", [thresholds], "T", perm=[1, 0])
    by_count = rule.graph.cast(by_count, "int32")
    reached = rule.node("GreaterOrEqual", [words, by_count], "reached")
    # A sum, as a product with ones: it has no trouble with an empty list.
    ones = rule.graph.constant([[1] * number], "uint8")
    counts = rule.node("MatMulInteger", [ones, rule.graph.cast(reached, "uint8")], "counts")
    return rule.node("Squeeze", [counts, rule.graph.constant([0], "int64")], "count")


def _places(rule: _Rule, stay: str) -> str:
    """Places of those that stay: int32."""
    size = rule.graph.cast(rule.node("Size", [stay], "size"), "int32")
    ends = [rule.number(0, "int32"), size, rule.number(1, "int32")]
    return rule.node("Compress", [rule.node("Range", ends, "all"), stay], "places")


def _spread(rule: _Rule, counts: str, places: str, stay: str) -> str:
    """Counts of those that stayed at their places, 0 elsewhere."""
    ones = rule.graph.cast(stay, "int32")
    zeros = rule.node("Sub", [ones, ones], "zeros")
    return rule.node("ScatterElements", [zeros, places, counts], "spread", axis=0)


# --------------------------------------------------------------------------------- rule form

# What a neuron still undecided takes along: its place, its word as a test of C, and the loop's.
_UNDECIDED = ("place", "test", *_LOOP)
_UNDECIDED_TYPES = ("int32", "int64", *_LOOP_TYPES)


def _ruled(rule: _Rule, potential: Signal, u: str, w: str) -> str:
    t, bounds = rule.log2(u, potential.low, potential.high)
    stay = rule.node("Not", [_first_test(rule, t, bounds, w)], "stay")
    t = rule.node("Compress", [t, stay], "tu")
    w = rule.node("Compress", [w, stay], "wu")
    return _spread(rule, _undecided(rule, t, bounds, w), _places(rule, stay), stay)


def _first_test(rule: _Rule, t: str, bounds: tuple[int, int], w: str) -> str:
    """Step 2: whether the count is 0 for certain, by a limit of the word for each ``i``."""
    first, last = bounds[0] >> WORD_BITS, bounds[1] >> WORD_BITS
    limits = [_first_limit(i) for i in range(first, last + 1)]
    row = rule.node("Sub", [rule.whole(t, bounds), rule.number(first, "int32")], "row")
    limit = rule.node("Gather", [rule.graph.constant(limits, "int32"), row], "limit", axis=0)
    return rule.node("Less", [w, limit], "zero")


def _first_limit(i: int) -> int:
    """Words below this give count 0 for a rate of at most ``2**(i+1)``; 0 where none does."""
    if i >= -1:
        return 0
    return 65534 if 17 + i < 0 else 65535 - (1 << (17 + i))


def _undecided(rule: _Rule, t: str, bounds: tuple[int, int], w: str) -> str:
    """Steps 3 to 5 for a list of neurons: int32 counts."""
    graph, number = rule.graph, rule.number
    r, p, s = rule.start(t, rule.whole(t, bounds))
    # w < (C + 32) >> 6 is 64 w + 32 <= C.
    test = rule.node("Mul", [graph.cast(w, "int64"), number(64)], "w64")
    test = rule.node("Add", [test, number(32)], "test")
    zeros = rule.node("Sub", [r, r], "C")
    counts = rule.node("Sub", [w, w], "none")
    ones = rule.node("Add", [counts, number(1, "int32")], "ones")
    places = rule.node("CumSum", [ones, number(0, "int32")], "places")
    places = rule.node("Sub", [places, number(1, "int32")], "places")
    outputs = [graph.fresh(f"{rule.name}.{state}_end") for state in ("counts", *_UNDECIDED)]
    inputs = [number(rule.sampler.max_count), graph.constant(True, "bool"), counts]
    inputs += [places, test, r, zeros, p, s]
    graph.block("Loop", inputs, outputs, f"{rule.name}.loop", body=_leaving_step(rule))
    return outputs[0]


def _leaving_step(outer: _Rule) -> GraphProto:
    """One count z: who has it leaves; the others take the next probability along."""
    rule = outer.within()
    names = _names(rule, ("counts", *_UNDECIDED))
    p, s = names["P"], names["S"]
    c = rule.cumulated(names["C"], p, s)
    above = rule.node("Less", [c, names["test"]], "above")
    stay = rule.node("And", [above, rule.unfinished(p)], "stay")
    place, test, r, c, p, s = (
        rule.node("Compress", [value, stay], state)
        for state, value in zip(
            _UNDECIDED, (names["place"], names["test"], names["r"], c, p, s), strict=True
        )
    )
    # Those that stay have a count of z + 1 or more.
    z = rule.graph.cast(names["z"], "int32")
    count = rule.node("Add", [z, rule.number(1, "int32")], "count")
    updates = rule.node("Expand", [count, rule.node("Shape", [place], "some")], "updates")
    counts = rule.node("ScatterElements", [names["counts"], place, updates], "counts", axis=0)
    p, s = rule.next_probability(p, s, r, names["z"])
    on = rule.node("Greater", [rule.node("Size", [place], "left"), rule.number(0)], "on")
    values = (on, counts, place, test, r, c, p, s)
    types = ("bool", "int32", *_UNDECIDED_TYPES)
    lengths = ("", "all", *["left"] * 6)
    given = list(zip(values, types, lengths, strict=True))
    taken = [("counts", "int32"), *zip(_UNDECIDED, _UNDECIDED_TYPES, strict=True)]
    return _loop_body(rule, taken, given, names)
