from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

from pvae_neuro.models.sampling.counter_noise import CounterNoise  # noqa: E402
from pvae_neuro.models.sampling.exact_poisson import attach_slope, counts_at, exact_counts  # noqa: E402
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts  # noqa: E402

DRAWS = 200_000


def mean_and_error(values: torch.Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


@pytest.mark.parametrize("rate", [0.003, 0.3, 2.0, 20.0, 54.0])
def test_counts_are_those_of_a_poisson_distribution(rate: float) -> None:
    u = torch.full((DRAWS,), math.log(rate))
    counts = exact_counts(u, CounterNoise(1))
    assert torch.equal(counts, counts.round())
    assert abs(float(counts.mean()) - rate) < 5 * math.sqrt(rate / DRAWS)
    # The variance of a sample variance: (mu_4 - sigma^4) / n with mu_4 = rate + 3 rate^2.
    assert abs(float(counts.var()) - rate) < 5 * math.sqrt((rate + 2 * rate**2) / DRAWS)
    silent = math.exp(-rate)
    share = float((counts == 0).float().mean())
    assert abs(share - silent) < 5 * math.sqrt(silent * (1 - silent) / DRAWS) + 1e-9


def test_inversion_counts_the_probabilities_below() -> None:
    uniform = torch.tensor([0.1, 0.5, 0.9, 0.999, 1e-8])
    rate = 1.7
    expected = []
    for value in uniform.tolist():
        below, count = math.exp(-rate), 0
        while value > below:
            count += 1
            below += math.exp(-rate) * rate**count / math.factorial(count)
        expected.append(count)
    assert counts_at(torch.full((5,), math.log(rate)), uniform).tolist() == expected


def quadratic(z: torch.Tensor, matrix: torch.Tensor, linear: torch.Tensor) -> torch.Tensor:
    return z @ linear + ((z @ matrix) * z).sum(1)


@pytest.mark.parametrize("u", [(-2.0, 0.5, 1.5), (-5.0, -1.0, 2.5)])
def test_gradient_of_a_quadratic_function_is_unbiased(u: tuple[float, ...]) -> None:
    matrix = torch.tensor([[0.4, 0.3, -0.2], [0.3, 0.2, 0.1], [-0.2, 0.1, -0.3]])
    linear = torch.tensor([1.0, -0.5, 0.7])
    rate = torch.exp(torch.tensor(u))
    # E f = linear r + r A r + sum_i A_ii r_i, so its derivative by u_i is
    expected = rate * (linear + 2 * matrix @ rate + torch.diag(matrix))
    potential = torch.tensor([u] * DRAWS, requires_grad=True)
    quadratic(exact_counts(potential, CounterNoise(2)), matrix, linear).sum().backward()
    for place in range(3):
        mean, error = mean_and_error(potential.grad[:, place])
        assert abs(mean - float(expected[place])) < 5 * error


def test_rate_alone_or_count_alone_would_be_biased() -> None:
    # The square, whose gradient is 2 r^2 + r, for the two neighbours of the slope (z + r) / 2.
    rate = 1.5
    z = exact_counts(torch.full((DRAWS,), math.log(rate)), CounterNoise(3))
    expected = 2 * rate**2 + rate
    for slope, bias in ((torch.full_like(z, rate), -rate), (z, rate), (0.5 * (z + rate), 0.0)):
        mean, error = mean_and_error(2 * z * slope)
        assert abs(mean - expected - bias) < 5 * error


def test_gradient_agrees_with_the_relaxed_one_and_varies_less() -> None:
    found = {}
    for name in ("exact", "relaxed"):
        u = torch.full((DRAWS,), 0.4, requires_grad=True)
        noise = CounterNoise(4)
        z = exact_counts(u, noise) if name == "exact" else sample_counts(u, 0.05, noise, 64)
        (z - 2.0).square().sum().backward()
        found[name] = mean_and_error(u.grad)
    (ours, our_error), (theirs, their_error) = found["exact"], found["relaxed"]
    # Relaxed counts at this temperature are off by less than two per cent.
    assert abs(ours - theirs) < 5 * math.hypot(our_error, their_error) + 0.02 * abs(ours)
    assert our_error < their_error


def test_slope_may_be_attached_to_counts_drawn_elsewhere() -> None:
    u = torch.tensor([0.0, 1.0], requires_grad=True)
    z = torch.tensor([3.0, 0.0])
    attach_slope(u, z).sum().backward()
    assert torch.allclose(u.grad, torch.tensor([2.0, 0.5 * math.e]))


def test_generators_give_equal_counts_again() -> None:
    u = torch.linspace(-4.0, 3.0, 200)
    for make in (lambda: CounterNoise(5), lambda: torch.Generator().manual_seed(5)):
        assert torch.equal(exact_counts(u, make()), exact_counts(u, make()))
