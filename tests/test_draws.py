"""Noise, tables and draws of the engine ``fast`` against NumPy and ``network/sampler.py``."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="needs llvmlite")

from pvae_neuro.network import Interval, Sampler
from pvae_neuro.network import sampler as rule
from pvae_neuro.sim.fast import sampling
from pvae_neuro.sim.fast.events import HEAD_BYTES, list_cells, list_stride
from pvae_neuro.sim.fast.layouts import CELLS_PER_LINE, aligned, padded_size
from pvae_neuro.sim.fast.memory import (
    BUCKET,
    CELLS,
    RAW,
    ROOM_SIZE,
    SAMPLE,
    SEED,
    STEP,
    address,
)
from pvae_neuro.sim.fast.philox import fill_words
from pvae_neuro.sim.fast.poisson_rule import count_by_rule
from pvae_neuro.sim.fast.processor import LEVELS, has, level
from pvae_neuro.sim.fast.sampling import Samplers, draw_bytes, draw_counts
from pvae_neuro.sim.fast.thresholds import (
    DISTANCE,
    LARGEST_WORD,
    WINDOW,
    threshold_table,
)

UNTOUCHED = -77
# Smallest and largest potential, max_count, frac_bits.
SAMPLERS = [
    (-131072, 59779, 63, 14),
    (-16 << 8, 0, 1, 8),
    (-8 << 4, 2 << 4, 15, 4),
    (-16 << 8, rule.largest_potential(15, 8), 15, 8),
    (-3 << 12, rule.largest_potential(127, 12), 127, 12),
    (-2 << 9, rule.largest_potential(255, 9), 255, 9),
    (-5 << 16, -5 << 16, 31, 16),
]


def call(numbers: list[int], room: np.ndarray) -> None:
    """Carry out a command."""
    given = np.array(numbers, np.int64)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
    kind(numbers[0])(address(given), address(room))


# ------------------------------------------------------------------------------------- noise


def check_words(seed, step, sample, stream, first, blocks):
    raw = aligned(np.full(4 * blocks + 8, 5, np.uint64))
    room = np.zeros(ROOM_SIZE, np.int64)
    room[[RAW, STEP, SAMPLE]] = address(raw), step, sample
    room.view(np.uint64)[SEED] = seed
    call([fill_words.address, stream, first, blocks], room)
    counter = np.array([first, step, sample, stream], np.uint64)
    truth = np.random.Philox(key=np.array([seed, 0], np.uint64), counter=counter)
    np.testing.assert_array_equal(raw[: 4 * blocks], truth.random_raw(4 * blocks))
    assert (raw[4 * blocks :] == 5).all()


def check_noise():
    for blocks in (1, 2, 31, 32, 33, 70):
        check_words(7, 3, 5, 0, 0, blocks)
    check_words((1 << 63) + 12345, (1 << 33) + 7, (1 << 40) + 1, 3, 9, 40)
    check_words((1 << 64) - 1, (1 << 62) + 1, (1 << 35) - 1, (1 << 31) - 1, (1 << 30) + 5, 35)


def test_words_are_numpys():
    check_noise()


# ------------------------------------------------------------------------------------ tables


@pytest.mark.parametrize(("u_min", "u_max", "max_count", "frac_bits"), SAMPLERS)
def test_exact_thresholds_lie_within_the_gap(u_min, u_max, max_count, frac_bits):
    table = threshold_table(u_min, u_max, max_count, frac_bits)
    gap = int(table.gap[0])
    for first in range(u_min, u_max + 1, 1 << 13):
        u = np.arange(first, min(first + (1 << 13), u_max + 1))
        exact = rule.cumulative(u, max_count, frac_bits)
        above = u - u_min
        row, part = above >> table.bits, (above << 16 >> table.bits) & LARGEST_WORD
        left, fall = table.rows[row].astype(np.int64).swapaxes(0, 1)
        line = left - (fall * part[:, None] >> 16)
        which = table.start[row, 0][:, None] + np.arange(WINDOW)
        inside = which < max_count
        threshold = np.take_along_axis(exact, np.minimum(which, max_count - 1), 1)
        over = (threshold - line)[inside]
        assert over.min() >= 0
        assert over.max() <= gap
        assert (line[~inside] == LARGEST_WORD).all()
        assert (table.first[above >> table.first_bits] <= exact[:, 0]).all()
    assert gap <= 2 * DISTANCE[rule.rate_bits(max_count)] + 64
    np.testing.assert_array_equal(table.start[:, 1], table.start[:, 0] > 0)


@pytest.mark.parametrize("max_count", [63, 127, 255])
def test_thresholds_are_near_poissons_law(max_count):
    """For each potential: ``benchmarks/sampler_distance.py``; here for some."""
    frac_bits = 17
    last = rule.largest_potential(max_count, frac_bits)
    u = np.arange(rule.LOWEST_POTENTIAL << frac_bits, last + 1, 977)
    drawn = rule.cumulative(u, max_count, frac_bits)[:, :max_count]
    law = rule.WORDS * rule.poisson_cdf(np.exp(u / 2.0**frac_bits), max_count)
    largest = np.abs(drawn - law).max()
    assert 1 < largest <= DISTANCE[rule.rate_bits(max_count)]


def derivatives(rate, counts):
    """Second and third derivative of Poisson's distribution function by the log-rate."""
    z, mass = np.arange(counts), np.diff(rule.poisson_cdf(rate, counts), prepend=0.0, axis=1)
    rate = rate[:, None]
    second = mass * rate * (rate - 1 - z)
    return second, mass * rate * (2 * rate - 1 - z - (rate - z) * (rate - 1 - z))


