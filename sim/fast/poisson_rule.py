"""The rule of ``network/sampler.py``, compiled, for one neuron: it decides what tables do not."""

from __future__ import annotations

from typing import Any

from pvae_neuro.network import sampler as rule
from pvae_neuro.sim.fast.language import Body, Value, function, int64_at, larger, select, smaller

# Of a number of 48 bits nothing is left by a longer shift.
_LONGEST_SHIFT = 62


def _rounded(value: Value, shift: Any) -> Value:
    return (value + ((1 << shift) >> 1)) >> shift


def _exp2(fraction: Value) -> Value:
    value: Any = rule.EXP2_COEFFICIENTS[0]
    for coefficient in rule.EXP2_COEFFICIENTS[1:]:
        value = _rounded(value * fraction, rule.WORD_BITS) + coefficient
    return value


def _early_exits(i: Value, r: Value, q: Value) -> Value:
    """Words below this have the count 0: steps 2 and 3 of the rule."""
    power = 1 << larger(i + 17, 0)
    tiny = select(i < -1, select(i < -17, 65534, 65535 - power), 0)
    more = q - rule.WORD_BITS
    in_words = (r >> larger(more, 0)) << larger(-more, 0)
    return larger(tiny, select(i < 0, 65534 - in_words, 0))


@function(3)
def count_by_rule(code: Body, u: Value, word: Value, numbers_at: Value) -> Value:
    """Count of a potential and a word.

    The numbers are max_count, frac_bits, the position of the rate, and the address of the inverses
    of 1 .. max_count, int64.
    """
    numbers = int64_at(numbers_at)
    max_count, frac_bits, q, inverse = numbers[0], numbers[1], numbers[2], int64_at(numbers[3])
    t = _rounded(u * rule.LOG2_E, frac_bits + 6)
    f = t & rule.WORDS - 1
    i = (t - f) >> rule.WORD_BITS
    r = _rounded(_exp2(f), 22 - q - i)
    x = _rounded(r * rule.LOG2_E, q + 6)
    fraction = -x & rule.WORDS - 1
    p, s = code.variable(_exp2(fraction)), code.variable((x + fraction) >> rule.WORD_BITS)
    z, total = code.variable(0), code.variable(0)
    threshold = code.variable(_early_exits(i, r, q))

    def add() -> None:
        nonlocal total
        total += _rounded(p, smaller(s, _LONGEST_SHIFT))
        threshold.set(larger(threshold, (total + 32) >> 6))

    add()
    with code.loop_while(lambda: (word >= threshold) & (p != 0) & (z < max_count)):
        product, shift = p * _rounded(r * inverse[z], 22), code.variable(q)
        p.set(_rounded(product, shift))
        with code.loop_while(lambda: (p >= rule.ONE) & (s > 0)):
            shift += 1
            s -= 1
            p.set(_rounded(product, shift))
        add()
        z += 1
    return z
