from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.models.base import Window, WindowSettings  # noqa: E402
from pvae_neuro.models.dynamics import CLAMPS  # noqa: E402
from pvae_neuro.models.poisson.ipvae import IPVAE  # noqa: E402
from pvae_neuro.models.sampling.counter_noise import CounterNoise  # noqa: E402
from pvae_neuro.models.sampling.exact_poisson import (  # noqa: E402
    counts_at,
    exact_counts,
    uniform_numbers,
)
from pvae_neuro.saved.model_file import ModelConfig  # noqa: E402

PIXELS, LATENTS, BATCH, STEPS = 30, 24, 6, 5
NOISE = 5
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


def window_settings(**changes: Any) -> WindowSettings:
    values = {
        "steps": STEPS, "beta": 1.0, "temperature": 0.0, "max_arrivals": 64, "estimator": "exact",
        "noise": CounterNoise(NOISE), **changes,
    }  # fmt: skip
    return WindowSettings(**values)


def run(model: IPVAE, x: torch.Tensor, fused: bool, **changes: Any) -> Window:
    window = model.window if fused else model.plain_window
    return window(x, model.start(x), window_settings(**changes))


def loss_of(result: Window) -> torch.Tensor:
    terms = (result.nll, result.kl, result.activity)
    return sum(w * t for w, t in zip(LOSS_WEIGHTS, terms, strict=True))


def gradients(model: IPVAE, result: Window) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss_of(result).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def rounding(
    model: IPVAE, x: torch.Tensor, seed: int = NOISE, growth: dict[str, float] | None = None
) -> torch.Tensor:
    """Bound of the rounding errors of the last potentials of a float32 window, [B, K].

    A sum of n products in float32 is off by at most ``n 2**-24`` times the sum of their magnitudes:
    in whatever order, with or without fused multiply-adds, on any machine. Updates add their errors
    up, and clamps do not enlarge them. Counts and clamps are steps of the potentials, so two
    windows have equal counts if no potential comes within this bound of a step. That is a property
    of the exact (float64) window, checked here: the seeds of these tests were chosen for it. Soft
    bounds are no steps: their slopes lie in [0, 1].
    """
    settings, clamp = window_settings(**(growth or {})), CLAMPS[model.config.clamp]
    hard = model.config.clamp == "hard"
    model, x, noise = deepcopy(model).double(), x.double(), CounterNoise(seed)
    with torch.no_grad():
        drive, u, config = model.drive(x), model.initial_state(len(x)), model.config
        phi = model.dictionary.abs()
        weighted = model.precision.unsqueeze(1) * phi
        eta, leak = model.log_step_size.exp(), model.log_bias.exp()
        # The kernels hold rates in float32, within 2**-22: the same as a potential off by that.
        off, slack = torch.zeros_like(u), 2.0**-22
        for _ in range(STEPS + 1):
            uniform = uniform_numbers(u, noise).view_as(u)
            z = counts_at(u, uniform)
            apart = torch.minimum(distance(u, z, uniform), distance(u, z - 1, uniform))
            assert (off + slack < apart).all(), "a count depends on rounding: take another seed"
            last = off
            push = eta * (drive.feedforward - z @ drive.lateral - leak)
            # Products by Φ and by W have M and K terms; 16 more stand for exp, tanh and the update.
            size = eta * ((x + z @ phi.T) @ weighted + leak) + u.abs()
            off = off + (PIXELS + LATENTS + 16) * 2.0**-24 * size
            floor = config.floor_u
            top_du, top = settings.bound(config.clamp_du), settings.bound(config.clamp_u)
            u = u + clamp(push, top_du, floor)
            for value, above in ((push, top_du), (u, top)):
                for bound in (floor, above) if hard else (floor,):
                    near = (value - bound).abs() < off
                    assert not near.any(), "a clamp depends on rounding: take another seed"
            # A potential at its bound is exact.
            off = torch.where((u > floor) & ((u < top) if hard else True), off, 0.0)
            u = clamp(u, top, floor)
    return last


