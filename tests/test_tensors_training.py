"""The differentiable run: integers of the definition, and slopes of what roundings stand for."""

from __future__ import annotations

import numpy as np
import pytest
import toy
from fast_networks import convolutional, everything, signed
from models import family_images, family_model, sound_images, sound_model

from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import (
    Activation,
    Constant,
    Dense,
    Encoding,
    Input,
    IntegerNetwork,
    Population,
    Sampler,
    Variable,
    shared,
    trace,
)
from pvae_neuro.network.interval import between
from pvae_neuro.network.random import random_inputs, random_network
from pvae_neuro.sim.reference import ReferenceEngine

torch = pytest.importorskip("torch", reason="training needs PyTorch")

from pvae_neuro.sim.tensors import straight_through as module  # noqa: E402
from pvae_neuro.sim.tensors.straight_through import (  # noqa: E402
    mantissas,
    picture,
    rounded_network,
    straight_through,
)


def assert_integers(network, images, steps=5, seed=3, weights=None, constants=None, **chosen):
    """Every variable of every step is that of ``reference`` with the rounded parameters."""
    got = straight_through(
        network, images, steps, seed, weights=weights, constants=constants, **chosen
    )
    plain = rounded_network(network, weights, constants)
    right = ReferenceEngine().run(plain, images, steps, seed, record="full", **chosen)
    assert list(got) == list(network.variables)
    for name in network.variables:
        assert got[name].dtype == torch.float64
        assert np.array_equal(got[name].detach().numpy(), right[name]), name
    return got, right


def mlp():
    return quantize(family_model("ipvae-mlp"), family_images(32), QuantizeConfig("predictive"))


# ------------------------------------------------------------------------------ the integers


@pytest.mark.parametrize("build", [toy.lateral, toy.predictive, everything, convolutional, signed])
def test_equals_the_reference(build):
    network = build()
    for weights in (None, mantissas(network)):
        assert_integers(
            network, toy.images(network, 3), weights=weights, seed=(1 << 64) - 1, first_sample=9
        )


