"""Measures of the papers: each against a value computed by hand, or by other means."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch")

from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.models.base import Model  # noqa: E402
from pvae_neuro.models.registry import build_model, model_names  # noqa: E402
from pvae_neuro.saved.model_file import ModelConfig  # noqa: E402
from pvae_neuro.training.train import recipe  # noqa: E402

SIDE, LATENTS, BATCH = 8, 6, 5
DETERMINISTIC = ("pc", "ipc", "lca")


def built(name: str, **changes: object) -> Model:
    settings = recipe(name, latents=LATENTS)
    config = ModelConfig.model_validate(
        {
            "family": name, "pixels": SIDE**2, "latents": LATENTS, "steps": 2, "beta": 1.0,
            "image_shape": (SIDE, SIDE), "input_low": 0.0, "input_high": 1.0,
            "clamp": settings.clamp, "clamp_u": settings.clamp_u, "clamp_du": settings.clamp_du,
            **changes,
        }
    )  # fmt: skip
    return build_model(config, torch.Generator().manual_seed(0), 0.05)


def inputs(seed: int = 0) -> torch.Tensor:
    return torch.rand((BATCH, SIDE**2), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", model_names())
def test_every_family_says_what_classifiers_read_and_its_divergence(name: str) -> None:
    model, x = built(name), inputs()
    noise = torch.Generator().manual_seed(1)
    before = model.start(x)
    first = model.iterate(x, before, noise)
    second = model.iterate(x, first.state, noise)
    code = model.code(x, second)
    assert code.shape == (BATCH, LATENTS) and bool(torch.isfinite(code).all())
    assert not code.requires_grad
    if name in DETERMINISTIC:
        with pytest.raises(InputError, match="infers values, not a distribution"):
            model.divergence(x, before, first.state)
        return
    for states in ((before, first.state), (first.state, second.state)):
        kl = model.divergence(x, *states)
        assert kl.shape[0] == BATCH and kl.shape[1] >= LATENTS and not kl.requires_grad
        # Rounding of a divergence near zero.
        assert float(kl.min()) > -1e-5


def test_codes_of_encoders_are_those_of_the_authors() -> None:
    x = inputs()
    poisson = built("pvae-linear", clamp="hard", clamp_u=5.0)
    result = poisson.iterate(x, (), torch.Generator().manual_seed(0))
    # log λ = log r + log δr where no bound is reached.
    log_rate = torch.log(result.mean) - dict(poisson.named_parameters())["log_rate"].detach()
    assert torch.allclose(poisson.code(x, result), log_rate, atol=1e-5)
    gaussian = built("gvae-linear", architecture={"relu": True})
    result = gaussian.iterate(x, (), torch.Generator().manual_seed(0))
    code = gaussian.code(x, result)
    assert bool((code < 0).any()) and torch.equal(torch.relu(code), result.mean)


def test_divergence_of_poisson_neurons_is_that_of_their_rates() -> None:
    model, x = built("ipvae-linear"), inputs()
    before = model.start(x)
    after = model.iterate(x, before, torch.Generator().manual_seed(0)).state
    old, new = (np.exp(state[0].detach().double().numpy()) for state in (before, after))
    expected = new * np.log(new / old) - new + old
    assert model.divergence(x, before, after).numpy() == pytest.approx(expected, abs=1e-6)
