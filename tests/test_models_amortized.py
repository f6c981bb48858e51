"""Families with an encoder: divergences, estimators, and refinement of what the encoder says."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch")

from rich.console import Console  # noqa: E402
from test_model_contract import bars, options  # noqa: E402

from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.evaluation.infer import infer  # noqa: E402
from pvae_neuro.models.base import WindowSettings  # noqa: E402
from pvae_neuro.models.networks.dropout import dropping  # noqa: E402
from pvae_neuro.models.networks.residual import DenseBlock, NormedConv  # noqa: E402
from pvae_neuro.models.registry import build_model  # noqa: E402
from pvae_neuro.models.rivals.refined import free_energy_gradients  # noqa: E402
from pvae_neuro.models.sampling.counter_noise import CounterNoise  # noqa: E402
from pvae_neuro.models.sampling.gaussian import gaussian_kl, standard_normal  # noqa: E402
from pvae_neuro.saved.model_file import ModelConfig  # noqa: E402
from pvae_neuro.training.train import recipe, train  # noqa: E402

SIDE = 8


def config(family: str, latents: int = 6, beta: float = 1.0, **architecture: Any) -> ModelConfig:
    return ModelConfig(
        family=family, pixels=SIDE**2, latents=latents, steps=3, beta=beta, input_low=0.0,
        input_high=1.0, image_shape=(SIDE, SIDE), architecture=architecture,
    )  # fmt: skip


def model(family: str, scale: float = 0.3, dtype: Any = None, **settings: Any) -> Any:
    built = build_model(config(family, **settings), torch.Generator().manual_seed(0), scale)
    return built.to(dtype or torch.float32)


def settings(
    steps: int = 3, temperature: float = 0.1, seed: int = 0, beta: float = 1.0
) -> WindowSettings:
    return WindowSettings(
        steps=steps, beta=beta, temperature=temperature, max_arrivals=64, estimator="relaxed",
        noise=CounterNoise(seed),
    )  # fmt: skip


def normal(seed: int, *shape: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def inputs(count: int = 5, dtype: Any = None) -> Any:
    return torch.from_numpy(bars(count).pixels).to(dtype or torch.float32)


def learned(name: str, tmp_path: Path, **changes: Any) -> tuple[float, float, Any]:
    """Loss of the first and of the last epoch, and the model."""
    wanted = {"latents": 12, "epochs": 60, "batch_size": 32, "learning_rate": 5e-3, **changes}
    console = Console(file=io.StringIO(), width=200)
    saved = train(bars(128), recipe(name, **wanted), tmp_path / "m.st", options(console=console))
    lines = [line for line in console.file.getvalue().splitlines() if line.startswith("epoch")]
    first, last = (float(line.split("loss ")[1].split()[0]) for line in (lines[0], lines[-1]))
    return first, last, saved


def slope_along(loss: Any, parameter: Any, direction: Any, size: float = 1e-5) -> float:
    """Central difference of a loss along a direction of a parameter."""
    values = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            parameter += sign * size * direction
        values.append(float(loss().detach()))
        with torch.no_grad():
            parameter -= sign * size * direction
    return (values[0] - values[1]) / (2 * size)


def test_gaussian_divergence_is_that_of_torch() -> None:
    mu, log_sigma, prior_mu, prior = normal(0, 4, 5, 7)
    distribution = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(
        distribution(mu, log_sigma.exp()), distribution(prior_mu, prior.exp())
    )
    assert torch.allclose(gaussian_kl(mu, log_sigma, prior_mu, prior), wanted)
    assert torch.allclose(gaussian_kl(mu, log_sigma), gaussian_kl(mu, log_sigma, 0 * mu, 0 * mu))


def test_normal_numbers_are_normal_and_follow_their_place() -> None:
    numbers = standard_normal(torch.zeros(500, 400), CounterNoise(3))
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        assert float((numbers**power).mean()) == pytest.approx(moment, abs=0.04)
    assert float(numbers.abs().max()) < 5.5
    part = standard_normal(torch.zeros(100, 400), CounterNoise(3, offset=400 * 400))
    # The inverse error function may round differently at the end of a vector of numbers.
    assert torch.allclose(part, numbers[400:], rtol=1e-5, atol=1e-6)


def test_poisson_divergence_is_that_of_torch_and_so_is_its_gradient() -> None:
    pvae = model("pvae-linear", dtype=torch.float64)
    log_rate = normal(0, 5, 6).requires_grad_()
    poisson = torch.distributions.Poisson
    wanted = torch.distributions.kl_divergence(
        poisson(log_rate.exp()), poisson(pvae.log_rate.exp().expand(5, 6))
    )
    found = pvae.kl(log_rate)
    assert torch.allclose(found, wanted)
    (slope,) = torch.autograd.grad(found.sum(), log_rate)
    assert torch.allclose(slope, log_rate.exp() * (log_rate - pvae.log_rate))


def test_exact_loss_is_the_mean_over_counts() -> None:
    pvae, x = model("pvae-linear", estimator="exact"), inputs(1)
    (log_rate,) = pvae.posterior(x)
    counts = torch.poisson(
        log_rate.exp().expand(100_000, -1), generator=torch.Generator().manual_seed(0)
    )
    losses = pvae.nll(x, counts).detach()
    expected = pvae.expected_nll(x, log_rate.exp()).detach()
    assert abs(float(expected - losses.mean())) < 5 * float(losses.std()) / len(losses) ** 0.5


def gradient_of(loss: Any, pvae: Any) -> Any:
    return torch.autograd.grad(loss, pvae.log_rate)[0]


@pytest.mark.parametrize("estimator", ["relaxed", "straight-through"])
def test_estimators_have_the_gradient_that_they_should(estimator: str) -> None:
    """Straight-through samples miss what the variance of counts costs."""
    x = inputs(1).expand(20_000, -1)
    pvae = model("pvae-linear", latents=4, estimator=estimator)
    window = pvae.window(x, (), settings(temperature=0.05))
    found = gradient_of(window.nll, pvae)
    rate = pvae.posterior(x)[0].exp()
    reach = pvae.expected_nll if estimator == "relaxed" else pvae.nll
    wanted = gradient_of(reach(x, rate).mean(), pvae)
    assert float((found - wanted).norm()) < 0.05 * float(wanted.norm())


def test_rates_are_bounded() -> None:
    pvae = model("pvae-linear")
    (log_rate,) = pvae.posterior(1e4 * inputs())
    assert bool((log_rate <= 5.0).all())


def hard_model(**changes: float) -> Any:
    wanted = config("pvae-linear").model_copy(update={"clamp": "hard", **changes})
    return build_model(wanted, torch.Generator().manual_seed(0), 0.3)


def test_hard_clamps_bound_rates_exactly() -> None:
    """Logarithms of rates are the encoder's within the bounds, and the bounds beyond."""
    x = inputs()
    pvae = hard_model(clamp_u=1.5, floor_u=-3.0).double()
    with torch.no_grad():
        pvae.log_rate[0] = -20.0
    (log_rate,) = pvae.posterior(1e4 * x.double())
    assert set(log_rate.unique().tolist()) == {-3.0, 1.5}
    # What the encoder adds is bounded by 10, so that this prior keeps its neuron silent.
    assert bool((log_rate[:, 0] == -3.0).all())
    (within,) = pvae.posterior(x.double() / 100)
    wanted = pvae.log_rate + pvae.encoder(x.double() / 100)
    assert torch.equal(within[:, 1:], wanted[:, 1:])
    # The largest rate that any clamp allows is that of the smooth bound.
    (most,) = hard_model().posterior(1e4 * x)
    assert float(most.detach().max()) == 5.0


