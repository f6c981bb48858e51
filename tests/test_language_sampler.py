"""The sampler: its rule, the distribution it is, and the registers it needs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from language_tools import scalar_draw

from pvae_neuro.network.sampler import (
    LOG2_E,
    LOWEST_POTENTIAL,
    ONE,
    WORDS,
    cumulative,
    exp2,
    inverse,
    largest_potential,
    mul,
    rate_bits,
    sample_counts,
    tail,
    total_variation,
)

FRAC_BITS = 14
MAX_COUNTS = (1, 2, 7, 15, 31, 63, 64, 100, 127, 128, 255)


def some_potentials(max_count, frac_bits=FRAC_BITS, number=5):
    low, high = LOWEST_POTENTIAL << frac_bits, max(largest_potential(max_count, frac_bits), 0)
    rng = np.random.default_rng(max_count)
    return np.unique([low, low + 1, -1, 0, high - 1, high, *rng.integers(low, high, number)])


@pytest.mark.parametrize("max_count", MAX_COUNTS)
def test_rule_equals_cumulative(max_count):
    """All words of some potentials: a count is the number of z that the word has reached."""
    words = np.arange(WORDS)
    for u in some_potentials(max_count):
        counts = sample_counts(np.full(WORDS, u), words, max_count, FRAC_BITS)
        limits = cumulative(np.array([u]), max_count, FRAC_BITS)[0]
        assert np.array_equal(counts, np.searchsorted(limits, words, side="right")), u
        assert np.all(np.diff(counts) >= 0), "monotone in the word"
        assert limits[-1] == WORDS
        assert counts.min() >= 0
        assert counts.max() <= max_count


@pytest.mark.parametrize("max_count", MAX_COUNTS)
def test_rule_in_python_integers(max_count):
    """The documented rule, written down once more; words around its thresholds."""
    for u in some_potentials(max_count, number=4):
        limits = np.unique(cumulative(np.array([u]), max_count, FRAC_BITS)[0])
        near = np.unique(np.concatenate([limits - 1, limits, [0, 1, 65534, 65535]]))
        words = near[(near >= 0) & (near < WORDS)][:40]
        counts = sample_counts(np.full(len(words), u), words, max_count, FRAC_BITS)
        expected = [scalar_draw(int(u), int(w), max_count, FRAC_BITS) for w in words]
        assert counts.tolist() == expected


@pytest.mark.parametrize("frac_bits", [4, 8, 12, 16])
def test_every_position_of_the_point(frac_bits):
    potentials = some_potentials(15, frac_bits)
    words = np.arange(0, WORDS, 997)
    u, w = np.meshgrid(potentials, words)
    counts = sample_counts(u, w, 15, frac_bits)
    limits = cumulative(potentials, 15, frac_bits)
    assert np.array_equal(counts, (w[..., None] >= limits[None]).sum(axis=2))


@pytest.mark.parametrize("max_count", [15, 63, 127, 255])
def test_early_exits_never_contradict_the_sum(max_count):
    """Wherever an early exit gives 0, the distribution function of the rule gives 0 too."""
    u = np.arange(LOWEST_POTENTIAL << 10, 1)
    q = rate_bits(max_count)
    t = mul(u, LOG2_E, 16)
    f, i = t & (WORDS - 1), t >> 16
    m, shift = exp2(f), 22 - q - i
    r = (m + ((np.int64(1) << shift) >> 1)) >> shift
    x = mul(r, LOG2_E, q + 6)
    part = -x & (WORDS - 1)
    s = (x + part) >> 16
    zero = (((exp2(part) + ((np.int64(1) << s) >> 1)) >> s) + 32) >> 6
    first = np.where(17 + i < 0, 65534, 65535 - (np.int64(1) << np.clip(17 + i, 0, 31)))
    second = 65534 - (r >> (q - 16) if q >= 16 else r << (16 - q))
    # An exit takes words below its limit; the last two words are never taken by an exit.
    ends = (s == 0) & (exp2(part) == 0)
    for limit, taken in ((first, i < -1), (second, i < 0)):
        assert np.all((limit <= zero) | ends | ~taken)
        assert limit[taken].max() <= 65534


@pytest.mark.parametrize(
    ("max_count", "distance"), [(15, 3e-4), (31, 3e-4), (63, 3e-4), (127, 3e-4), (255, 6e-4)]
)
def test_distance_from_poisson(max_count, distance):
    """Over all potentials, against the law whose tail is gathered at the largest count."""
    bits = FRAC_BITS if max_count == 63 else 12
    low, high = LOWEST_POTENTIAL << bits, largest_potential(max_count, bits)
    if max_count > 63:
        low = -8 << bits
    assert total_variation(low, high, max_count, bits) <= distance
    assert tail(high, max_count, bits) <= 1e-4 < tail(high + 1, max_count, bits)


def test_largest_potentials():
    limits = [largest_potential(m, FRAC_BITS) / 2**FRAC_BITS for m in (15, 31, 63, 127, 255)]
    assert limits[2] == pytest.approx(3.6485, abs=1e-3)
    assert all(a < b for a, b in pairwise(limits))


def test_registers_of_63_counts():
    """Words of at most 24 bits and products of at most 47, signs included."""
    low, high = LOWEST_POTENTIAL << FRAC_BITS, largest_potential(63, FRAC_BITS)
    u = np.unique(np.concatenate([np.arange(low, high, 61), [low, high]])).astype(np.int64)
    seen = {"word": 0, "product": 0}

    def word(values):
        seen["word"] = max(seen["word"], int(np.abs(values).max()))
        return values

    def product(a, b):
        seen["product"] = max(seen["product"], int(np.abs(a * b).max()))
        return a * b

    def times(a, b, shift):
        return word((product(a, b) + ((1 << shift) >> 1)) >> shift)

    def power(f):
        value = 56766
        for coefficient in (218152, 1012684, 2906669, 4194315):
            value = word(times(value, f, 16) + coefficient)
        return value

    t = times(u, LOG2_E, FRAC_BITS + 6)
    f, i = t & (WORDS - 1), t >> 16
    m = power(f)
    r = word((m + (np.int64(1) << (4 - i))) >> (5 - i))
    x = times(r, LOG2_E, 23)
    part = -x & (WORDS - 1)
    p, s, c = power(part), (x + part) >> 16, np.zeros(len(u), np.int64)
    assert (5 - i).min() >= 0 and (5 - i).max() <= 31
    # While S exceeds a word's shift, P >> S is 0 already.
    for z in range(64):
        c = word(c + ((p + ((np.int64(1) << np.minimum(s, 62)) >> 1)) >> np.minimum(s, 62)))
        assert c.max() < 1 << 23
        p_next, shift = product(p, times(r, inverse(z + 1), 22)), np.full(len(u), 17)
        while True:
            p = (p_next + (np.int64(1) << (shift - 1))) >> shift
            again = (p >= ONE) & (s > 0)
            if not again.any():
                break
            shift, s = shift + again, s - again
        word(p)
    assert seen["word"] < 1 << 23
    assert 1 << 45 < seen["product"] < 1 << 46
    assert s.min() >= 0


def test_words_of_a_rate_of_one():
    """A case that can be checked by hand: e^-1, and the sums of e^-1 / k!."""
    limits = cumulative(np.array([0]), 15, FRAC_BITS)[0] / WORDS
    law = np.cumsum(np.exp(-1.0) / np.cumprod([1, 1, 2, 3, 4, 5]))
    assert np.abs(limits[:6] - law).max() < 2e-5


def test_shapes_are_broadcast():
    counts = sample_counts(np.zeros((1, 5), np.int32), np.full((3, 1), 65535, np.uint16), 7, 8)
    assert counts.shape == (3, 5)
    assert np.all(counts == counts[0, 0])
