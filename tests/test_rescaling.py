"""Rescaled counts: the same expected path, less noise, more zeros at a dearer leak."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch")

from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.saved.model_file import ModelConfig, SavedModel
from pvae_neuro.saved.rescaling import rescale_counts

PIXELS, LATENTS = 12, 20


def make_model(family: str = "ipvae-linear") -> SavedModel:
    random = np.random.default_rng(0)
    config = ModelConfig(
        family=family, pixels=PIXELS, latents=LATENTS, steps=8, beta=1.0, input_low=-4.0,
        input_high=4.0, clamp="hard", clamp_u=3.0, clamp_du=3.0,
    )  # fmt: skip
    arrays = {
        "dictionary": 0.3 * random.normal(size=(PIXELS, LATENTS)),
        "log_sigma": np.full(PIXELS, -0.5),
        "log_bias": np.full(LATENTS, -1.0),
        "log_step_size": np.array(-2.0),
        "initial_potential": random.normal(-1.0, 0.3, LATENTS),
    }
    return SavedModel(config, {k: np.asarray(v, np.float32) for k, v in arrays.items()})


def expected_update(model: SavedModel, x: np.ndarray, u: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    sigma = np.exp(3.45 * np.tanh(model.log_sigma / 3.45))
    error = (x - model.dictionary @ np.exp(u)) / sigma**2
    return np.exp(model.log_step_size) * (model.dictionary.T @ error - np.exp(model.log_bias))


@pytest.mark.parametrize("factor", [0.5, 3.0, 6.0])
def test_expected_path_stays_when_the_leak_is_divided(factor: float) -> None:
    model, random = make_model(), np.random.default_rng(1)
    scaled = rescale_counts(model, factor, 1.0 / factor)
    x, u = random.normal(size=PIXELS), random.normal(-1.0, 1.0, LATENTS)
    raised = u + math.log(factor)
    np.testing.assert_allclose(
        expected_update(scaled, x, raised), expected_update(model, x, u), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        scaled.dictionary @ np.exp(raised), model.dictionary @ np.exp(u), rtol=1e-5
    )
    assert scaled.config.clamp_u == pytest.approx(3.0 + math.log(factor))
    back = rescale_counts(scaled, 1.0 / factor, factor)
    np.testing.assert_allclose(back.dictionary, model.dictionary, rtol=1e-6)
    assert back.config.training["count_factor"] == pytest.approx(1.0)


def test_more_spikes_make_less_noise_and_a_dearer_leak_more_zeros() -> None:
    model = make_model()
    x = np.random.default_rng(2).normal(size=(200, PIXELS)).astype(np.float32)
    before, finer, dearer = (
        infer(m, x, 100, 0)
        for m in (model, rescale_counts(model, 8.0, 1 / 8), rescale_counts(model, 8.0, 1.0))
    )
    noise = [float(t.mse[-1] - t.mse_mean[-1]) for t in (before, finer)]
    assert noise[1] < 0.3 * noise[0]
    assert dearer.zeros[-1] > finer.zeros[-1]


@pytest.mark.parametrize(("factor", "leak"), [(0.0, 1.0), (math.nan, 1.0), (2.0, -1.0)])
def test_factors_are_above_zero(factor: float, leak: float) -> None:
    with pytest.raises(InputError, match=r"expected a (factor|leak) above 0"):
        rescale_counts(make_model(), factor, leak)


def test_other_families_are_refused() -> None:
    model = make_model("igvae")
    with pytest.raises(InputError, match="family ipvae-linear"):
        rescale_counts(model, 2.0)
