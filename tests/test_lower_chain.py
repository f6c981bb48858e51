"""Chains of nodes: the float circuit is the PyTorch model, and integers are near it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from pytorch_words import pytorch_states

from pvae_neuro import get_engine, quantize, verify
from pvae_neuro.errors import EngineUnavailableError, InputError, ModelFileError
from pvae_neuro.evaluation.measures.integer_codes import codes_of_network
from pvae_neuro.exporters.certify import certify
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.onnx.program import (
    canonical_json,
    parse_json,
    stored_arrays,
    to_network,
    to_program,
)
from pvae_neuro.exporters.quantize import QuantizeConfig
from pvae_neuro.network.limits import limits_of
from pvae_neuro.network.sampler import largest_potential
from pvae_neuro.neurons import bernoulli
from pvae_neuro.placement.split import split
from pvae_neuro.saved.model_file import ModelConfig, SavedModel
from pvae_neuro.sim.noise import population_noise

FAMILY = "gpc-chain"
ITERATIONS = 24
SHAPE = 6, 5
PIXELS = 30


def chain(
    families: tuple[str, ...] = ("poisson", "bernoulli", "categorical"),
    sizes: tuple[int, ...] = (12, 8, 6),
    seed: int = 0,
    **settings: object,
) -> SavedModel:
    """Random weights with activity in all nodes."""
    rng = np.random.default_rng(seed)
    architecture = {"families": families, "above": sizes[1:], "groups": 2, **settings}
    below = (PIXELS, *sizes)
    arrays = {
        "prior": rng.uniform(-1.5, 0.0, sizes[-1]),
        **{f"maps.{n}.bias": rng.uniform(-1.5, 0.0, below[n]) for n in range(len(sizes))},
        **{
            f"maps.{n}.weight": rng.normal(0, 0.6 if n else 0.3, (below[n], size))
            for n, size in enumerate(sizes)
        },
    }
    for n, family in enumerate(families, 1):
        if family == "gaussian":  # Open at first.
            bias = f"maps.{n}.bias" if n < len(families) else "prior"
            arrays[bias] = rng.uniform(0.0, 1.0, sizes[n - 1])
    if settings.get("pixels", "gaussian") == "gaussian":
        arrays |= {"maps.0.bias": rng.uniform(0, 0.2, PIXELS), "output.log_sigma": np.array(-0.7)}
    config = ModelConfig(
        family=FAMILY, pixels=PIXELS, latents=sizes[0], steps=8, beta=1.0, input_low=0.0,
        input_high=1.0, image_shape=SHAPE, clamp="hard", clamp_u=2.5, architecture=architecture,
    )  # fmt: skip
    return SavedModel(config, {k: np.asarray(v, np.float32) for k, v in arrays.items()})


IMAGES = np.random.default_rng(1).random((24, PIXELS)).astype(np.float32) ** 2
CHAINS = {
    "poisson, bernoulli, categorical": chain(),
    "categorical below": chain(("categorical", "poisson", "bernoulli"), seed=1),
    "bernoulli below": chain(("bernoulli", "categorical", "poisson"), (12, 8, 5), seed=2),
    "bernoulli pixels": chain(pixels="bernoulli", seed=3),
    "values between spikes": chain(("poisson", "gaussian", "poisson"), seed=4),
    "values alone": chain(("gaussian", "gaussian"), (12, 8), seed=5),
    "trust of 3": chain(seed=8, trust=3.0, step_size=0.05),
    "one node": chain(("bernoulli",), (12,), seed=6),
}
ALL_RULES = chain(
    ("categorical", "poisson", "bernoulli", "gaussian"), (12, 8, 6, 4), seed=7, pixels="bernoulli"
)
LAWS = {"poisson": "Poisson", "bernoulli": "Bernoulli", "categorical": "Poisson"}
EACH = pytest.mark.parametrize("model", CHAINS.values(), ids=CHAINS.keys())


def words_of(circuit, samples: int, steps: int = ITERATIONS) -> dict[str, np.ndarray]:
    rows = range(steps + 1), range(samples)
    return {p.name: population_noise(p, 0, *rows) for p in circuit.drawing}


# ---------------------------------------------------------------------------- float circuit


@EACH
def test_the_float_circuit_is_the_pytorch_model(model):
    pytest.importorskip("torch", reason="compares with the PyTorch model")
    lowering = lowering_of(None, FAMILY)
    assert lowering.takes(model)
    circuit = lowering.circuit(model, "float64")
    images = IMAGES[:6].astype(np.float64)
    words = words_of(circuit, len(images))
    states = list(circuit.run(images, words, ITERATIONS))
    # The reciprocal of the circuit's sigmoid has a relative error of 99**-4.
    allowed = 1e-6 if model.config.architecture.get("pixels") == "bernoulli" else 1e-9
    nodes = range(1, len(model.config.architecture["families"]) + 1)
    for step, iteration in enumerate(pytorch_states(model, images, words, steps=ITERATIONS)):
        now = [part.numpy() for part in iteration.state]
        for place, node in enumerate(nodes):
            phi, log_sum, expected = now[3 * place : 3 * place + 3]
            # A count that differs would move parameters by more than 1e-3.
            assert np.abs(phi - states[step][f"node{node}.u"]).max() < allowed
            for held, name in ((log_sum, "c"), (expected, "d")):
                known = states[step].get(f"node{node}_sums.{name}", held)
                assert np.abs(held - known).max(initial=0.0) < allowed
            z = now[3 * len(nodes) + 3 * place]
            assert np.abs(z - states[step + 1][f"node{node}.z"]).max() < allowed
        decoded = iteration.reconstruction.numpy()
        assert np.abs(decoded - circuit.reconstruct(states[step + 1])).max() < allowed
    for node in nodes:
        z = np.stack([state[f"node{node}.z"] for state in states])
        assert z.any(), node


# -------------------------------------------------------------------------------- integers


def test_engines_agree():
    """Over all rules; tests/test_guides.py runs a trained chain of three spiking kinds on lava."""
    model = ALL_RULES
    network = quantize(model, IMAGES)
    laws = {found.population: found.law for found in certify(network).samplers}
    families = enumerate(model.config.architecture["families"], 1)
    assert laws == {f"node{n}": LAWS[family] for n, family in families if family in LAWS}
    runs = {}
    for each in ("reference", "fast", "onnx", "torch", "c"):
        try:
            engine = get_engine(each)
        except EngineUnavailableError:
            continue
        runs[each] = engine.run(network, IMAGES[:8], ITERATIONS, seed=2, record="full")
    for variable in network.variables:
        for engine, run in runs.items():
            assert np.array_equal(run[variable], runs["reference"][variable]), (engine, variable)
        assert np.ptp(runs["reference"][variable]) > 0, variable


@EACH
def test_what_is_inferred_is_what_the_first_node_hands_on(model):
    network = quantize(model, IMAGES)
    assert network.code == lowering_of(None, FAMILY).circuit(model).code == "node1.z"
    text = canonical_json(to_program(network))
    assert to_network(parse_json(text), stored_arrays(network)) == network
    parted = split(network, {"node1": ((0, 6), (6, 12))}).network
    assert parted.code == "node1_0.z"


def test_a_code_that_compares_words_is_never_cut_off():
    model = CHAINS["bernoulli below"]
    network = quantize(model, IMAGES)
    assert network.largest_code == 0
    run = get_engine("reference").run(network, IMAGES[:4], 6, record="summary")
    assert run.saturated is not None and not run.saturated.any() and run.active.any()
    report = verify(network, model, IMAGES, steps=6, engines=["reference"])
    assert not any("largest count" in line for line in report.warnings)
    with pytest.raises(InputError, match=r"node1\.z is drawn of"):
        codes_of_network(network, IMAGES[:4], 2)


def test_potentials_that_neurons_draw_of_are_limits_like_log_rates():
    limits = limits_of(quantize(ALL_RULES, IMAGES))
    drawn_of = {limit.variable: limit.is_log_rate for limit in limits}
    assert all(drawn_of[f"node{n}.u"] for n in (1, 2, 3))  # Node 4 hands on values.
    assert drawn_of["node1.r"] and not drawn_of["errors.m"]


def test_codes_of_categorical_nodes_are_rates():
    network = quantize(CHAINS["categorical below"], IMAGES)
    assert network.log_rate == "node1.r"
    codes = codes_of_network(network, IMAGES[:4], 8, engine="reference")
    last = get_engine("reference").run(network, IMAGES[:4], 8, 0).last
    assert codes.code == pytest.approx(np.exp(last["node1.r"] * 2.0**-14), rel=1e-6)
    assert np.array_equal(codes.z, last["node1.z"])


def test_log_rates_of_categorical_nodes_count_for_the_largest_count():
    """Rates of one neuron a group begin at 1 and exceed it where the log-sum follows."""
    network = quantize(CHAINS["bernoulli below"], IMAGES)
    chosen = next(each for each in network.choices if each.name == "max_count")
    bits = network.population_of["node2"].drawn_by.frac_bits
    reached = float(re.search(r"potential ([0-9.]+)", chosen.why).group(1))
    assert reached > largest_potential(15, bits) / 2**bits and chosen.value == 31


def test_a_largest_count_is_refused_where_nothing_is_counted():
    model = CHAINS["one node"]
    with pytest.raises(InputError, match="max_count: the circuit 'predictive' draws no counts"):
        quantize(model, IMAGES, QuantizeConfig(max_count=15))
    assert "max_count" not in {each.name for each in quantize(model, IMAGES).choices}


def test_the_certified_distance_is_that_of_the_share_of_words():
    network = quantize(ALL_RULES, IMAGES, QuantizeConfig(frac_bits=8))
    (found,) = (each for each in certify(network).samplers if each.law == "Bernoulli")
    node = network.population_of[found.population]
    u = np.arange(max(found.low, -16 << 8), min(found.high, 16 << 8) + 1)
    share = bernoulli.firing_words(node, u) / 2.0**16
    assert found.total_variation == np.abs(share - 1.0 / (1.0 + np.exp(-u / 256.0))).max() > 0.0


@EACH
def test_integers_are_near_the_float_circuit(model):
    """One iteration on the integers' own state: only rounding differs."""
    network = quantize(model, IMAGES)
    circuit = lowering_of(None, FAMILY).circuit(model, "float64")
    images = IMAGES[:8].astype(np.float64)
    run = get_engine("reference").run(network, images, 1, seed=0, record="full")
    states = list(circuit.run(images, words_of(circuit, 8, 1), 1))
    unit = 2.0**-14
    settings = model.config.architecture
    for node, _ in enumerate(settings["families"], 1):
        gap = np.abs(run[f"node{node}.u"][:, 0] * unit - states[0][f"node{node}.u"])
        # Not derived: what mantissas of 7 bits keep of these random weights, by trial. What holds
        # for any weights is twice the largest change in an iteration, 1.
        assert np.median(gap) < 0.01 and gap.max() < 0.5
    error = np.abs(run.reconstruction - circuit.reconstruct(states[-1]))
    assert np.median(error) < 0.02


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"families": ["poisson", "gaussian-learned", "categorical"]},
         "node 2: the family 'gaussian-learned' has no integers: its samples are normal"),
        ({"families": ["poisson", "attention", "categorical"]},
         "node 2: the family 'attention' has no integers: its neurons have no rule"),
        ({"pixels": "poisson"}, "pixels: the family 'poisson' has no integers"),
        ({"normalizer": None}, "the exact softmax, whose division no word operation computes"),
        ({"groups": 4}, "node 3: expected a size that 4 groups divide, got 6"),
        ({"above": [8]}, "above: expected one size for each of 3 families but the first, 2"),
        ({"trust": 0.0}, "trust: Input should be greater than 0"),
    ],
)  # fmt: skip
def test_what_has_no_integers_is_named(change, message):
    model = CHAINS["poisson, bernoulli, categorical"]
    architecture = {**model.config.architecture, **change}
    config = model.config.model_copy(update={"architecture": architecture})
    with pytest.raises(ModelFileError, match=message):
        lowering_of(None, FAMILY).circuit(replace(model, config=config))


def test_bernoulli_pixels_take_probabilities():
    model = CHAINS["bernoulli pixels"]
    config = model.config.model_copy(update={"input_high": 2.0})
    with pytest.raises(ModelFileError, match=r"pixels: expected inputs within \[0, 1\]"):
        lowering_of(None, FAMILY).circuit(replace(model, config=config))


def test_arrays_of_another_shape_are_named():
    model = CHAINS["poisson, bernoulli, categorical"]
    arrays = {**model.arrays, "prior": np.zeros(5, np.float32)}
    with pytest.raises(ModelFileError, match=r"'prior': expected float32 \(6,\)"):
        lowering_of(None, FAMILY).circuit(replace(model, arrays=arrays))


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("gpc-vae", "draws of normals with learned variances"),
        ("gpc-classifier", "tanh and an exact softmax"),
        ("gpc-language", "multiplies two populations that both vary"),
    ],
)
def test_families_without_integers_say_why_and_what_has_them(family, reason):
    with pytest.raises(ModelFileError, match=f"{reason}.*chains of poisson.*gpc-chain"):
        lowering_of(None, family)