def test_exact_loss_needs_a_linear_decoder() -> None:
    with pytest.raises(InputError, match=r"'exact'.*linear decoder.*got 'mlp'; take the estimator"):
        model("pvae-mlp", estimator="exact", decoder="mlp")


def test_rectified_samples_are_not_negative() -> None:
    gvae = model("gvae-linear", relu=True)
    result = gvae.iterate(inputs(), (), torch.Generator().manual_seed(0))
    assert float(result.z.min()) == 0.0 and float(result.mean.min()) == 0.0
    assert torch.equal(result.change, torch.zeros(5))


def test_units_drop_out_in_training_alone_and_by_the_place_of_the_sample() -> None:
    network, x = DenseBlock(5), torch.ones(40, 5)
    with dropping(network, CounterNoise(1), latents=3):
        hidden = network.dropout(torch.ones(40, 400))
    with dropping(network, CounterNoise(1, offset=3 * 30), latents=3):
        assert torch.equal(network.dropout(torch.ones(10, 400)), hidden[30:])
    # A tenth drops out, the others make up for it: 16,000 draws, five standard deviations.
    assert hidden.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    assert float(hidden.mean()) == pytest.approx(1.0, abs=5 * (0.1 / 0.9 / 16_000) ** 0.5)
    assert torch.equal(network.dropout(x), x) and torch.equal(network(x), network(x))


