"""The float circuit is the PyTorch model, and its counts follow Poisson."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from models import random_images, random_model
from pytorch_words import pytorch_states

from pvae_neuro.errors import ModelFileError, NetworkError
from pvae_neuro.exporters.lowerings import float_circuit_of, lowering_of, topologies
from pvae_neuro.network import Activation, trace
from pvae_neuro.network.float_circuit import poisson_counts, soft_minimum
from pvae_neuro.network.sampler import WORDS, poisson_cdf
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.zoo import load_pretrained, sample_digits

ITERATIONS = 32
LINEAR = "ipvae-linear"


def with_config(model: SavedModel, **changes: object) -> SavedModel:
    return replace(model, config=model.config.model_copy(update=changes))


def words_of(circuit, samples):
    steps = range(ITERATIONS + 1)
    return {p.name: population_noise(p, 0, steps, range(samples)) for p in circuit.drawing}


def distance_from_pytorch(model, images, topology):
    """Largest difference of any potential over 32 iterations, each on its own trajectory."""
    torch = pytest.importorskip("torch", reason="compares with the PyTorch model")
    from pvae_neuro.models.poisson.ipvae import IPVAE

    circuit = lowering_of(topology, LINEAR).circuit(model, "float64")
    words = words_of(circuit, len(images))
    network = IPVAE.from_saved(model).double()
    x = torch.tensor(images, dtype=torch.float64)
    farthest = 0.0
    with torch.no_grad():
        u = network.initial_state(len(images)).double()
        states = circuit.run(images.astype(np.float64), words, ITERATIONS)
        for step, state in zip(range(ITERATIONS), states, strict=False):
            z = torch.tensor(poisson_counts(u.numpy(), words["latents"][:, step]))
            u = network.update(u, x, z)
            farthest = max(farthest, float(np.abs(u.numpy() - state["latents.u"]).max()))
    return farthest


@pytest.mark.parametrize("topology", topologies(LINEAR))
def test_follows_the_pytorch_model_on_the_shipped_model(topology):
    # One count that differs would move a potential by 0.03 and more; rounding moves it by 1e-13.
    assert distance_from_pytorch(load_pretrained(), sample_digits()[0][:8], topology) < 1e-9


@pytest.mark.parametrize("topology", topologies(LINEAR))
@pytest.mark.parametrize(("clamp", "bound"), [("soft", 10.0), ("soft", 0.5), ("hard", 0.5)])
def test_follows_the_pytorch_model_with_either_clamp(topology, clamp, bound):
    model = with_config(random_model(), clamp=clamp, clamp_u=bound, clamp_du=bound)
    assert lowering_of(topology, LINEAR).circuit(model).soft == (clamp == "soft")
    assert distance_from_pytorch(model, random_images(model, 8), topology) < 1e-9


def test_both_circuits_of_a_model_differ_by_rounding_alone():
    model = random_model()
    images = random_images(model, 6)
    runs = []
    for lowering in (lowering_of(name, LINEAR) for name in topologies(LINEAR)):
        circuit = lowering.circuit(model, "float64")
        states = list(circuit.run(images, words_of(circuit, 6)))
        runs.append(np.stack([s["latents.u"] for s in states]))
        assert len(states) == ITERATIONS + 1
        assert np.allclose(
            circuit.reconstruct(states[-1]), states[-1]["latents.z"] @ model.dictionary.T
        )
    assert np.abs(runs[0] - runs[1]).max() < 1e-9


def test_the_circuit_of_a_model_is_the_one_that_follows_its_formulas():
    assert float_circuit_of(random_model()).name == "predictive"
    assert float_circuit_of(with_config(random_model(), inner_updates=2)) is None
    assert float_circuit_of(with_config(random_model(), family="igvae")) is None


def test_computes_in_its_own_type():
    model = random_model()
    for dtype in ("float32", "float64"):
        for lowering in (lowering_of(name, LINEAR) for name in topologies(LINEAR)):
            circuit = lowering.circuit(model, dtype)
            images = random_images(model, 2).astype(np.float64)
            for state in circuit.run(images, words_of(circuit, 2)):
                assert {value.dtype for value in state.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("topology", topologies(LINEAR))
@pytest.mark.parametrize(("updates", "clamp"), [(2, "hard"), (3, "soft")])
def test_iterations_are_the_inner_updates_of_the_pytorch_model(topology, updates, clamp):
    pytest.importorskip("torch", reason="compares with the PyTorch model")
    changes = {"inner_updates": updates, "beta_inner": 0.7, "clamp": clamp, "clamp_u": 3.0}
    model = with_config(random_model(), **changes)
    lowering = lowering_of(topology, LINEAR)
    assert not lowering.takes(model)
    circuit = lowering.circuit(model, "float64")
    images = random_images(model, 8)
    words = words_of(circuit, len(images))["latents"]
    states = list(circuit.run(images.astype(np.float64), {"latents": words}))
    # The model draws for its updates in turn: one stream of words for each place in a time step.
    places = {f"{place}": words[:, place::updates] for place in range(updates)}
    farthest, steps = 0.0, ITERATIONS // updates
    iterations = pytorch_states(model, images, places, tuple(places), steps)
    for step, iteration in enumerate(iterations):
        circuits = states[updates * (step + 1) - 1]["latents.u"]
        farthest = max(farthest, float(np.abs(iteration.state[0].numpy() - circuits).max()))
    assert step == steps - 1 and farthest < 1e-9


@pytest.mark.parametrize("topology", topologies(LINEAR))
def test_one_inner_update_needs_no_prior(topology):
    latents = lowering_of(topology, LINEAR).circuit(random_model()).population_of["latents"]
    assert [v.name for v in latents.variables] == ["u", "z"]
    assert {"pull", "last_phase"}.isdisjoint(c.name for c in latents.constants)


@pytest.mark.parametrize("topology", topologies(LINEAR))
def test_models_that_no_lowering_takes_are_named(topology):
    lowering = lowering_of(topology, LINEAR)
    with pytest.raises(ModelFileError, match="expected a model of family ipvae-linear, got 'x'"):
        lowering.circuit(with_config(random_model(), family="x"))
    broken = random_model()
    broken.arrays["dictionary"][0, 0] = np.nan
    with pytest.raises(ModelFileError, match="'dictionary' holds NaN"):
        lowering.circuit(broken)


def test_what_has_no_meaning_in_real_numbers_is_named():
    def scramble(n):
        n.z = n.z & n.leak

    circuit = lowering_of("predictive", LINEAR).circuit(random_model())
    latents = circuit.population_of["latents"]
    latents = replace(latents, programs=(*latents.programs, trace(scramble)))
    with pytest.raises(
        NetworkError, match=r"latents\.scramble: the operation 'and' has no meaning"
    ):
        replace(
            circuit,
            populations=(circuit.populations[0], latents, circuit.populations[2]),
            iteration=(*circuit.iteration, Activation("latents", "scramble")),
        )


def test_words_that_are_missing_are_named():
    circuit = lowering_of("lateral", LINEAR).circuit(random_model())
    with pytest.raises(NetworkError, match="no words are given for 'latents'"):
        next(circuit.run(random_images(random_model(), 1), {}))


@pytest.mark.parametrize("rate", [1e-3, 0.3, 1.0, 7.5, 60.0, 190.0])
def test_counts_invert_the_distribution_function(rate):
    word = np.arange(WORDS, dtype=np.uint16)
    counts = poisson_counts(np.full(WORDS, np.log(rate), np.float32), word).astype(int)
    exact = poisson_cdf(np.exp(np.array([float(np.float32(np.log(rate)))])), 400)[0]
    assert np.all(np.diff(counts) >= 0)
    drawn = np.cumsum(np.bincount(counts, minlength=400)) / WORDS
    # Each threshold is at most half a word away from the exact one.
    assert np.abs(drawn - exact).max() <= 1.0 / WORDS


def test_counts_of_float_and_integers_share_words():
    from pvae_neuro.network.sampler import sample_counts

    rng = np.random.default_rng(0)
    u = rng.integers(-6 << 14, 3 << 14, 20_000)
    word = rng.integers(0, WORDS, 20_000).astype(np.uint16)
    integer = sample_counts(u, word, 63, 14)
    real = poisson_counts(u / 2.0**14, word)
    # Both invert the same law at the same point: they differ where a threshold is rounded.
    assert np.abs(integer - real).max() <= 1
    assert (integer != real).mean() < 1e-3


def test_rates_at_the_upper_clamp_stay_finite():
    counts = poisson_counts(np.full(50, 10.0, np.float32), np.full(50, 65535, np.uint16))
    assert np.all(np.isfinite(counts)) and 22_000 < counts.max() < 23_500


def test_large_rates_stay_within_one_count():
    scipy_stats = pytest.importorskip("scipy.stats", reason="compares with SciPy's quantiles")
    word = np.arange(5, WORDS, 997).astype(np.uint16)
    for rate in (201.0, 1000.0, 22026.0):
        u = np.full(len(word), np.log(rate), np.float32)
        exact = scipy_stats.poisson.ppf((word + 0.5) / WORDS, np.exp(u.astype(float)))
        assert np.abs(poisson_counts(u, word) - exact).max() <= 1


def test_soft_minimum_matches_its_formula():
    value = np.linspace(-20, 20, 401).astype(np.float32)
    exact = 10.0 - np.logaddexp(0.0, 10.0 - value.astype(float))
    assert np.abs(soft_minimum(value, 10.0) - exact).max() < 2e-6
    assert soft_minimum(value, 10.0).max() <= 10.0
    assert np.array_equal(soft_minimum(value, np.inf), value)
