"""The draw as word operations, resumable: a beginning, then one pass of its loop at a time.

:mod:`pvae_neuro.network.sampler` states the rule with a loop, which a neuron's program may not
have. Here its steps 1 to 4 are the program ``begin`` and one pass of step 5 is the program
``advance``, both straight lines. Between passes a neuron keeps its state in words, so a chip may
make one pass per time step. All neurons are in the same pass, and one that is ``done`` keeps its
count. A draw takes at most ``max_count + 1`` passes.

The only number that changes from pass to pass is ``inverse``, ``round(2**22 / number)`` in pass
``number``, counted from 1: a table where a program may read one, else one more neuron that sends
it to all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network.interval import Interval, hull
from pvae_neuro.network.operations import LARGEST_SHIFT, OPERATIONS
from pvae_neuro.network.program import Neuron, Program, Value, trace
from pvae_neuro.network.sampler import (
    EXP2_COEFFICIENTS,
    LOG2_E,
    ONE,
    WORD_BITS,
    WORDS,
    inverse,
    rate_bits,
)

Words = dict[str, NDArray[np.int64]]
"""Values by the names of a program."""

_COEFFICIENTS = ("exp2_4", "exp2_3", "exp2_2", "exp2_1", "exp2_0")
STATE = ("r", "w", "p", "s", "c", "z", "done")
"""Words that a neuron keeps from pass to pass; ``z`` is the count, ``done`` says that it stands."""
_POTENTIALS_PER_BLOCK = 1 << 13


def begin(n: Neuron) -> None:
    """Steps 1 to 4. Where a program may branch, it may leave with count 0 at either exit."""
    log2 = n.mul(n.u, n.log2_e, n.log2_shift)
    fraction = log2 & n.fraction
    whole = n.shr(log2 - fraction, n.fraction_bits)
    # Below these words the count is 0; the tests only save work.
    first = (whole <= n.minus_two, n.w < n.last_word - n.max(n.shl(1, whole + n.exit_shift), 1))
    n.r = n.shr(_exp2(n, fraction), n.rate_shift - whole)
    half_words = n.shr(n.shl(n.r, n.words_left) - (n.r & n.words_rest), n.words_right)
    second = (whole < 0, n.w < n.last_word - 1 - half_words)
    x = n.mul(n.r, n.log2_e, n.rate_log2_shift)
    rest = -x & n.fraction
    n.done = n.max(n.min(*first), n.min(*second))
    n.p = n.select(n.done, 0, _exp2(n, rest))
    n.s = n.shr(x + rest, n.fraction_bits)
    n.c = 0
    n.z = 0


def advance(n: Neuron) -> None:
    """One pass of step 5. A neuron that is done has p = 0, by which it stays so."""
    n.c = n.c + n.shr(n.p, n.min(n.s, n.widest_shift))
    stop = n.max(n.w < n.shr(n.c, n.word_shift), n.max(n.z >= n.max_count, n.p <= 0))
    factor = n.mul(n.r, n.inverse, n.unit_bits)
    # The product keeps its 48 bits, and the result must be below 2**22 unless s is used up. The
    # length of the product tells by how much to shift, or by one less.
    coarse = n.mul(n.p, factor, n.coarse_shift)
    most = n.max(n.most_more - n.clz(coarse), 0)
    fits = n.below_one >= n.mul(n.p, factor, n.rate_bits + most - 1)
    more = n.min(n.max(most - fits, 0), n.s)
    n.p = n.select(stop, 0, n.mul(n.p, factor, n.rate_bits + more))
    n.s = n.s - more
    n.z = n.z + 1 - stop
    n.done = stop


def _exp2(n: Neuron, fraction: Value) -> Value:
    value, *others = (getattr(n, name) for name in _COEFFICIENTS)
    for coefficient in others:
        value = n.mul(value, fraction, n.fraction_bits) + coefficient
    return value


BEGIN, ADVANCE = trace(begin), trace(advance)


@dataclass(frozen=True)
class Passes:
    """The resumable form of the sampler of one largest count and one unit of the log-rate.

    Attributes
    ----------
    max_count, frac_bits : int
        As in :class:`~pvae_neuro.network.population.Sampler`.
    """

    max_count: int
    frac_bits: int

    @property
    def name(self) -> str:
        """By which draws name it."""
        return f"counts_{self.max_count}_{self.frac_bits}"

    @property
    def constants(self) -> dict[str, int]:
        """Constants of both programs."""
        q = rate_bits(self.max_count)
        return {
            "log2_e": LOG2_E,
            "log2_shift": self.frac_bits + 6,
            "fraction": WORDS - 1,
            "fraction_bits": WORD_BITS,
            "minus_two": -2,
            "last_word": WORDS - 1,
            "exit_shift": 17,
            **dict(zip(_COEFFICIENTS, EXP2_COEFFICIENTS, strict=True)),
            "rate_shift": 22 - q,
            # The rate in units of 2**-16, rounded down.
            "words_left": max(0, WORD_BITS - q),
            "words_right": max(0, q - WORD_BITS),
            "words_rest": (1 << max(0, q - WORD_BITS)) - 1,
            "rate_log2_shift": q + 6,
            "max_count": self.max_count,
            "widest_shift": LARGEST_SHIFT,
            "word_shift": 6,
            "unit_bits": 22,
            "rate_bits": q,
            "coarse_shift": 23,
            # A product of n leading zeros after the coarse shift is shifted by 25 - n in all.
            "most_more": 25 - q,
            "below_one": ONE - 1,
        }

    @property
    def inverses(self) -> tuple[int, ...]:
        """``inverse`` of each pass; the last one is not used."""
        return tuple(inverse(number) for number in range(1, self.max_count + 2))

    def begin(self, potential: NDArray[np.int64], word: NDArray[np.int64]) -> Words:
        """State of every neuron before its first pass."""
        return self._run(BEGIN, {"u": potential, "w": word})

    def advance(self, state: Words, number: int) -> Words:
        """State after pass ``number``, counted from 1."""
        return self._run(ADVANCE, {**state, "inverse": np.array([inverse(number)])})

    def states(self, potential: NDArray[np.int64], word: NDArray[np.int64]) -> Iterator[Words]:
        """Yield the state before the first pass and after each one, until all are done."""
        state = self.begin(potential, word)
        yield state
        for number in range(1, self.max_count + 2):
            if state["done"].all():
                return
            state = self.advance(state, number)
            yield state

    def draw(self, potential: NDArray[np.int64], word: NDArray[np.int64]) -> NDArray[np.int64]:
        """Counts, as :func:`~pvae_neuro.network.sampler.sample_counts` draws them, pass by pass."""
        *_, last = self.states(potential, word)
        return last["z"]

    def _run(self, program: Program, values: Words) -> Words:
        known = {**values, **{name: np.array([v]) for name, v in self.constants.items()}}
        known = results(program, known)
        new = {o.variable: known[o.value] for o in program.outputs}
        shape = np.broadcast_shapes(*(v.shape for v in values.values()))
        return {name: np.broadcast_to({**values, **new}[name], shape) for name in STATE}

    def widths(self, low: int, high: int) -> dict[str, dict[str, Interval]]:
        """Bounds of every word of both programs over all log-rates of a range and all words.

        By program and name; a product before its shift has the name of its result with a star.
        Found by running every log-rate with the smallest and the largest word: no other word lets a
        value leave these bounds.
        """
        return _widths(self, low, high)


def results(program: Program, known: Words) -> Words:
    """``known`` and the result of every instruction of a program that does not draw."""
    known = {"0": np.zeros(1, np.int64), "1": np.ones(1, np.int64), **known}
    for i in program.instructions:
        known[i.result] = OPERATIONS[i.operation].integer(*(known[a] for a in i.arguments))
    return known


@lru_cache(maxsize=16)
def _widths(passes: Passes, low: int, high: int) -> dict[str, dict[str, Interval]]:
    found: dict[str, dict[str, Interval]] = {BEGIN.name: {}, ADVANCE.name: {}}
    constants = {name: np.array([v]) for name, v in passes.constants.items()}
    zero = np.zeros(1, np.int64)
    for first in range(low, high + 1, _POTENTIALS_PER_BLOCK):
        u = np.arange(first, min(first + _POTENTIALS_PER_BLOCK, high + 1))
        for word in (0, WORDS - 1):
            state: Words = {"u": u, "w": np.full(len(u), word)}
            for number in range(passes.max_count + 2):
                program = ADVANCE if number else BEGIN
                known = {**constants, **state, "inverse": np.array([inverse(max(number, 1))])}
                known = results(program, known)
                _widen(found[program.name], program, known)
                going = np.broadcast_to(state.get("done", zero) == 0, len(state["w"]))
                state.update({o.variable: known[o.value] for o in program.outputs})
                # One that is done has one more pass; the next ones are the same to it.
                if not going.any():
                    break
                state = {name: np.broadcast_to(v, going.shape)[going] for name, v in state.items()}
    return found


def _widen(found: dict[str, Interval], program: Program, known: Words) -> None:
    for i in program.instructions:
        values = {i.result: _ends(known[i.result])}
        if i.operation == "mul":
            a, b, shift = (known[name] for name in i.arguments)
            values[f"{i.result}*"] = _ends(a * b, a * b + rounding(shift))
        for name, ends in values.items():
            found[name] = hull(found[name], ends) if name in found else ends


def rounding(shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """What a rounded shift to the right adds first."""
    return (np.int64(1) << np.maximum(shift, 0)) >> 1


def _ends(*values: NDArray[np.int64]) -> Interval:
    least, most = min(v.min() for v in values), max(v.max() for v in values)
    return Interval(np.array([least]), np.array([most]))
