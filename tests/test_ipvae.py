from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.distributions import Normal, Poisson  # noqa: E402
from torch.distributions import kl_divergence as torch_kl  # noqa: E402

from pvae_neuro.models.base import WindowSettings  # noqa: E402
from pvae_neuro.models.dynamics import kl_divergence, soft_clamp  # noqa: E402
from pvae_neuro.models.poisson.ipvae import IPVAE  # noqa: E402
from pvae_neuro.models.sampling.counter_noise import CounterNoise  # noqa: E402
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts  # noqa: E402
from pvae_neuro.saved.model_file import ModelConfig  # noqa: E402

M, K, B = 12, 7, 5


def make_model(**changes: Any) -> IPVAE:
    values = {"pixels": M, "latents": K, "steps": 4, "beta": 3.0, "input_low": -1, "input_high": 1}
    model = IPVAE(ModelConfig(**{**values, **changes}), torch.Generator().manual_seed(0), 0.4)
    with torch.no_grad():
        model.log_sigma.copy_(torch.linspace(-1.5, 1.0, M))
        model.initial_potential.copy_(torch.linspace(-2.0, 1.0, K))
        model.log_step_size.fill_(-0.7)
    return model


def make_input() -> torch.Tensor:
    return torch.rand(B, M, generator=torch.Generator().manual_seed(1))


@settings(max_examples=50, deadline=None)
@given(st.floats(-100, 100), st.floats(1, 12))
def test_soft_clamp_is_the_papers_form(value: float, bound: float) -> None:
    x = torch.tensor(value, dtype=torch.float64)
    expected = bound - np.log1p(np.exp(bound - max(value, -8.0)))
    clamped = float(soft_clamp(x, bound, -8.0))
    assert clamped == pytest.approx(expected, abs=1e-6)
    assert clamped < bound or value > bound + 20


