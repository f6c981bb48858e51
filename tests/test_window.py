from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.models.poisson.ipvae import IPVAE  # noqa: E402
from pvae_neuro.models.poisson.window import WindowResult, is_compiled, run_window  # noqa: E402
from pvae_neuro.models.sampling.counter_noise import CounterNoise  # noqa: E402
from pvae_neuro.models.sampling.exact_poisson import exact_counts  # noqa: E402
from pvae_neuro.saved.model_file import ModelConfig  # noqa: E402

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


def test_kernels_draw_large_counts_without_underflow() -> None:
    pytest.importorskip("numba")
    model = make_model(clamp_u=6.0)
    with torch.no_grad():
        model.initial_potential.fill_(math.log(200.0))
    x = inputs(batch=50)
    plain, fused = run(model, x, False), run(model, x, True)
    # exp(-200) is no float32. Mass that begins at exp(-87) instead would give counts near 90.
    assert torch.equal(plain.z, fused.z)
    # Sums of hundreds of counts in float32, in another order.
    assert torch.allclose(plain.u, fused.u, rtol=1e-4, atol=1e-4)
    assert float(fused.nll.detach()) == pytest.approx(float(plain.nll.detach()), rel=1e-5)


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


def test_kernels_draw_what_a_part_of_a_batch_would() -> None:
    pytest.importorskip("numba")
    model, x = make_model(), inputs(batch=8)
    whole = run(model, x, True)
    noise = CounterNoise(3, offset=5 * LATENTS)
    u = model.initial_state(3)
    part = run_window(model, x[5:], u, STEPS, generator=noise, estimator="exact")
    assert torch.equal(whole.z[5:], part.z)
    assert torch.equal(whole.u[5:], part.u)


def recorded(model: IPVAE, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Potentials and counts of the window that :func:`run` runs, in float64."""
    noise, drive, u = CounterNoise(3), model.drive(x), model.initial_state(len(x))
    steps = []
    for _ in range(STEPS + 1):
        z = exact_counts(u, noise)
        steps.append((u.detach().double(), z.detach().double()))
        u = model.advance(u, drive.feedforward - z @ drive.lateral)
    return steps


def smooth_loss(
    model: IPVAE, x: torch.Tensor, steps: list[tuple[torch.Tensor, torch.Tensor]]
) -> float:
    """The loss if counts followed the potentials along their slopes: it can be differenced."""
    drive, u = model.drive(x), model.initial_state(len(x))
    nll = kl = firing = torch.zeros((), dtype=torch.float64)
    before = u
    for t, (origin, z) in enumerate(steps):
        counts = z + 0.5 * (z + torch.exp(origin)) * (u - origin)
        residual = drive.feedforward - counts @ drive.lateral
        if t:
            change = u - before
            nll = nll - 0.5 * (counts * (drive.feedforward + residual)).sum()
            kl = kl + (torch.exp(before) * (1 + torch.exp(change) * (change - 1))).sum()
            firing = firing + (1 - torch.exp(-torch.exp(u))).sum()
        before, u = u, model.advance(u, residual)
    terms = STEPS * len(x)
    values = (nll / terms + drive.constant.mean(), kl / terms, firing / terms)
    return float(sum(w * v for w, v in zip(LOSS_WEIGHTS, values, strict=True)))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    "name", ["dictionary", "log_sigma", "log_bias", "log_step_size", "initial_potential"]
)
def test_gradients_equal_finite_differences(name: str, fused: bool) -> None:
    model, x = make_model(), inputs()
    slope = gradients(model, run(model, x, fused))[name].double()
    with torch.no_grad():
        steps = recorded(model, x)
        double = model.double()
        direction = torch.randn(slope.shape, generator=torch.Generator().manual_seed(5)).double()
        parameter, width, losses = getattr(double, name), 1e-6, []
        origin = parameter.clone()
        for sign in (1.0, -1.0):
            parameter.copy_(origin + sign * width * direction)
            losses.append(smooth_loss(double, x.double(), steps))
    numeric = (losses[0] - losses[1]) / (2 * width)
    assert float((slope * direction).sum()) == pytest.approx(numeric, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("estimator", ["relaxed", "exact"])
def test_loss_agrees_with_the_model_s_own_step(estimator: str) -> None:
    # Both estimate one expectation: the step in pixels with fresh readouts, the window without.
    model, x = make_model(), inputs(batch=2000)
    with torch.no_grad():
        noise = CounterNoise(9)
        result = run_window(
            model, x, model.initial_state(len(x)), 2, 0.02, noise, 64, estimator, fused=False
        )
        u, nll, kl = model.initial_state(len(x)), torch.zeros(len(x)), torch.zeros(len(x))
        for _ in range(2):
            step = model.step(u, x, 0.0, torch.Generator().manual_seed(4))
            u, nll, kl = step.u, nll + step.nll / 2, kl + step.kl.sum(1) / 2
    for ours, theirs in ((result.nll, nll), (result.kl, kl)):
        error = math.sqrt(2.0) * float(theirs.std()) / math.sqrt(len(x))
        # Relaxed counts at this temperature are off by less than two per cent.
        allowance = 0.02 * abs(float(theirs.mean())) if estimator == "relaxed" else 0.0
        assert abs(float(ours) - float(theirs.mean())) < 5 * error + allowance


def test_firing_is_the_expected_number_of_neurons_that_fire() -> None:
    model, x = make_model(), inputs(batch=500)
    fired = []
    result = run_window(
        model, x, model.initial_state(len(x)), 1, generator=CounterNoise(2), estimator="exact"
    )
    for seed in range(40):
        counts = exact_counts(result.u, CounterNoise(seed))
        fired.append(float((counts > 0).float().sum(1).mean()))
    error = math.sqrt(LATENTS / 4 / (500 * 40))
    assert abs(float(np.mean(fired)) - float(result.firing.detach())) < 5 * error


def test_models_that_the_kernels_do_not_know_take_the_plain_path() -> None:
    for settings in ({"clamp": "soft"}, {"inner_updates": 2}, {"kl": "released"}):
        model = make_model(**settings)
        a, b = run(model, inputs(), True), run(model, inputs(), False)
        assert torch.equal(a.u, b.u)
        assert a.u.requires_grad


def test_compiled_windows_are_known_beforehand() -> None:
    pytest.importorskip("numba")
    assert is_compiled(make_model(), "exact")
    assert not is_compiled(make_model(), "relaxed")
    assert not is_compiled(make_model(clamp="soft"), "exact")


def test_estimator_is_checked() -> None:
    model, x = make_model(), inputs()
    with pytest.raises(InputError, match="estimator"):
        run_window(model, x, model.initial_state(BATCH), 1, estimator="exactly")
