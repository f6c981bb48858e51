from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pvae_neuro.checkpoints import ModelConfig  # noqa: E402
from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.models.counter_noise import CounterNoise  # noqa: E402
from pvae_neuro.models.ipvae import IPVAE  # noqa: E402
from pvae_neuro.models.window import WindowResult, run_window  # noqa: E402

PIXELS, LATENTS, BATCH, STEPS = 30, 24, 6, 5
LOSS_WEIGHTS = (1.0, 3.0, 0.7)


def make_model(seed: int = 0, clamp_u: float = 3.0, **settings: object) -> IPVAE:
    values = {"clamp": "hard", "clamp_u": clamp_u, "clamp_du": 2.0, **settings}
    config = ModelConfig(
        pixels=PIXELS, latents=LATENTS, steps=STEPS, beta=1.0, input_low=0.0, input_high=1.0,
        **values,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    model = IPVAE(config, generator, 0.2)
    with torch.no_grad():
        model.log_sigma.normal_(0.0, 0.3, generator=generator)
        model.log_bias.normal_(-1.0, 0.3, generator=generator)
        model.initial_potential.normal_(-0.5, 1.5, generator=generator)
        model.log_step_size.fill_(math.log(0.5))
    return model


def inputs(seed: int = 1, batch: int = BATCH) -> torch.Tensor:
    return torch.rand(batch, PIXELS, generator=torch.Generator().manual_seed(seed))


def run(model: IPVAE, x: torch.Tensor, fused: bool, seed: int = 3) -> WindowResult:
    u = model.initial_state(len(x))
    return run_window(
        model, x, u, STEPS, generator=CounterNoise(seed), estimator="exact", fused=fused
    )


def loss_of(result: WindowResult) -> torch.Tensor:
    terms = (result.nll, result.kl, result.firing)
    return sum(w * t for w, t in zip(LOSS_WEIGHTS, terms, strict=True))


def gradients(model: IPVAE, result: WindowResult) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss_of(result).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("clamp_u", "seed"), [(3.0, 0), (0.5, 1), (3.0, 2)])
def test_kernels_equal_autograd_through_the_same_counts(clamp_u: float, seed: int) -> None:
    pytest.importorskip("numba")
    model, x = make_model(seed, clamp_u), inputs(seed)
    plain, fused = run(model, x, False, seed), run(model, x, True, seed)
    assert torch.equal(plain.z, fused.z)
    assert torch.allclose(plain.u, fused.u, atol=1e-5)
    for name in ("nll", "kl", "firing"):
        expected = float(getattr(plain, name).detach())
        assert float(getattr(fused, name).detach()) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    ours, theirs = gradients(model, fused), gradients(model, plain)
    assert ours.keys() == theirs.keys() == dict(model.named_parameters()).keys()
    for name, expected_grad in theirs.items():
        error = (ours[name] - expected_grad).norm() / expected_grad.norm()
        assert float(error) < 2e-5, name
