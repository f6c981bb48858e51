"""Families of nodes and their inference: one rule, and what it equals."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

import iterative_cases  # noqa: E402
from iterative_cases import Case  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.distributions import (  # noqa: E402
    Bernoulli,
    Categorical,
    Distribution,
    Normal,
    kl_divergence,
)
from torch.distributions import Poisson as PoissonDistribution  # noqa: E402

from pvae_neuro.errors import InputError, PvaeNeuroError  # noqa: E402
from pvae_neuro.models.generalized import families as registry  # noqa: E402
from pvae_neuro.models.generalized.families import (  # noqa: E402
    Categorical as CategoricalFamily,
)
from pvae_neuro.models.generalized.families import (  # noqa: E402
    Gaussian,
    family_names,
    find_family,
    register,
)
from pvae_neuro.models.generalized.family import Family  # noqa: E402
from pvae_neuro.models.generalized.nodes import Nodes, NodeSettings, Prior  # noqa: E402
from pvae_neuro.models.registry import build_model  # noqa: E402
from pvae_neuro.saved.model_file import ModelConfig  # noqa: E402

UNITS = 6
F64 = torch.float64
# Sums of some dozen products in float64 round by less.
EXACT = {"rtol": 0.0, "atol": 1e-12}


def numbers(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def families() -> list[Family]:
    return [*(find_family(name) for name in family_names()), CategoricalFamily(3)]


def shown(family: Family) -> str:
    return f"{family.name}{getattr(family, 'groups', '')}"


every_family = pytest.mark.parametrize("family", families(), ids=shown)


def distribution(family: Family, phi: Tensor) -> Distribution:
    if family.name == "gaussian-learned":
        mu, xi = phi.chunk(2, -1)
        return Normal(mu, xi.exp())
    if isinstance(family, CategoricalFamily):
        return Categorical(logits=phi.reshape(*phi.shape[:-1], family.groups, -1))
    made: Any = {
        "gaussian": lambda: Normal(phi, torch.ones_like(phi)),
        "bernoulli": lambda: Bernoulli(logits=phi),
        "poisson": lambda: PoissonDistribution(phi.exp()),
    }
    return made[family.name]()


def parameters(family: Family, seed: int) -> Tensor:
    return numbers(seed, 4, family.parts * UNITS, scale=0.7)


@every_family
def test_kl_is_that_of_torch(family: Family) -> None:
    phi, theta = parameters(family, 0), parameters(family, 1)
    wanted = kl_divergence(distribution(family, phi), distribution(family, theta))
    torch.testing.assert_close(family.kl(phi, theta), wanted, rtol=0, atol=1e-10)
    assert float(family.kl(phi, phi).abs().max()) < 1e-12


@every_family
def test_nll_is_that_of_torch_and_prediction_errors_are_its_gradient(family: Family) -> None:
    theta = parameters(family, 1).requires_grad_()
    if isinstance(family, CategoricalFamily):
        index = torch.arange(4)[:, None] % (UNITS // family.groups)
        index = index.expand(4, family.groups)
        target = nn.functional.one_hot(index, UNITS // family.groups).to(F64).flatten(1)
        wanted = -distribution(family, theta).log_prob(index)
    else:
        target = (uniform(2, 4, UNITS) < 0.5).to(F64)
        wanted = -distribution(family, theta).log_prob(target)
    torch.testing.assert_close(family.nll(target, theta), wanted, rtol=0, atol=1e-10)


def energy(family: Family, phi: Tensor, theta: Tensor, noise: Tensor | None) -> Tensor:
    """λ KL and a smooth energy of what the node hands on."""
    handed = family.hand(phi, noise)
    return 1.7 * family.kl(phi, theta).sum() + (0.3 * handed**2 + handed.sin()).sum()


def fisher_times(family: Family, phi: Tensor, vector: Tensor) -> Tensor:
    """F v; the Fisher information of natural parameters is the derivative of the mean."""
    if family.name == "gaussian-learned":
        precision = torch.exp(-2 * phi.chunk(2, -1)[1])
        return torch.cat([precision, torch.full_like(precision, 2.0)], -1) * vector
    return torch.autograd.functional.jvp(family.mean, phi, vector)[1]


@every_family
def test_fisher_times_natural_is_the_gradient(family: Family) -> None:
    """Against autograd, and autograd against finite differences."""
    draws = family.name == "gaussian-learned"
    noise = uniform(3, 4, UNITS) if draws else None
    phi, theta = parameters(family, 0).requires_grad_(), parameters(family, 1)
    (gradient,) = torch.autograd.grad(energy(family, phi, theta, noise), phi)
    phi = phi.detach()
    handed = family.hand(phi, noise).detach()
    down = 0.6 * handed + handed.cos()
    natural = family.natural(phi, theta, down, 1.7, noise)
    torch.testing.assert_close(fisher_times(family, phi, natural), gradient, **EXACT)

    direction, step = parameters(family, 4), 1e-6
    ends = [energy(family, phi + s * step * direction, theta, noise) for s in (1, -1)]
    # The third derivative times step², and rounding of an energy near 100 over the step.
    assert float((ends[0] - ends[1]) / (2 * step)) == pytest.approx(
        float((gradient * direction).sum()), rel=1e-7, abs=1e-7
    )


@every_family
def test_error_is_the_derivative_by_the_prediction(family: Family) -> None:
    for each in (family, family.squared()):
        phi, theta = parameters(family, 0), parameters(family, 1).requires_grad_()
        phi = each.start(phi)
        (wanted,) = torch.autograd.grad(each.kl(phi, theta).sum(), theta)
        torch.testing.assert_close(each.error(phi, theta.detach()), wanted, **EXACT)


@pytest.mark.parametrize("name", ["gaussian", "gaussian-learned", "bernoulli", "poisson"])
def test_samples_have_the_mean_that_they_stand_for(name: str) -> None:
    family = find_family(name)
    phi = parameters(family, 0)[:1]
    places = (torch.arange(4000, dtype=F64) + 0.5) / 4000
    drawn = family.hand(phi.expand(4000, -1), places[:, None].expand(-1, UNITS))
    # Evenly spaced quantiles integrate by the midpoint rule; counts and tails cost up to 1e-3.
    torch.testing.assert_close(drawn.mean(0), family.mean(phi)[0], rtol=2e-3, atol=1e-3)
    with pytest.raises(InputError, match="draws no samples"):
        find_family("categorical").hand(phi, phi)


# ------------------------------------------------------------------------------ a small network


class Chain(nn.Module):
    """5 inputs, nodes of 6, 6 and 4 units, three labels."""

    def __init__(self, seed: int = 0, dtype: Any = F64) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.a, self.b = nn.Linear(5, UNITS, dtype=dtype), nn.Linear(UNITS, UNITS, dtype=dtype)
            self.c, self.d = nn.Linear(UNITS, 4, dtype=dtype), nn.Linear(4, 3, dtype=dtype)
        self.x = numbers(seed + 1, 8, 5).to(dtype)
        self.target = nn.functional.one_hot(torch.arange(8) % 3, 3).to(dtype)
        self.scale = 1.0

    def forward(self, nodes: Nodes) -> Tensor:
        first = nodes.node("first", "gaussian", self.a(self.x)).tanh()
        mixture = nodes.node("mixture", "categorical", self.b(first))
        third = nodes.node("third", "gaussian", self.c(mixture)).tanh()
        return self.scale * nodes.observe("label", "categorical", self.d(third), self.target)


def gradients(chain: Chain, steps: int = 1, **settings: Any) -> Tensor:
    nodes = Nodes(chain, NodeSettings(**settings))
    energy = nodes.infer(steps)
    found = torch.autograd.grad(energy.output + energy.nodes, list(chain.parameters()))
    return torch.cat([part.flatten() for part in found])


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("inference", ["sweep", "together"])
@pytest.mark.parametrize("families", [{}, {"mixture": "squared"}], ids=["kl", "squared"])
def test_backpropagation_is_the_limit_of_large_trust(
    inference: str, families: dict[str, str]
) -> None:
    """The error falls as 1/λ: 8 to 12 times per decade, from λ = 10 on."""
    chain = Chain()
    wanted = gradients(chain, inference="backprop")

    def error(trust: float) -> float:
        # In 80 steps, what is left of the way shrinks below 1e-12 of it.
        found = gradients(
            chain, 80, inference=inference, trust=trust, step_size=0.5, families=families
        )
        return relative(found, wanted)

    errors = [error(trust) for trust in (10.0, 100.0, 1000.0)]
    if families and inference == "sweep":
        assert max(errors) < 1e-12
        return
    ratios = [first / second for first, second in pairwise(errors)]
    assert all(8 <= ratio <= 12 for ratio in ratios), errors


def test_sweep_with_squared_errors_is_backpropagation_in_float32() -> None:
    """Same sums in another order: some dozen float32 roundings of 6e-8."""
    chain = Chain(dtype=torch.float32)
    found = gradients(chain, inference="sweep", families={"*": "squared", "label": "categorical"})
    assert relative(found, gradients(chain, inference="backprop")) < 1e-6


def test_squared_nodes_hold_probabilities() -> None:
    chain = Chain()
    nodes = Nodes(chain, NodeSettings(families={"mixture": "squared"}))
    nodes.energy()
    torch.testing.assert_close(nodes.phi["mixture"].sum(1), torch.ones(8, dtype=F64))


def test_the_step_of_a_node_needs_its_neighbours_alone() -> None:
    """Changing the weights beyond them changes no bit of it."""

    def step(change: str | None) -> dict[str, Tensor]:
        chain = Chain()
        nodes = Nodes(chain, NodeSettings(step_size=0.1))
        nodes.settle()
        if change is not None:
            with torch.no_grad():
                getattr(chain, change).weight.mul_(1.5)
        nodes.settle()
        return nodes.phi

    plain = step(None)
    near = {"a": ["first"], "b": ["first", "mixture"], "c": ["mixture", "third"], "d": ["third"]}
    for weight, moved in near.items():
        changed = step(weight)
        assert [n for n in plain if not torch.equal(plain[n], changed[n])] == moved


def test_settling_lowers_the_energy() -> None:
    nodes = Nodes(Chain(), NodeSettings(step_size=0.05))
    values = []
    for _ in range(20):
        nodes.settle()
        energy = nodes.energy()
        values.append((energy.output + energy.nodes).item())
    assert values == sorted(values, reverse=True)


# ------------------------------------------------------------ today's iterative models are cases


def small(name: str, **changes: Any) -> Any:
    values = {
        "family": name, "pixels": 7, "latents": 5, "steps": 2, "beta": 0.3, "input_low": 0.0,
        "input_high": 1.0, "clamp": "hard", "clamp_u": 3.0, "clamp_du": 1.5, **changes,
    }  # fmt: skip
    config = ModelConfig.model_validate(values)
    return build_model(config, torch.Generator().manual_seed(0), 0.3).double()


def assert_equal(case: Case) -> None:
    for found, wanted in zip(case.nodes(), case.own(), strict=True):
        torch.testing.assert_close(found, wanted, **EXACT)


@pytest.mark.parametrize("clamp", ["hard", "soft"])
@pytest.mark.parametrize("inner", [1, 3])
def test_the_iterative_poisson_vae_is_the_poisson_case(clamp: str, inner: int) -> None:
    model = small("ipvae-linear", clamp=clamp, inner_updates=inner, beta_inner=0.4)
    assert_equal(iterative_cases.iterative_poisson(model, 4))


def test_both_levels_of_the_hierarchy_are_poisson_cases() -> None:
    """The upper level is told by the moment of its counts, ``exp(Ψ) - 1``, and not by their mean.

    The mean plugged in instead differs by more than a thousandth.
    """
    model = small("ipvae-hierarchical", architecture={"upper": 3, "prior_weight": 0.7})
    model.prediction.data.mul_(4.0)
    case = iterative_cases.hierarchical(model, 4)
    assert_equal(case)
    plain = iterative_cases.hierarchical(model, 4, moment=False)
    assert (plain.nodes()[1] - case.own()[1]).abs().max().item() > 1e-3


def test_the_iterative_gaussian_vae_is_a_gaussian_case() -> None:
    assert_equal(iterative_cases.iterative_gaussian(small("igvae-natural"), 4))


def test_predictive_coding_is_the_gaussian_case() -> None:
    model = small("pc", architecture={"hidden": [6, 4]})
    assert_equal(iterative_cases.predictive_coding(model, 4))


# ------------------------------------------------------------------------------------ refusals


def observed(family: Family | str, theta: Tensor, target: Tensor) -> None:
    Nodes(lambda n: n.observe("x", family, theta, target), NodeSettings()).energy()


@pytest.mark.parametrize(
    ("family", "target", "message"),
    [
        ("bernoulli", torch.full((2, 6), 1.5), "probabilities from 0 to 1, got values from 1.5"),
        ("poisson", torch.full((2, 6), -1.0), "numbers of 0 or more, got values from -1"),
        ("categorical", torch.ones(2, 6), "add up to 1"),
        ("gaussian", torch.full((2, 6), math.inf), "finite numbers"),
        ("gaussian", torch.ones(2, 5), r"expected values \[2, 6\]"),
        ("bernouli", torch.ones(2, 6), "did you mean 'bernoulli'"),
        (CategoricalFamily(4), torch.ones(2, 6), "divides the width of the node, 6, got 4"),
    ],
)
def test_what_a_family_cannot_have_is_refused(
    family: Family | str, target: Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        observed(family, torch.zeros(2, 6), target)


def test_bad_settings_and_names_are_refused() -> None:
    with pytest.raises(InputError, match="trust: Input should be greater than 0"):
        NodeSettings(trust=0.0)
    with pytest.raises(InputError, match="2 parameters a unit, as 'gaussian-learned' has"):
        code = "gaussian-learned"
        Nodes(
            lambda n: n.node("z", code, torch.zeros(2, 6)).sum(1),
            NodeSettings(families={"z": "poisson"}),
        ).energy()
    with pytest.raises(InputError, match="one group or more"):
        CategoricalFamily(0)
    with pytest.raises(InputError, match="no such family of nodes; did you mean 'gaussian'"):
        gradients(Chain(), families={"first": "gausian"})

    def twice(nodes: Nodes) -> Tensor:
        for _ in range(2):
            nodes.node("a", "gaussian", torch.zeros(2, 3))
        return torch.zeros(2)

    with pytest.raises(InputError, match="node 'a': there is one of that name"):
        Nodes(twice, NodeSettings()).energy()

    class Other(Gaussian):
        pass

    with pytest.raises(InputError, match="there is one of that name"):
        register(Other())


def test_a_node_that_is_not_finite_is_named() -> None:
    def forward(nodes: Nodes) -> Tensor:
        z = nodes.node("code", "gaussian-learned", torch.zeros(2, 6), Prior(torch.zeros(2, 6)))
        return z.sum(1) * math.nan

    message = "node 'code': its parameters are not finite"
    with pytest.raises(PvaeNeuroError, match=f"{message} after step 1 .* than 1, or a step size"):
        Nodes(forward, NodeSettings(bound=1e30)).settle()
    with pytest.raises(PvaeNeuroError, match=f"{message} after a sweep; .* larger trust than 1$"):
        Nodes(forward, NodeSettings()).sweep()


# --------------------------------------------------------------------------- a family of one's own


def test_the_page_adds_a_family(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example of ``docs/generalized.md``: it lowers the energy, and its family is sound."""
    from test_guides import run_page

    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    run_page("generalized.md")
    before, after = map(float, capsys.readouterr().out.split())
    assert after < before - 0.05
    family = find_family("exponential")
    phi, theta = -uniform(0, 4, UNITS) - 0.5, -uniform(1, 4, UNITS) - 0.5
    leaf = phi.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(family, leaf, theta, None), leaf)
    handed = family.hand(phi)
    natural = family.natural(phi, theta, 0.6 * handed + handed.cos(), 1.7)
    torch.testing.assert_close(fisher_times(family, phi, natural), gradient, **EXACT)
    wanted = torch.distributions.Exponential(-theta).log_prob(handed)
    torch.testing.assert_close(family.nll(handed, theta), -wanted, **EXACT)