def test_kernels_have_the_norms_that_they_learn() -> None:
    convolution, x = NormedConv(3, 4, 3, norm=0.5), normal(0, 2, 3, 8, 8).float()
    with torch.no_grad():
        convolution.bias.zero_()
        before = convolution(x)
        convolution.weight.mul_(7.0)
        assert torch.allclose(convolution(x), before, rtol=1e-4, atol=1e-5)
        convolution.log_norm.add_(1.0)
        assert torch.allclose(convolution(x), before * np.e, rtol=1e-4, atol=1e-5)


def test_prior_rates_start_in_their_range() -> None:
    rates = model("pvae-linear", latents=2000, first_log_rates=(-6.0, -4.0)).log_rate.detach()
    assert -6.0 <= float(rates.min()) < -5.9 and -4.1 < float(rates.max()) <= -4.0
    assert set(model("pvae-linear").log_rate.tolist()) == {-2.0}
    with pytest.raises(InputError, match=r"first_log_rates.*smallest first"):
        model("pvae-linear", first_log_rates=(-2.0, -6.0))


@pytest.mark.parametrize(
    ("family", "settings", "mean"),
    [("pvae-linear", {"first_log_rates": (0.5, 0.5)}, np.exp(0.5)), ("gvae-linear", {}, 0.0)],
)
def test_images_are_drawn_of_the_prior(family: str, settings: dict[str, Any], mean: float) -> None:
    built, count = model(family, **settings), 4000
    drawn, _ = built.sample(built.prior(count), torch.Generator().manual_seed(0))
    # Six standard errors of the mean of one latent, whose variance is 1 or the rate.
    error = 6.0 * np.sqrt(max(mean, 1.0) / count)
    assert np.abs(drawn.detach().numpy().mean(axis=0) - mean).max() < error
    images = built.generate(count, torch.Generator().manual_seed(0))
    assert torch.equal(images, built.decode(drawn).detach())


def test_log_standard_deviations_have_the_bound_that_is_asked_for() -> None:
    x = 1e6 * inputs()
    for bound in (2.0, 5.3):
        log_sigma = model("gvae-linear", log_sigma_bound=bound).posterior(x)[1].detach()
        assert float(log_sigma.abs().max()) == pytest.approx(bound)


@pytest.mark.parametrize(
    "name", ["pvae-linear", "pvae-mlp", "pvae-conv", "gvae-linear", "gvae-mlp"]
)
def test_amortized_families_learn(name: str, tmp_path: Path) -> None:
    first, last, saved = learned(name, tmp_path, beta=0.1, epochs=40)
    # Poisson noise and KL are absent at first and rise: the loss falls by less than is learned.
    assert last < (0.9 if name.startswith("pvae") else 0.75) * first
    trace = infer(saved, bars(64, seed=9).pixels, 2, 0)
    assert trace.r2_from_means[0] > 0.1
    assert trace.mse_mean[0] == pytest.approx(trace.mse_mean[1])


@pytest.mark.parametrize("name", ["savae", "iavae"])
def test_refining_families_learn_and_refinement_helps(name: str, tmp_path: Path) -> None:
    first, last, saved = learned(name, tmp_path, steps=3, epochs=20, beta=0.1)
    assert last < 0.75 * first
    trace = infer(saved, bars(64, seed=9).pixels, 8, 0)
    assert trace.mse_mean[3] < trace.mse_mean[0]
    assert (trace.change > 0).all() and np.isfinite(trace.mse).all()


@pytest.mark.parametrize("name", ["savae", "iavae"])
def test_gradients_of_the_free_energy(name: str) -> None:
    refined, x = model(name, dtype=torch.float64), inputs(dtype=torch.float64)
    state = tuple(normal(seed, 5, 6).requires_grad_() for seed in range(2))
    gradients = free_energy_gradients(refined.rate(x, state, CounterNoise(1)), state, 0.7)

    def energy() -> Any:
        rating = refined.rate(x, state, CounterNoise(1))
        return (rating.nll + 0.7 * rating.kl).sum()

    for part, gradient in zip(state, gradients, strict=True):
        direction = normal(2, *part.shape)
        slope = slope_along(energy, part, direction)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


def test_semi_amortized_gradient_passes_the_steps() -> None:
    savae = model("savae", dtype=torch.float64)
    x = inputs(dtype=torch.float64)

    def loss() -> Any:
        window = savae.window(x, savae.start(x), settings(steps=3, seed=5))
        return window.nll + window.kl

    loss().backward()
    weight = savae.encoder.layers[-1].weight
    direction = weight.grad / weight.grad.norm()
    slope, length = slope_along(loss, weight, direction), float(weight.grad.norm())
    assert slope == pytest.approx(length, rel=1e-4)


def test_iterative_encoder_takes_no_image() -> None:
    with pytest.raises(InputError, match="encoder"):
        model("iavae", encoder="conv")
