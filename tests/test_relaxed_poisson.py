from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts  # noqa: E402

DRAWS = 20_000


def generator(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)


def plain_counts(
    u: torch.Tensor, temperature: float, generator: torch.Generator, arrivals: int
) -> torch.Tensor:
    """The same draws for every neuron at once, differentiated by autograd alone."""
    uniform = [torch.rand(u.shape, generator=generator, dtype=u.dtype)]
    drawn = 1
    while drawn < arrivals:
        block = min(drawn, arrivals - drawn)
        uniform.extend(torch.rand((block, *u.shape), generator=generator, dtype=u.dtype))
        drawn += block
    time = -torch.log(1.0 - torch.stack(uniform)).cumsum(0) * torch.exp(-u)
    return torch.sigmoid((1.0 - time) / temperature).sum(0)


@settings(max_examples=25, deadline=None)
@given(
    u=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=6),
    temperature=st.floats(0.2, 2.0),
    arrivals=st.integers(1, 20),
    seed=st.integers(0, 999),
)
def test_counts_and_gradient_equal_plain_autograd(
    u: list[float], temperature: float, arrivals: int, seed: int
) -> None:
    # A rate so high against the temperature that all neurons stay alive: both draw alike.
    potential = torch.tensor(u, dtype=torch.float64) + 3.0
    ours, theirs = (potential.clone().requires_grad_() for _ in range(2))
    counts = sample_counts(ours, temperature, generator(seed), arrivals)
    expected = plain_counts(theirs, temperature, generator(seed), arrivals)
    weight = torch.arange(1.0, len(u) + 1, dtype=torch.float64)
    (counts * weight).sum().backward()
    (expected * weight).sum().backward()
    assert torch.allclose(counts, expected, rtol=1e-9, atol=2e-4)
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-6, atol=2e-3)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("u", [-5.0, -1.0, 0.5])
def test_following_survivors_alone_changes_no_distribution(temperature: float, u: float) -> None:
    potential = torch.full((DRAWS,), u)
    ours = sample_counts(potential, temperature, generator(1), 10)
    plain = plain_counts(potential, temperature, generator(2), 10)
    error = math.hypot(float(ours.std()), float(plain.std())) / math.sqrt(DRAWS)
    assert abs(float(ours.mean() - plain.mean())) < 5 * error + 1e-6
    assert float(ours.var()) == pytest.approx(float(plain.var()), rel=0.25, abs=1e-4)


@pytest.mark.parametrize("rate", [0.05, 1.0, 3.0, 12.0])
@pytest.mark.parametrize("temperature", [0.0, 0.01])
def test_mean_and_variance_are_those_of_a_poisson_count(rate: float, temperature: float) -> None:
    u = torch.full((DRAWS,), math.log(rate))
    counts = sample_counts(u, temperature, generator(), max_arrivals=64)
    error = math.sqrt(rate / DRAWS)
    assert abs(float(counts.mean()) - rate) < 5 * error + 0.01 * rate
    # The variance of a sample variance: (mu_4 - sigma^4) / n with mu_4 = rate + 3 rate^2.
    spread = math.sqrt((rate + 2 * rate**2) / DRAWS)
    assert abs(float(counts.var()) - rate) < 5 * spread + 0.02 * rate


def test_temperature_zero_is_exact_and_carries_no_gradient() -> None:
    u = torch.full((1000,), 1.0, requires_grad=True)
    counts = sample_counts(u, 0.0, generator())
    assert torch.equal(counts, counts.round())
    assert not counts.requires_grad


def test_mean_gradient_is_the_gradient_of_the_mean() -> None:
    u = torch.full((DRAWS,), 0.7, requires_grad=True)
    sample_counts(u, 0.1, generator(), 64).sum().backward()
    assert u.grad is not None
    # d E[z] / du = rate. Its estimate is heavy-tailed, so the bound is five of its own errors.
    assert abs(float(u.grad.mean()) - math.exp(0.7)) < 5 * float(u.grad.std()) / math.sqrt(DRAWS)


def test_large_rates_saturate_at_the_arrivals_counted() -> None:
    counts = sample_counts(torch.full((50,), 9.0), 0.05, generator(), 10)
    assert torch.allclose(counts, torch.full((50,), 10.0), atol=1e-3)


def test_extreme_potentials_stay_finite() -> None:
    u = torch.tensor([-80.0, -8.0, 0.0, 10.0], requires_grad=True)
    counts = sample_counts(u, 0.01, generator(), 32)
    counts.sum().backward()
    assert torch.isfinite(counts).all()
    assert u.grad is not None
    assert torch.isfinite(u.grad).all()


def test_same_generator_state_same_counts() -> None:
    u = torch.linspace(-4, 2, 300).view(3, 100)
    for temperature in (0.0, 0.1):
        first, second = (sample_counts(u, temperature, generator(5)) for _ in range(2))
        assert torch.equal(first, second)
        assert first.shape == u.shape


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="temperature"):
        sample_counts(torch.zeros(1), -0.1)
    with pytest.raises(InputError, match="temperature"):
        sample_counts(torch.zeros(1), float("nan"))
    with pytest.raises(InputError, match="max_arrivals"):
        sample_counts(torch.zeros(1), 0.1, max_arrivals=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_draws_the_same_distribution() -> None:
    u = torch.full((DRAWS,), 0.3, device="cuda", requires_grad=True)
    counts = sample_counts(u, 0.05, generator(0, "cuda"), 32)
    counts.sum().backward()
    assert float(counts.mean()) == pytest.approx(math.exp(0.3), rel=0.05)
