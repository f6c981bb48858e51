"""Counts of sound generators pass, those of faulty ones do not; the power is as stated."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import toy

from pvae_neuro.errors import InputError
from pvae_neuro.network.sampler import WORDS, sample_counts
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.verification.draws import BINS, POWER, SIGNIFICANCE, check_draws

NETWORK = toy.lateral(latents=64)
SAMPLER = NETWORK.population_of["latents"].sampler


def drawn(words, seed=0):
    """Recording of counts that these words [samples, steps, neurons] draw of potentials at hand."""
    rng = np.random.default_rng(seed)
    u = rng.integers(-4 << 12, 2 << 12, words.shape)
    z = np.zeros_like(u)
    z[:, 1:] = sample_counts(u[:, :-1], words[:, 1:], SAMPLER.max_count, SAMPLER.frac_bits)
    return SimpleNamespace(variables={"latents.u": u, "latents.z": z})


def words(seed, shape=(4, 101, 64)):
    return np.random.default_rng(seed).integers(0, WORDS, shape)


def test_a_run_of_the_definition_passes():
    images = toy.images(NETWORK, 8)
    run = get_engine("reference").run(NETWORK, images, 100, 3, record="full", progress=False)
    (found,) = check_draws(NETWORK, run)
    assert found.passed and found.draws == 8 * 100 * 64
    assert found.to_dict()["passed"] is True


def test_sound_generators_fail_as_often_as_stated():
    failed = sum(not check_draws(NETWORK, drawn(words(s), s))[0].passed for s in range(300))
    # At most 3 tests of one trial; 300 trials of 0.003 each.
    assert failed <= 5
    assert pytest.approx(0.001) == SIGNIFICANCE


def test_the_power_is_as_stated():
    """Half of the bins come more often, the others less, by as much as is said to be found."""
    found = check_draws(NETWORK, drawn(words(0, (1, 1 + 100_000 // 64, 64))))[0]
    assert found.detectable_variation == pytest.approx(0.0124, rel=0.01)
    shares = (1 + 2 * found.detectable_variation * np.tile([1, -1], BINS // 2)) / BINS
    bins = np.random.default_rng(1).multinomial(found.draws, shares, 4000)
    expected = found.draws / BINS
    chi_square = ((bins - expected) ** 2 / expected).sum(axis=1)
    assert POWER <= (chi_square > found.limit).mean() < 0.999


@pytest.mark.parametrize(
    "fault",
    [
        lambda w: w & 0x7FFF,
        lambda w: np.repeat(w[:, ::2], 2, axis=1)[:, : w.shape[1]],
        lambda w: np.repeat(w[..., ::2], 2, axis=2),
        lambda w: np.minimum(w, 60000),
    ],
    ids=["a bit is stuck", "words come twice", "neighbours share words", "the end is cut off"],
)
def test_faulty_generators_are_found(fault):
    assert not check_draws(NETWORK, drawn(fault(words(5))))[0].passed


@pytest.mark.parametrize("count", [-1, SAMPLER.max_count, SAMPLER.max_count + 1, 1 << 20])
def test_one_count_that_no_word_gives_is_found(count):
    recording = drawn(words(0))
    assert check_draws(NETWORK, recording)[0].passed
    recording.variables["latents.u"][0, 4, 0] = -4 << 12
    recording.variables["latents.z"][0, 5, 0] = count
    found = check_draws(NETWORK, recording)[0]
    assert found.impossible == 1 and not found.passed


def test_what_cannot_be_tested():
    with pytest.raises(InputError, match=r"expected latents\.u and latents\.z"):
        check_draws(NETWORK, SimpleNamespace(variables={}))
    silent = replace(
        NETWORK,
        iteration=(NETWORK.iteration[1], NETWORK.iteration[0]),
    )
    with pytest.raises(InputError, match="no population draws of a variable of its own"):
        check_draws(silent, SimpleNamespace(variables={}))