def test_equals_the_reference_with_hidden_layers():
    network = mlp()
    weights = mantissas(network)
    assert_integers(network, family_images(3), 8, weights=weights)


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_reference_whatever_the_network(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    images = random_inputs(network, rng, 3, (None, 1, 3)[seed % 3])
    assert_integers(network, images, 4, seed, mantissas(network))


@pytest.mark.parametrize("build", [toy.lateral, toy.predictive])
def test_parameters_between_whole_numbers_are_rounded_and_clipped(build):
    network = build(bits=5)
    rng = np.random.default_rng(1)
    weights = {n: w.detach() + rng.uniform(-3, 3, w.shape) for n, w in mantissas(network).items()}
    leak = torch.from_numpy(rng.uniform(0, 300, 12))
    constants = {"latents.leak": leak.requires_grad_()}
    got, _ = assert_integers(network, toy.images(network, 3), 6, 0, weights, constants)
    before = ReferenceEngine().run(network, toy.images(network, 3), 6, 0, record="full")
    assert (got["latents.u"].detach().numpy() != before["latents.u"]).any()
    got["latents.u"].sum().backward()
    assert (leak.grad != 0).any()
    name = next(iter(weights))
    beyond = {name: torch.full_like(weights[name], -200.0)}
    assert (rounded_network(network, beyond).connection_of[name].weight == -127).all()


def test_what_is_recorded():
    network = toy.predictive()
    got = straight_through(network, toy.images(network, 2), 3, record=["errors.m"])
    assert {name: tuple(v.shape) for name, v in got.items()} == {"errors.m": (2, 4, 20)}


@pytest.mark.parametrize("build", [toy.lateral, toy.predictive, signed])
def test_pictures_are_those_of_the_readout(build):
    network = build()
    recording = ReferenceEngine().run(network, toy.images(network, 3), 5, 0)
    values = torch.from_numpy(recording.readout.astype(np.float64))
    got = picture(network, values, mantissas(network)).detach().numpy()
    assert np.array_equal(got.astype(np.float32), recording.reconstruction)


# ------------------------------------------------------------------------------ slopes


def slope(rule, names, values, words=None, **constants):
    """Slopes of what a rule sets, with respect to each of some numbers; by the tables alone."""
    program = trace(rule)
    known = {n: torch.tensor([v], dtype=torch.float64) for n, v in constants.items()}
    known |= {"0": torch.zeros(1).double(), "1": torch.ones(1).double()}
    given = [torch.tensor([float(v)], dtype=torch.float64, requires_grad=True) for v in values]
    known |= dict(zip(names, given, strict=True))
    for i in program.instructions:
        known[i.result] = module.SLOPES[i.operation](*(known[a] for a in i.arguments))
    result = known[program.outputs[0].value]
    if not result.requires_grad:
        return [float(result)], [0.0] * len(given)
    found = torch.autograd.grad(result.sum(), given, allow_unused=True)
    return [float(result.detach())], [0.0 if g is None else float(g) for g in found]


def sets(compute):
    """A rule that sets the variable y."""

    def rule(n):
        n.y = compute(n)

    return rule


RULES = [
    (lambda n: n.a + n.b, (5, 7), 12, (1, 1)),
    (lambda n: n.a - n.b, (5, 7), -2, (1, -1)),
    (lambda n: -n.a, (5, 7), -5, (-1, 0)),
    (lambda n: abs(n.a), (-5, 7), 5, (-1, 0)),
    (lambda n: n.mul(n.a, n.b, n.two), (5, 7), 9, (7 / 4, 5 / 4)),
    (lambda n: n.shr(n.a, n.two), (5, 2), 1, (1 / 4, 0)),
    (lambda n: n.shr(n.a, n.b), (6, 2), 2, (1 / 4, 0)),
    (lambda n: n.shl(n.a, n.two), (5, 2), 20, (4, 0)),
    (lambda n: n.shl(n.a, n.b), (5, -1), 3, (1 / 2, 0)),
    (lambda n: n.min(n.a, n.b), (5, 7), 5, (1, 0)),
    (lambda n: n.min(n.a, n.b), (7, 7), 7, (1, 0)),
    (lambda n: n.max(n.a, n.b), (5, 7), 7, (0, 1)),
    (lambda n: n.clip(n.a, n.low, n.high), (3, 0), 3, (1, 0)),
    (lambda n: n.clip(n.a, n.low, n.high), (-4, 0), -4, (1, 0)),
    (lambda n: n.clip(n.a, n.low, n.high), (4, 0), 4, (1, 0)),
    (lambda n: n.clip(n.a, n.low, n.high), (5, 0), 4, (0, 0)),
    (lambda n: n.clip(n.a, n.low, n.high), (-9, 0), -4, (0, 0)),
    (lambda n: n.select(n.a, n.b, n.a), (2, 3), 3, (0, 1)),
    (lambda n: n.select(n.a, n.b, n.a), (0, 3), 0, (1, 0)),
    (lambda n: n.a >= n.b, (7, 7), 1, (0, 0)),
    (lambda n: n.a & n.b, (6, 3), 2, (0, 0)),
    (lambda n: n.a | n.b, (6, 3), 7, (0, 0)),
    (lambda n: n.a ^ n.b, (6, 3), 5, (0, 0)),
    (lambda n: n.clz(n.a), (6, 3), 21, (0, 0)),
]


@pytest.mark.parametrize(("compute", "values", "result", "slopes"), RULES)
def test_slopes_of_operations(compute, values, result, slopes):
    got = slope(sets(compute), "ab", values, two=2.0, low=-4.0, high=4.0)
    assert got == ([result], list(slopes))


def test_the_slope_of_a_draw():
    sampler = Sampler(15, 10)
    population = Population("p", 1, (Variable("z", shared(0)),), sampler=sampler)
    rng = np.random.default_rng(0)
    u = torch.from_numpy(rng.integers(-3000, 900, (1, 200)).astype(np.float64)).requires_grad_()
    word = torch.from_numpy(rng.integers(0, 1 << 16, (1, 200)).astype(np.int32))
    proved = between(-3000, 900)
    counts = module._draw(population, proved, u, word)
    counts.sum().backward()
    z, rate = counts.detach().numpy(), np.exp(u.detach().numpy() / 1024)
    assert 0 == z.min() < z.max()
    # In floats: three operations, each off by a rounding.
    np.testing.assert_allclose(u.grad.numpy(), (z + rate) / 2 / 1024, rtol=1e-14)
    with pytest.raises(NetworkError, match=r"p: expected log-rates in \[-16384, "):
        module._draw(population, proved, u - 20_000, word)
    # Beyond what was proved and within what the sampler draws of.
    assert not module._draw(population, proved, u - 12_000, word).any()


class Frozen:
    """Roundings and draws of a run as the numbers that they added there, so that it is smooth."""

    def __init__(self, monkeypatch):
        self.kept, self.at = [], None
        rounding, drawing = module.rounded, module._draw
        monkeypatch.setattr(module, "rounded", lambda v: self.replayed(v, rounding))
        monkeypatch.setattr(module, "_draw", lambda *given: self.drawn(*given, drawing))

    def replayed(self, value, rounding):
        if self.at is None:
            self.kept.append((rounding(value) - value).detach())
            return rounding(value)
        self.at += 1
        return value + self.kept[self.at - 1]

    def drawn(self, population, proved, u, word, drawing):
        if self.at is None:
            z, unit = (
                drawing(population, proved, u, word).detach(),
                2.0**-population.sampler.frac_bits,
            )
            self.kept.append((z, u.detach(), (z + (u.detach() * unit).exp()) / 2 * unit))
            return drawing(population, proved, u, word)
        self.at += 1
        z, before, tangent = self.kept[self.at - 1]
        return z + tangent * (u - before)


# Not where rectifiers end at 0: there the function has two slopes.
@pytest.mark.parametrize("build", [toy.lateral, toy.predictive, signed])
def test_slopes_are_those_of_the_function_without_roundings(build, monkeypatch):
    """Central differences of the run in which every rounding adds what it added."""
    network = build()
    images = toy.images(network, 2)
    weights = mantissas(network)
    frozen = Frozen(monkeypatch)
    # Not rounded, and not clipped, so that a weight may move.
    monkeypatch.setattr(module, "_whole", lambda value, largest: value)
    source = f"{network.readout.population}.{network.readout.variable}"

    def loss():
        values = straight_through(network, images, 3, 1, weights=weights, record=[source])
        return (picture(network, values[source], weights) ** 2).sum()

    loss().backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in weights.values())
    rng = np.random.default_rng(0)
    for name, weight in weights.items():
        slopes = torch.zeros_like(weight) if weight.grad is None else weight.grad
        for place in rng.choice(weight.numel(), 4):
            index = np.unravel_index(place, weight.shape)
            ends = []
            for step in (1e-5, -1e-5):
                frozen.at = 0
                with torch.no_grad():
                    weight[index] += step
                    ends.append(float(loss()))
                    weight[index] -= step
            difference = (ends[0] - ends[1]) / 2e-5
            # The loss, below 1e5, is rounded to 2**-53 of it, and 2e-5 divides that; the third
            # derivatives of some iterations, each at most squared, are far below.
            assert difference == pytest.approx(float(slopes[index]), rel=1e-4, abs=1e-3), name


