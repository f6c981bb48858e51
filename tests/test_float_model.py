"""The NumPy float model is the PyTorch model, and its counts follow Poisson."""

from __future__ import annotations

import numpy as np
import pytest
from models import random_images, random_model

from pvae_neuro.count_table import WORDS, poisson_cdf
from pvae_neuro.float_model import FloatModel, poisson_counts, soft_clamp


def test_update_equals_the_pytorch_model():
    torch = pytest.importorskip("torch", reason="compares with the PyTorch model")
    from pvae_neuro.models.poisson.ipvae import IPVAE

    model = random_model()
    images = random_images(model, 9)
    rng = np.random.default_rng(0)
    u = rng.normal(-1, 3, (9, 24)).astype(np.float32)
    z = rng.poisson(1.0, (9, 24)).astype(np.float32)
    ours = FloatModel(model).update(u, z, images)
    network = IPVAE.from_saved(model)
    with torch.no_grad():
        theirs = network.update(torch.tensor(u), torch.tensor(images), torch.tensor(z))
    # Two orders of float32 operations on values up to 10: a few units in the last place.
    assert np.abs(ours - theirs.numpy()).max() < 2e-5


@pytest.mark.parametrize("rate", [1e-3, 0.3, 1.0, 7.5, 60.0, 190.0])
def test_counts_invert_the_distribution_function(rate):
    word = np.arange(WORDS, dtype=np.uint16)
    counts = poisson_counts(np.full(WORDS, np.log(rate), np.float32), word).astype(int)
    exact = poisson_cdf(np.exp(np.array([float(np.float32(np.log(rate)))])), 400)[0]
    assert np.all(np.diff(counts) >= 0)
    drawn = np.cumsum(np.bincount(counts, minlength=400)) / WORDS
    # Each threshold is at most half a word away from the exact one.
    assert np.abs(drawn - exact).max() <= 1.0 / WORDS


def test_rates_at_the_upper_clamp_stay_finite():
    counts = poisson_counts(np.full(50, 10.0, np.float32), np.full(50, 65535, np.uint16))
    assert np.all(np.isfinite(counts)) and 22_000 < counts.max() < 23_500


def test_large_rates_stay_within_one_count():
    scipy_stats = pytest.importorskip("scipy.stats", reason="compares with SciPy's quantiles")
    word = np.arange(5, WORDS, 997).astype(np.uint16)
    for rate in (201.0, 1000.0, 22026.0):
        u = np.full(len(word), np.log(rate), np.float32)
        exact = scipy_stats.poisson.ppf((word + 0.5) / WORDS, np.exp(u.astype(float)))
        assert np.abs(poisson_counts(u, word) - exact).max() <= 1


def test_soft_clamp_matches_its_formula():
    value = np.linspace(-20, 20, 401).astype(np.float32)
    exact = 10.0 - np.logaddexp(0.0, 10.0 - np.maximum(value.astype(float), -8.0))
    assert np.abs(soft_clamp(value, 10.0, -8.0) - exact).max() < 2e-6
    assert soft_clamp(value, 10.0, -8.0).max() <= 10.0