def test_the_third_derivative_is_bounded():
    rate = np.geomspace(1e-7, 300, 4001)
    _, third = derivatives(rate, 500)
    assert (np.abs(third) <= rate[:, None] ** 1.5 + 1).all()


def test_derivatives_of_poissons_law():
    rate = np.geomspace(0.01, 20, 10001)
    step, law = np.log(rate[1] / rate[0]), rule.poisson_cdf(rate, 60)
    second, third = derivatives(rate, 60)
    # Central differences are wrong by a twelfth of the step squared times the fourth derivative,
    # which is below 20**2 here, and by what sums of 60 roundings leave, divided by it.
    allowed = step**2 * 20**2 + 60 * 2.0**-52 / step**2
    assert np.abs(np.diff(law, 2, axis=0) / step**2 - second[1:-1]).max() < allowed
    slope, error = (second[2:] - second[:-2]) / (2 * step), step**2 * 20**2.5
    assert np.abs(slope - third[1:-1]).max() < error + 60 * 2.0**-45 / step


# ------------------------------------------------------------------------------------- draws


def check_population(interval, sampler, u, words, skipped=0, listed=True, packed=True):
    """Draw; compare counts, list and bytes; nothing else is written."""
    n = len(u)
    stride, size = list_stride(n), padded_size(n, CELLS_PER_LINE)
    places = np.cumsum([0, size, size + CELLS_PER_LINE, size])
    cells = aligned(np.full(places[-1] + list_cells(n) + CELLS_PER_LINE, UNTOUCHED, np.int32))
    cells[:n] = u
    raw = aligned(np.full(skipped + n + 32, LARGEST_WORD, np.uint16))
    raw[skipped : skipped + n] = words
    scratch = aligned(np.empty(draw_bytes(n), np.uint8))
    room = np.zeros(ROOM_SIZE, np.int64)
    room[[CELLS, RAW, BUCKET]] = address(cells), address(raw), address(scratch)
    samplers = Samplers()
    number = samplers.address_of(Interval(*(np.array([side]) for side in interval)), sampler)
    _, z_at, bytes_at, list_place = (int(p) for p in places)
    wanted = bytes_at if packed else -1, list_place if listed else -1
    call([draw_counts.address, 0, z_at, n, skipped, number, *wanted, stride], room)
    expected = rule.sample_counts(u, words, sampler.max_count, sampler.frac_bits)
    np.testing.assert_array_equal(cells[z_at : z_at + n], expected)
    np.testing.assert_array_equal(cells[:n], u)
    assert (cells[z_at + size : bytes_at] == UNTOUCHED).all()
    given = cells[bytes_at:list_place].view(np.uint8)
    if packed:
        np.testing.assert_array_equal(given[:n], expected)
        assert (cells[bytes_at + size // 4 : list_place] == UNTOUCHED).all()
    else:
        assert (cells[bytes_at:list_place] == UNTOUCHED).all()
    if not listed:
        assert (cells[list_place:] == UNTOUCHED).all()
        return
    found = int(cells[list_place])
    arrays = cells[list_place + HEAD_BYTES // 4 :][: 3 * stride].reshape(3, stride)
    active, count, pair = arrays
    order = np.argsort(active[:found])
    np.testing.assert_array_equal(active[:found][order], np.flatnonzero(expected))
    np.testing.assert_array_equal(count[:found], expected[active[:found]])
    assert active[found] == count[found] == 0
    both = np.append(count[:found], 0)[: 2 * ((found + 1) // 2)].reshape(-1, 2)
    np.testing.assert_array_equal(pair[: len(both)], both[:, 0] | both[:, 1] << 16)
    assert (cells[list_place + list_cells(n) :] == UNTOUCHED).all()


def words_near(rng, u, max_count, frac_bits):
    """Words at the thresholds of the potentials, one beside them, and some others."""
    exact = rule.cumulative(u, max_count, frac_bits)
    # Thresholds that a word can meet, most of all.
    which = np.minimum((exact < rng.integers(0, rule.WORDS, len(u))[:, None]).sum(1), max_count)
    words = exact[np.arange(len(u)), which] + rng.integers(-1, 2, len(u))
    far = rng.random(len(u)) < 0.25
    words[far] = rng.integers(0, rule.WORDS, far.sum())
    words[rng.random(len(u)) < 0.02] = LARGEST_WORD
    words[rng.random(len(u)) < 0.02] = 0
    return np.clip(words, 0, LARGEST_WORD)


def check_draws(populations=12):
    rng = np.random.default_rng(4)
    for u_min, u_max, max_count, frac_bits in SAMPLERS:
        sampler = Sampler(max_count, frac_bits)
        for number in range(populations):
            n = (512, 1, 7, 31, 32, 33, 100, 784)[number % 8]
            u = rng.integers(u_min, u_max + 1, n)
            u[rng.random(n) < 0.05] = u_max
            u[rng.random(n) < 0.05] = u_min
            words = words_near(rng, u, max_count, frac_bits)
            switches = {"listed": number % 4 < 2, "packed": number % 3 < 2}
            check_population((u_min, u_max), sampler, u, words, (0, 5)[number % 2], **switches)


def test_counts_are_those_of_the_rule():
    check_draws()


def test_every_potential_of_the_shipped_range():
    u_min, u_max, max_count, frac_bits = SAMPLERS[0]
    rng = np.random.default_rng(5)
    u = rng.permutation(np.arange(u_min, u_max + 1))
    for part in np.array_split(u, 16):
        words = words_near(rng, part, max_count, frac_bits)
        check_population((u_min, u_max), Sampler(max_count, frac_bits), part, words)


def test_all_fire_or_none():
    u = np.zeros(70, np.int64)
    for word in (0, LARGEST_WORD):
        check_population((0, 1 << 14), Sampler(63, 14), u, np.full(70, word))


def test_a_gap_that_is_too_small_is_found(monkeypatch):
    def narrow(*arguments):
        table = threshold_table(*arguments)
        return replace(table, gap=np.zeros_like(table.gap))

    monkeypatch.setattr(sampling, "threshold_table", narrow)
    with pytest.raises(AssertionError):
        check_draws()


def test_a_potential_outside_reads_no_other_memory():
    """It counts as the nearest end of a table; the counts mean nothing."""
    n, sampler = 64, Sampler(63, 14)
    for u in (-(1 << 31), (1 << 31) - 1, -(1 << 20), 1 << 20):
        with pytest.raises(AssertionError):
            check_population((0, 1 << 14), sampler, np.full(n, u), np.full(n, LARGEST_WORD))


@pytest.mark.parametrize(("u_min", "u_max", "max_count", "frac_bits"), SAMPLERS)
def test_the_compiled_rule(u_min, u_max, max_count, frac_bits):
    rng = np.random.default_rng(6)
    u = rng.integers(u_min, u_max + 1, 3000)
    words = words_near(rng, u, max_count, frac_bits)
    inverse = np.array([rule.inverse(i) for i in range(1, max_count + 1)], np.int64)
    numbers = np.array(
        [max_count, frac_bits, rule.rate_bits(max_count), address(inverse)], np.int64
    )
    got = [count_by_rule(*pair, address(numbers)) for pair in zip(u, words, strict=True)]
    np.testing.assert_array_equal(got, rule.sample_counts(u, words, max_count, frac_bits))


LIMITS = {
    "avx512": ("skylake-avx512", "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx2,+avx,+popcnt"),
    "avx2": ("haswell", "+avx2,+avx,+sse4.2,+sse4.1,+ssse3,+bmi,+bmi2,+popcnt"),
    "sse4": ("nehalem", "+sse4.2,+sse4.1,+ssse3,+popcnt"),
    "plain": ("generic", ""),
}
CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
import test_draws
assert test_draws.level() == sys.argv[2], test_draws.level()
test_draws.check_noise()
test_draws.check_draws(8)
"""


@pytest.mark.parametrize("limit", LIMITS)
def test_limited_instructions_give_the_same_integers(limit, tmp_path):
    """The code generator is told of another processor."""
    if not has(*LEVELS[limit]):
        pytest.skip(f"this processor has no instructions of level {limit}")
    name, features = LIMITS[limit]
    told = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(Path(__file__).parent), limit],
        env={**os.environ, **told, "NUMBA_CACHE_DIR": str(tmp_path)},
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert level() in LEVELS
