"""Chains in PyTorch: what nodes tell one another, and settings that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch")

from pvae_neuro.data import Images  # noqa: E402
from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.models.generalized.chain import NODES, Draw  # noqa: E402
from pvae_neuro.models.generalized.families import find_family  # noqa: E402
from pvae_neuro.models.generalized.nodes import Nodes, NodeSettings  # noqa: E402
from pvae_neuro.models.registry import build_model  # noqa: E402
from pvae_neuro.saved.chain import ChainSettings  # noqa: E402
from pvae_neuro.saved.model_file import ModelConfig  # noqa: E402
from pvae_neuro.training.run import TrainingRun  # noqa: E402
from pvae_neuro.training.train import TrainOptions, recipe  # noqa: E402

DRAWS = 1 << 14
NOISE = ((torch.arange(DRAWS, dtype=torch.float64) + 0.5) / DRAWS).unsqueeze(1)
PAIRS = [(-2.0, -1.5), (0.3, -0.7), (1.2, 1.9), (0.4, 0.4)]


@pytest.mark.parametrize("name", ["poisson", "bernoulli", "gaussian"])
@pytest.mark.parametrize(("phi", "theta"), PAIRS)
def test_the_mean_error_is_what_the_family_says(name, phi, theta):
    """Over all random numbers: less the derivative of the KL divergence by what is predicted."""
    node = NODES[name](ChainSettings())
    own, predicted = (torch.full((DRAWS, 1), value, dtype=torch.float64) for value in (phi, theta))
    log_sum = node.log_sum(own)
    z, p = (node.draw(each, log_sum, NOISE) for each in (own, predicted))
    error = node.message(own, Draw(z, p, predicted))
    exact = -find_family(name).error(own[:1], predicted[:1])
    # Each count steps at most once within a cell of the grid; counts stay below 30.
    assert abs(float(error.mean() - exact)) < 30 / DRAWS
    if phi == theta:
        assert not error.any()


def test_categorical_nodes_compare_shares_where_sums_are_exact():
    node = NODES["categorical"](ChainSettings(normalizer=None, groups=1))
    rng = np.random.default_rng(0)
    phi, theta = (torch.tensor(rng.normal(size=(1, 3))).expand(DRAWS, 3) for _ in (0, 1))
    z, p = (node.draw(each, node.log_sum(each), NOISE.expand(DRAWS, 3)) for each in (phi, theta))
    error = node.message(phi, Draw(z, p, theta)).mean(0)
    exact = phi[0].softmax(-1) - theta[0].softmax(-1)
    assert np.abs((error - exact).numpy()).max() < 30 / DRAWS


@pytest.mark.parametrize("name", ["poisson", "bernoulli"])
def test_the_price_of_variance_is_the_derivative_of_the_mean_energy(name):
    """Of one neuron over one pixel, by its mean; a squared error of which all is known."""
    x, weight, curvature, phi = 0.7, 0.9, 3.0, 0.2
    node, family = NODES[name](ChainSettings()), find_family(name)
    at = torch.full((DRAWS, 1), phi, dtype=torch.float64)
    z = node.draw(at, node.log_sum(at), NOISE)
    price = 0.5 * curvature * weight**2 * node.variance_slope(z)
    ours = float((price - curvature * weight * (x - weight * z)).mean())

    def energy(parameter):
        mean = family.mean(parameter)
        variance = torch.autograd.grad(mean, parameter, create_graph=True)[0]
        return 0.5 * curvature * ((x - weight * mean) ** 2 + weight**2 * variance)

    parameter = torch.tensor(phi, dtype=torch.float64, requires_grad=True)
    fisher = torch.autograd.grad(family.mean(parameter), parameter)[0]
    exact = float(torch.autograd.grad(energy(parameter), parameter)[0] / fisher)
    assert ours == pytest.approx(exact, abs=1e-2)


def test_nodes_that_draw_nothing_follow_the_one_theory():
    """With a trust other than 1, where the errors of pixels and of nodes weigh differently."""
    families, trust = ("gaussian",) * 3, 3.0
    settings = {"families": families, "above": (5, 4), "trust": trust, "step_size": 0.02}
    config = ModelConfig(
        family="gpc-chain", pixels=7, latents=6, steps=2, beta=1.0, input_low=0.0, input_high=1.0,
        architecture=settings,
    )  # fmt: skip
    chain = build_model(config, torch.Generator().manual_seed(0), 0.5).double()
    with torch.no_grad():
        for part in (*(layer.bias for layer in chain.maps[1:]), chain.prior):
            part.fill_(0.4)
    x = torch.rand(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def forward(nodes):
        above = chain.prior.expand(len(x), -1)
        for place in (2, 1, 0):
            above = chain.maps[place](nodes.node(str(place), "gaussian", above).clamp(min=0.0))
        return chain.output.nll(x, above).sum(1)

    nodes = Nodes(
        forward, NodeSettings(trust=trust), move=lambda _, phi, gradient: phi - 0.02 * gradient
    )
    state = chain.start(x)
    nodes.phi = {str(place): state[3 * place] for place in range(3)}
    for _ in range(4):
        state = chain.iterate(x, state, None).state
        nodes.settle()
        for place in range(3):
            torch.testing.assert_close(state[3 * place], nodes.phi[str(place)], rtol=0, atol=1e-12)


def test_a_training_starts_from_a_model_of_the_same_families(tmp_path):
    images = Images(np.random.default_rng(0).random((8, 9), np.float32), None, None, 0.0, 1.0, "x")
    settings = {"latents": 4, "batch_size": 4}
    first, other = (
        recipe("gpc-chain", architecture={"families": [name], "above": []}, **settings)
        for name in ("poisson", "bernoulli")
    )
    run = TrainingRun(images, first, tmp_path / "a.st", TrainOptions(device="cpu"))
    options = TrainOptions(device="cpu", start=run.model.to_saved())
    TrainingRun(images, first, tmp_path / "b.st", options)
    with pytest.raises(InputError, match=r"expected families .'bernoulli',.*, got .'poisson',"):
        TrainingRun(images, other, tmp_path / "c.st", options)


@pytest.mark.parametrize(
    ("architecture", "high", "message"),
    [
        (
            {"families": ["poisson", "bernouli", "categorical"]},
            1.0,
            "node 2: .* did you mean 'bernoulli'",
        ),
        (
            {"pixels": "poisson"},
            1.0,
            "pixels: expected a family that chains have, got 'poisson'; known",
        ),
        ({"groups": 5}, 1.0, "node 3: expected a size that 5 groups divide, got 16"),
        ({"above": [3]}, 1.0, "above: expected one size for each of 3 families but the first, 2"),
        ({"trust": -1}, 1.0, "trust"),
        ({"pixels": "bernoulli"}, 2.0, r"expected inputs within \[0, 1\]"),
    ],
)
def test_settings_that_do_not_fit_are_named(architecture, high, message):
    config = ModelConfig(
        family="gpc-chain", pixels=4, latents=6, steps=2, beta=1.0, input_low=0.0, input_high=high,
        architecture=architecture,
    )  # fmt: skip
    with pytest.raises(InputError, match=message):
        build_model(config)