def distance(u: torch.Tensor, k: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """By how much u must change for the probability of counts up to k to equal ``uniform``."""
    rate, k = torch.exp(u), k.clamp(min=-1.0)
    slope = torch.exp((k + 1) * u - rate - torch.lgamma(k.clamp(min=0) + 1))
    below = torch.special.gammaincc(k.clamp(min=0) + 1, rate)
    return torch.where(k < 0, torch.inf, (below - uniform).abs() / slope)


def test_kernels_draw_large_counts_without_underflow() -> None:
    kernels = pytest.importorskip("pvae_neuro.models.poisson.fused.kernels", exc_type=ImportError)
    u = torch.full((1, 50, 8), math.log(400.0))
    count, residual = np.zeros(u.shape, np.uint16), np.zeros(u.shape, np.float32)
    square, row = np.zeros((8, 8), np.float32), np.zeros(8, np.float32)
    kernels.run_forward(
        u.numpy(), count, residual, residual[0], square, row, np.ones(5, np.float32),
        CounterNoise(3).keys(1), 0, np.zeros((50, 3)),
    )  # fmt: skip
    # exp(-400) is no float32: mass that begins at exp(-87) instead would give counts near 90.
    # Rates in float32 are off by some 2**-22, which moves a count by one at most, if at all.
    expected = exact_counts(u[0], CounterNoise(3)).numpy()
    different = count[0].astype(np.float32) - expected
    assert np.abs(different).max() <= 1
    assert np.count_nonzero(different) <= 2


@pytest.mark.parametrize(
    ("clamp", "clamp_u", "seed", "growth"),
    [
        ("hard", 3.0, 1, {}),
        ("hard", 0.5, 1, {}),
        ("hard", 3.0, 2, {}),
        ("soft", 3.0, 1, {}),
        ("soft", 0.5, 1, {}),
        ("soft", 3.0, 2, {"clamp_start": 0.5, "clamp_growth": 0.25}),
        ("hard", 3.0, 2, {"clamp_start": 0.5, "clamp_growth": 0.25}),
    ],
)
def test_kernels_equal_autograd_through_the_same_counts(
    clamp: str, clamp_u: float, seed: int, growth: dict[str, float]
) -> None:
    pytest.importorskip("numba", reason="needs numba")
    model, x = make_model(seed, clamp_u, clamp=clamp), inputs(seed)
    assert model.is_compiled("exact")
    bound = rounding(model, x, seed, growth)
    plain, fused = (
        run(model, x, fused, noise=CounterNoise(seed), **growth) for fused in (False, True)
    )
    assert torch.equal(plain.z, fused.z)
    assert ((plain.state[0] - fused.state[0]).abs() <= 2 * bound).all()
    # Sums in float32 over K, T and B, 720 terms: 720 * 2**-24 = 4e-5 of their magnitudes.
    for name in ("nll", "kl", "activity"):
        expected = float(getattr(plain, name).detach())
        assert float(getattr(fused, name).detach()) == pytest.approx(expected, rel=2e-4)
    ours, theirs = gradients(model, fused), gradients(model, plain)
    assert ours.keys() == theirs.keys() == dict(model.named_parameters()).keys()
    # 70 terms per sum and 6 sums in a row: 2.5e-5, and what the steps back amplify. A wrong term
    # would be off by percents.
    for name, expected_grad in theirs.items():
        error = (ours[name] - expected_grad).norm() / expected_grad.norm()
        assert float(error) < 1e-3, name


def test_kernels_draw_what_a_part_of_a_batch_would() -> None:
    pytest.importorskip("numba", reason="needs numba")
    model, x = make_model(), inputs(batch=8)
    bound = rounding(model, x)
    whole = run(model, x, True)
    part = run(model, x[5:], True, noise=CounterNoise(NOISE, offset=5 * LATENTS))
    # Products of matrices of 8 and of 3 rows may round differently, so potentials may too.
    assert torch.equal(whole.z[5:], part.z)
    assert ((whole.state[0][5:] - part.state[0]).abs() <= 2 * bound[5:]).all()


def recorded(model: IPVAE, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Potentials and counts of the window that :func:`run` runs, in float64."""
    noise, drive, u = CounterNoise(NOISE), model.drive(x), model.initial_state(len(x))
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


@pytest.mark.parametrize("clamp", ["hard", "soft"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    "name", ["dictionary", "log_sigma", "log_bias", "log_step_size", "initial_potential"]
)
def test_gradients_equal_finite_differences(name: str, fused: bool, clamp: str) -> None:
    model, x = make_model(clamp=clamp), inputs()
    # The counts recorded below are those of the window.
    rounding(model, x)
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
        result = run(
            model, x, False, steps=2, temperature=0.02, estimator=estimator, noise=CounterNoise(9)
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
    result = run(model, x, True, steps=1, noise=CounterNoise(2))
    for seed in range(40):
        counts = exact_counts(result.state[0], CounterNoise(seed))
        fired.append(float((counts > 0).float().sum(1).mean()))
    error = math.sqrt(LATENTS / 4 / (500 * 40))
    assert abs(float(np.mean(fired)) - float(result.activity.detach())) < 5 * error


def test_models_that_the_kernels_do_not_know_take_the_plain_path() -> None:
    for settings in ({"inner_updates": 2}, {"kl": "released"}):
        model = make_model(**settings)
        a, b = run(model, inputs(), True), run(model, inputs(), False)
        # The same function on the same arrays, so the same bits.
        assert torch.equal(a.state[0], b.state[0])
        assert a.state[0].requires_grad


def test_compiled_windows_are_known_beforehand() -> None:
    pytest.importorskip("numba", reason="needs numba")
    assert make_model().is_compiled("exact")
    assert not make_model().is_compiled("relaxed")
    assert make_model(clamp="soft").is_compiled("exact")
    assert not make_model().double().is_compiled("exact")


def test_estimator_is_checked() -> None:
    with pytest.raises(InputError, match="estimator"):
        run(make_model(), inputs(), True, estimator="exactly")