def test_exact_kl_is_that_of_poisson_distributions() -> None:
    u, prior = torch.randn(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch_kl(Poisson(u.exp()), Poisson(prior.exp()))
    assert torch.allclose(kl_divergence(u, prior), expected)
    released = expected * torch.exp(u - prior)
    assert torch.allclose(kl_divergence(u, prior, "released"), released)


def test_kl_of_tiny_changes_keeps_its_sign_and_size() -> None:
    change = torch.tensor([1e-3, -1e-3, 1e-2, 0.0])
    kl = kl_divergence(change, torch.zeros(4))
    assert torch.allclose(kl, 0.5 * change**2, rtol=0.02)
    assert (kl >= 0).all()


def test_update_is_the_natural_gradient_step() -> None:
    model, x = make_model(), make_input()
    z = torch.poisson(torch.ones(B, K))
    u = model.initial_state(B).detach()
    phi = model.dictionary.detach()
    variance = torch.exp(2 * 3.45 * torch.tanh(model.log_sigma.detach() / 3.45))
    force = ((x - z @ phi.T) / variance) @ phi - torch.exp(model.log_bias.detach())
    eta = torch.exp(model.log_step_size.detach())
    expected = soft_clamp(u + soft_clamp(eta * force, 10.0, -8.0), 10.0, -8.0)
    assert torch.allclose(model.update(u, x, z), expected, atol=1e-5)


def test_leak_towards_the_prior_needs_several_inner_updates() -> None:
    x, z = make_input(), torch.zeros(B, K)
    u, prior = torch.zeros(B, K), torch.full((B, K), -1.0)
    for inner, differs in ((1, False), (2, True)):
        model = make_model(inner_updates=inner, beta_inner=0.5)
        plain, leaky = model.update(u, x, z), model.update(u, x, z, prior)
        assert torch.equal(plain, leaky) is not differs
        if differs:
            assert (leaky < plain).all()


def test_nll_is_gaussian() -> None:
    model, x = make_model(), make_input()
    reconstruction = model.decode(torch.ones(B, K))
    sigma = model.precision**-0.5
    expected = -Normal(reconstruction, sigma).log_prob(x).sum(1)
    assert torch.allclose(model.nll(x, reconstruction), expected, rtol=1e-5)


@pytest.mark.parametrize("inner", [1, 3])
def test_step_samples_before_the_update_and_reads_out_after(inner: int) -> None:
    model, x = make_model(inner_updates=inner), make_input()
    u = model.initial_state(B)
    result = model.step(u, x, generator=torch.Generator().manual_seed(3))
    again = torch.Generator().manual_seed(3)
    state = u
    for _ in range(inner):
        z = sample_counts(state, generator=again)
        state = model.update(state, x, z, u)
    readout = sample_counts(state, generator=again)
    # Bits are equal: the same operations on arrays of the same shape, values and alignment.
    assert torch.equal(result.z, z)
    assert torch.equal(result.u, state)
    assert torch.equal(result.z_readout, readout)
    assert torch.equal(result.reconstruction, model.decode(readout))
    assert torch.equal(result.kl, kl_divergence(state, u))
    assert torch.equal(result.nll, model.nll(x, result.reconstruction))


def window_by_pixels(
    model: IPVAE, x: torch.Tensor, steps: int, temperature: float, noise: CounterNoise
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The window's loss by its definition, with the sample of a readout driving the next step."""
    u = model.initial_state(len(x))
    z = sample_counts(u, temperature, noise, 16)
    nll, kl = [], []
    for _ in range(steps):
        u_prior = u
        for _ in range(model.config.inner_updates):
            u = model.update(u, x, z, u_prior)
            z = sample_counts(u, temperature, noise, 16)
        nll.append(model.nll(x, model.decode(z)).mean())
        kl.append(kl_divergence(u, u_prior, model.config.kl).sum(1).mean())
    return torch.stack(nll).mean(), torch.stack(kl).mean(), u


@pytest.mark.parametrize("changes", [{}, {"inner_updates": 2}, {"kl": "released"}])
def test_window_in_latent_space_equals_its_definition(changes: dict[str, Any]) -> None:
    x = make_input().double()
    gradients = []
    for latent in (True, False):
        model = make_model(**changes).double()
        if latent:
            settings = WindowSettings(4, 1.0, 0.3, 16, "relaxed", CounterNoise(4))
            nll, kl, (u,), *_ = model.window(x, model.start(x), settings)
        else:
            nll, kl, u = window_by_pixels(model, x, 4, 0.3, CounterNoise(4))
        (nll + 3.0 * kl).backward()
        gradients.append(
            [nll.detach(), kl.detach(), u.detach(), *(p.grad for p in model.parameters())]
        )
    # In float64, where the two ways round differently by some 1e-15 of what they add up.
    for fast, plain in zip(*gradients, strict=True):
        assert torch.allclose(fast, plain, rtol=1e-8, atol=1e-10)


def test_parameters_start_as_released() -> None:
    config = ModelConfig(pixels=400, latents=300, steps=1, beta=1, input_low=0, input_high=1)
    model = IPVAE(config, torch.Generator().manual_seed(0))
    assert model.dictionary.std().item() == pytest.approx(1e-4, rel=0.02)
    assert torch.equal(model.log_bias, torch.full((300,), -3.0))
    assert model.log_step_size.item() == 0.0
    assert -6.0 <= model.initial_potential.min().item() <= -5.9
    assert -4.1 <= model.initial_potential.max().item() <= -4.0
    names = {name for name, _ in model.named_parameters()}
    assert names == {
        "dictionary", "log_sigma", "log_bias", "log_step_size", "initial_potential",
    }  # fmt: skip


def test_saved_model_is_independent_and_comes_back() -> None:
    model = make_model()
    saved = model.to_saved(training={"epochs": 2})
    assert saved.config.training == {"epochs": 2}
    again = IPVAE.from_saved(saved)
    with torch.no_grad():
        model.dictionary += 1.0
    assert np.array_equal(again.to_saved().dictionary, saved.dictionary)
    assert not np.array_equal(model.to_saved().dictionary, saved.dictionary)
    assert np.allclose(saved.variance, 1.0 / again.precision.detach().numpy(), rtol=1e-5)