def test_weights_that_are_shared_are_trained_by_all_their_uses():
    network = toy.predictive()
    weights = mantissas(network)
    assert sorted(weights) == ["pixels", "prediction"]
    got = straight_through(network, toy.images(network, 4), 4, weights=weights)
    # Without the way back nothing reaches the potential, and without the way there no error.
    got["latents.u"].sum().backward()
    assert weights["prediction"].grad.abs().sum() > 0


# ------------------------------------------------------------------------------ training


@pytest.mark.parametrize("bits", [3, 4])
def test_training_lowers_the_error_of_coarse_weights(bits):
    """Some steps on mantissas, of the synapses that there are."""
    images = sound_images(48)
    # Narrow messages leave room for weights that grow.
    config = QuantizeConfig("predictive", weight_bits=bits, max_count=31, message_loss=2.0)
    network = quantize(sound_model(), images, config)
    largest, name = (1 << (bits - 1)) - 1, network.readout.connection
    start = mantissas(network)[name].detach()
    weight = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=0.06)
    x = torch.from_numpy(images.astype(np.float64))[:, None]
    source = f"{network.readout.population}.{network.readout.variable}"

    def clipped():
        return {name: weight.clamp(-largest, largest) * (start != 0)}

    def error(one):
        return ReferenceEngine().run(one, images, 40, 100).mse[-8:].mean()

    for step in range(24):
        weights = clipped()
        values = straight_through(network, images, 32, step, weights=weights, record=[source])
        loss = ((picture(network, values[source][:, 20:], weights) - x) ** 2).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trained = rounded_network(network, clipped())
    assert np.abs(trained.connection_of[name].weight).max() <= largest
    # Measured: .75 and .75 times.
    assert error(trained) < 0.85 * error(network)
    assert_integers(network, images[:4], 6, 7, clipped())


# ------------------------------------------------------------------------------ what is refused


def test_parameters_that_do_not_fit_are_refused():
    network = toy.predictive()
    images = toy.images(network, 1)
    weight = mantissas(network)["prediction"]
    for given, message in (
        ({"weights": {"feedback": weight}}, "weights: expected some of pixels, prediction; got"),
        ({"weights": {"prediction": weight.T}}, r"'prediction': expected shape \[20, 12\], got"),
        ({"constants": {"errors.leak": weight}}, "constants: expected some of latents.leak"),
        ({"steps": 0}, "steps: expected 1"),
        ({"record": ["errors.x"]}, "record: expected"),
    ):
        with pytest.raises(InputError, match=message):
            straight_through(network, images, **given)
    with pytest.raises(InputError, match="expected a readout"):
        picture(without_readout(), weight)


def without_readout():
    def follow(n):
        n.u = n.given

    units = Population("units", 2, (Variable("u", shared(0)),), (), (trace(follow),))
    return IntegerNetwork(
        name="plain",
        input=Input(2, 0.0, 1.0, 4),
        encodings=(Encoding("pixels", "x"),),
        populations=(Population("pixels", 2, (Variable("x", shared(0)),)), units),
        connections=(Dense("given", "pixels", "x", "units", np.eye(2, dtype=np.int8), 0, "given"),),
        iteration=(Activation("units", "follow", ("given",)),),
    )


def test_constants_of_a_population_by_their_name():
    network = toy.predictive()
    gain = torch.from_numpy(network.population_of["errors"].constant("gain").astype(np.float64))
    changed = rounded_network(network, constants={"errors.gain": gain / 2 + 0.1})
    assert isinstance(changed.population_of["errors"].constants[0], Constant)
    assert np.array_equal(
        changed.population_of["errors"].constant("gain"), np.rint(gain.numpy() / 2 + 0.1)
    )
