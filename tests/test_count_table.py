"""The sampler's exact distribution against brute force and against Poisson."""

from __future__ import annotations

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from pvae_neuro.count_table import (
    MAX_TOTAL_VARIATION,
    WORDS,
    build_count_table,
    largest_potential,
    poisson_cdf,
)
from pvae_neuro.errors import CertificateError, InputError
from pvae_neuro.sim.poisson_sampler import sample_counts

ALL_WORDS = np.arange(WORDS, dtype=np.uint16)


def table_for(max_count: int, frac_bits: int = 12):
    u_max = min(largest_potential(max_count, frac_bits), 10 << frac_bits)
    return build_count_table(frac_bits, -8 << frac_bits, u_max, max_count)


def test_exact_distribution_is_what_all_words_give():
    table = table_for(15)
    rng = np.random.default_rng(0)
    potentials = np.r_[table.u_min, table.u_max, rng.integers(table.u_min, table.u_max, 40)]
    for u, expected in zip(potentials, table.distribution(potentials), strict=True):
        counts = sample_counts(np.full(WORDS, u), ALL_WORDS, table)
        drawn = np.bincount(counts, minlength=table.max_count + 1)
        assert np.array_equal(drawn, np.rint(expected * WORDS).astype(int))


@pytest.mark.parametrize("max_count", [1, 3, 7, 15, 31, 63])
def test_total_variation_over_every_potential(max_count):
    table = table_for(max_count)
    assert table.total_variation().max() <= MAX_TOTAL_VARIATION


def test_total_variation_agrees_with_its_definition():
    table = table_for(7)
    potentials = np.array([table.u_min, -4096, 0, table.u_max])
    rate = np.exp(potentials / 4096.0)
    mass = np.diff(poisson_cdf(rate, 60), axis=1, prepend=0)
    ours = np.pad(table.distribution(potentials), ((0, 0), (0, 60 - 8)))
    expected = np.abs(ours - mass).sum(axis=1) / 2
    assert np.allclose(table.total_variation(potentials), expected, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    max_count=st.integers(1, 31),
    frac_bits=st.integers(6, 14),
    words=st.lists(st.integers(0, WORDS - 1), min_size=2, max_size=40),
)
def test_counts_grow_with_word_and_stay_in_range(max_count, frac_bits, words):
    table = table_for(max_count, frac_bits)
    words = np.sort(np.array(words, np.uint16))
    rng = np.random.default_rng(int(words[0]))
    u = rng.integers(table.u_min, table.u_max + 1, len(words))
    counts = sample_counts(u, words, table)
    assert counts.min() >= 0 and counts.max() <= max_count
    # Words with equal low bits pick equal rows, and there counts are monotone.
    same_row = words & ~np.uint16((1 << table.dither_bits) - 1)
    ordered = sample_counts(np.full(len(words), u[0]), same_row, table)
    assert np.all(np.diff(ordered) >= 0)


def test_corrupted_table_exceeds_the_bound():
    table = toy.population(np.random.default_rng(0), 4, 15).table
    threshold = table.threshold.copy()
    threshold[150] = 0
    broken = type(table)(
        threshold, table.u_min, table.u_max, table.frac_bits, table.row_bits, table.dither_bits
    )
    assert broken.total_variation().max() > MAX_TOTAL_VARIATION


def test_refuses_an_empty_range_and_an_unreachable_accuracy():
    with pytest.raises(InputError, match="u_min < u_max"):
        build_count_table(12, 100, 100, 15)
    with pytest.raises(CertificateError, match="lower max_count"):
        # Rates up to e^5 = 148 need far more counts than 20.
        build_count_table(12, -8 << 12, 5 << 12, 20)
