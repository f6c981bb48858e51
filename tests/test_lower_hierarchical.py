"""The two-level model: its float circuit is the PyTorch model, its integers are near it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from models import sound_images, sound_model
from pytorch_words import pytorch_states

from pvae_neuro import QuantizeConfig, get_engine, load_artifact, quantize, verify
from pvae_neuro.errors import EngineUnavailableError, ModelFileError
from pvae_neuro.export import export_model
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.lowerings.levels import PRIOR_WEIGHT
from pvae_neuro.network import (
    Activation,
    Encoding,
    Input,
    IntegerNetwork,
    OneToOne,
    Population,
    Variable,
    shared,
    trace,
)
from pvae_neuro.network.operations import PRODUCT_WIDTH
from pvae_neuro.network.sampler import LOWEST_POTENTIAL
from pvae_neuro.neurons.exponential import exponential, exponential_constants
from pvae_neuro.saved.model_file import ModelConfig, SavedModel
from pvae_neuro.sim.noise import population_noise

FAMILY = "ipvae-hierarchical"
ITERATIONS = 32
SIZES = {"latents": 24, "upper": 7, "height": 6, "width": 5}


def hierarchical_model(seed: int = 0, prior_weight: float = 0.3, **changes: object) -> SavedModel:
    """Random weights with activity at both levels; some log-rates leave their clamps."""
    rng = np.random.default_rng(seed)
    latents, upper = SIZES["latents"], SIZES["upper"]
    shape = SIZES["height"], SIZES["width"]
    pixels = shape[0] * shape[1]
    settings = {
        "family": FAMILY, "pixels": pixels, "latents": latents, "steps": 8, "beta": 8.0,
        "input_low": 0.0, "input_high": 1.0, "image_shape": shape, "clamp": "hard",
        "clamp_u": 3.0, "clamp_du": 3.0,
        "architecture": {"upper": upper, "prior_weight": prior_weight},
    }  # fmt: skip
    arrays = {
        "dictionary": np.abs(rng.normal(0, 0.2, (pixels, latents)))
        * (rng.random((pixels, latents)) < 0.4),
        "log_sigma": rng.normal(-1.0, 0.1, pixels),
        "log_bias": np.full(latents, -3.0),
        "log_step_size": np.array(-2.0),
        "initial_potential": rng.uniform(-3.0, -1.0, latents),
        "baseline": rng.uniform(-3.0, -1.0, latents),
        "prediction": rng.normal(0.4, 0.5, (latents, upper)),
        "upper.log_bias": np.full(upper, -3.0),
        "upper.log_step_size": np.array(-1.0),
        "upper.initial_potential": rng.uniform(-2.0, 0.0, upper),
    }
    config = ModelConfig(**{**settings, **changes})
    return SavedModel(config, {k: np.asarray(v, np.float32) for k, v in arrays.items()})


def images_of(model: SavedModel, samples: int) -> np.ndarray:
    counts = np.random.default_rng(1).poisson(0.15, (samples, model.config.latents))
    return np.clip(counts @ model.arrays["dictionary"].T, 0.0, 1.0).astype(np.float32)


def words_of(circuit, samples, seed=0):
    steps = range(ITERATIONS + 1)
    return {p.name: population_noise(p, seed, steps, range(samples)) for p in circuit.drawing}


MODEL = hierarchical_model()
IMAGES = images_of(MODEL, 16)


# ------------------------------------------------------------------------------ exponential


def rates(frac_bits: int, rate_bits: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-rates in integers, all that a chip may see or one in a few, and their exponentials."""

    def rule(n):
        n.rate = exponential(n, n.p)

    low, high = LOWEST_POTENTIAL << frac_bits, most << frac_bits
    p = np.arange(low, high + 1, max(1, (high - low) >> 16))
    p = np.unique(np.append(p, [low, -1, 0, 1, high]))
    network = IntegerNetwork(
        name="exp",
        input=Input(len(p), float(LOWEST_POTENTIAL), float(most), frac_bits),
        encodings=(Encoding("in", "x"),),
        populations=(
            Population("in", len(p), (Variable("x", shared(0)),)),
            Population(
                "cells",
                len(p),
                (Variable("rate", shared(0)),),
                exponential_constants(frac_bits, rate_bits),
                (trace(rule),),
            ),
        ),
        connections=(OneToOne("sent", "in", "x", "cells", np.ones(len(p), np.int8), 0, "p"),),
        iteration=(Activation("cells", "rule", ("sent",)),),
    )
    network.require_proof()
    assert max(r.bits for r in network.ranges.rows if "product" in r.quantity) <= PRODUCT_WIDTH
    run = get_engine("reference").run(
        network, p[None] / 2.0**frac_bits, 1, 0, record=["cells.rate"]
    )
    return p / 2.0**frac_bits, run["cells.rate"][0, 0] / 2.0**rate_bits


# A rate of e^8 in units of 2^-16 has more than 24 bits.
@pytest.mark.parametrize(
    ("frac_bits", "rate_bits", "most"),
    [(14, 4, 8), (14, 0, 8), (14, 16, 4), (4, 4, 8), (16, 10, 8)],
)
def test_the_exponential_is_within_its_stated_error(frac_bits, rate_bits, most):
    log_rate, rate = rates(frac_bits, rate_bits, most)
    error = np.abs(rate - np.exp(log_rate))
    allowed = 1e-5 * np.exp(log_rate) + 2.0 ** -(rate_bits + 1)
    assert (error <= allowed).all()
    # A bound that is missed by a factor of 2 would be: the sum is reached.
    assert (error > allowed / 2).any()
    assert (np.diff(rate) >= 0).all()


# ---------------------------------------------------------------------------- float circuit


@pytest.mark.parametrize(("clamp", "bound"), [("hard", 3.0), ("hard", 0.5), ("soft", 3.0)])
def test_the_float_circuit_is_the_pytorch_model(clamp, bound):
    pytest.importorskip("torch", reason="compares with the PyTorch model")
    model = hierarchical_model(clamp=clamp, clamp_u=bound, clamp_du=bound)
    lowering = lowering_of(None, FAMILY)
    assert lowering.takes(model)
    circuit = lowering.circuit(model, "float64")
    assert (circuit.latents.name, circuit.code) == ("latents", "latents.z")
    images = images_of(model, 8)
    words = words_of(circuit, 8)
    states = list(circuit.run(images.astype(np.float64), words))
    populations = ("latents", "upper")
    iterations = list(pytorch_states(model, images, words, populations, ITERATIONS))
    for step, iteration in enumerate(iterations):
        u, upper, z, z_upper = (part.numpy() for part in iteration.state)
        # A count that differs would move potentials by more than 1e-3.
        assert np.abs(u - states[step]["latents.u"]).max() < 1e-9
        assert np.abs(upper - states[step]["upper.u"]).max() < 1e-9
        assert np.array_equal(z, states[step + 1]["latents.z"])
        assert np.array_equal(z_upper, states[step + 1]["upper.z"])
        decoded = iteration.reconstruction.numpy()
        assert np.abs(decoded - circuit.reconstruct(states[step + 1])).max() < 1e-9
    p = np.stack([state["latents.p"] for state in states[:-1]])
    # Both clamps of the prediction, and what is between, are met.
    assert (p == bound).any() and ((p < bound) & (p > model.config.floor_u)).any()
    assert np.stack([state["upper.z"] for state in states]).any()


def test_the_prior_weight_of_a_file_that_does_not_say_it_is_the_models():
    pytest.importorskip("torch", reason="compares with the PyTorch model")
    from pvae_neuro.models.poisson.ipvae_hierarchical import HierarchicalArchitecture

    assert HierarchicalArchitecture().prior_weight == PRIOR_WEIGHT
    silent = hierarchical_model(architecture={"upper": SIZES["upper"]})
    said = hierarchical_model(prior_weight=PRIOR_WEIGHT)
    circuits = [lowering_of(None, FAMILY).circuit(model, "float64") for model in (silent, said)]
    pulls = [c.population_of["upper"].constant("pull")[0] for c in circuits]
    assert pulls[0] == pulls[1] > 0


# -------------------------------------------------------------------------------- integers


@pytest.mark.parametrize(
    "model",
    [MODEL, hierarchical_model(1, prior_weight=0.0), hierarchical_model(2, clamp_u=0.5)],
    ids=["as it is", "without a prior", "tight clamp"],
)
def test_engines_agree(model):
    network = quantize(model, IMAGES)
    network.require_proof()
    assert [p.sampler.stream for p in network.drawing] == [0, 1]
    runs = [
        get_engine(name).run(network, IMAGES, ITERATIONS, seed=2, record="full")
        for name in ("reference", "fast", "onnx")
    ]
    for name in network.variables:
        assert all(np.array_equal(run[name], runs[0][name]) for run in runs), name
        assert runs[0][name].any(), name


def test_lava_agrees():
    network = quantize(MODEL, IMAGES)
    try:
        engine = get_engine("lava")
    except EngineUnavailableError:
        pytest.skip("Lava is not installed")
    runs = [
        e.run(network, IMAGES[:1], 3, seed=2, record="full")
        for e in (engine, get_engine("reference"))
    ]
    for name in network.variables:
        assert np.array_equal(runs[0][name], runs[1][name]), name


def test_one_iteration_by_hand():
    """From recorded counts and potentials, in floats: integers follow docs/hierarchical.md."""
    network = quantize(MODEL, IMAGES)
    run = get_engine("reference").run(network, IMAGES, ITERATIONS, seed=2, record="full")
    chosen = {c.name: c.value for c in network.choices}
    a, unit = MODEL.arrays, 2.0**-14
    weights = network.connection_of
    psi = weights["prior"].weight * 2.0 ** chosen["prediction exponent"]
    excess = weights["expected"].weight.T * 2.0 ** chosen["expectation exponent"]
    z, z_upper = (run[f"{name}.z"][:, 1:-1].astype(float) for name in ("latents", "upper"))
    u_upper, p = run["upper.u"] * unit, run["latents.p"][:, 1:-1] * unit
    clamp_u = network.population_of["latents"].constant("u_max")[0] * unit
    free = a["baseline"] + z_upper @ psi.T
    clamped = np.clip(free, MODEL.config.floor_u, clamp_u)
    # Rounded once to 2**-11, and the baseline and the clamps too.
    assert np.abs(p - clamped).max() <= 2 * 2.0**-11
    inside = (p < p.max()) & (p > MODEL.config.floor_u)
    assert 0.5 < inside.mean() < 1.0
    rate = np.exp(p) * inside
    assert np.array_equal(run["latents.seen"][:, 1:-1], z * inside)
    assert np.abs(run["latents.rate"][:, 1:-1] * chosen["rate unit"] - rate).max() < (
        1e-5 * rate.max() + chosen["rate unit"]
    )
    eta = np.exp(float(a["upper.log_step_size"]))
    force = 0.3 * ((z * inside) @ psi - rate @ excess) - np.exp(a["upper.log_bias"])
    change = np.clip(eta * force, MODEL.config.floor_u, MODEL.config.clamp_du)
    after = np.clip(u_upper[:, :-2] + change, MODEL.config.floor_u, clamp_u)
    # A rate is off by half its unit, as are both sums and the leak.
    reach = np.abs(excess).sum(axis=0).max()
    allowed = 0.3 * eta * (chosen["rate unit"] * reach + 2 * chosen["unit of compared rates"])
    assert np.abs(after - u_upper[:, 1:-1]).max() < allowed + 1e-3
    assert np.abs(change).max() > 1.0


def test_exports_and_verifies(tmp_path):
    calm = hierarchical_model(3, prior_weight=0.05, clamp_u=10.0, clamp_du=10.0)
    calm.arrays.update(sound_model().arrays)
    calm.arrays["prediction"] *= 0.3
    images = sound_images(64)
    export_model(calm, tmp_path / "m.onnx", images, QuantizeConfig())
    network = load_artifact(tmp_path / "m.onnx").network
    assert (network.family, network.name) == (FAMILY, "predictive")
    report = verify(network, calm, images, engines=["reference", "fast"])
    assert report.outcome == "passed", report.failures


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"inner_updates": 2}}, "expected 1 inner update per step, got 2"),
        ({"architecture": {"prior_weight": -1.0}}, "prior_weight: expected a number"),
        ({"architecture": {"prior_weight": "much"}}, "prior_weight: expected a number"),
        (
            {"prediction": np.zeros((24, 6), np.float32)},
            r"'prediction': expected float32 \(24, 7\)",
        ),
        ({"upper.log_bias": None}, r"missing \['upper.log_bias'\]"),
        ({"baseline": np.full(24, np.nan, np.float32)}, "'baseline' holds NaN"),
        (
            {"upper.log_step_size": np.full((), 90, np.float32)},
            "'upper.log_step_size': expected at most .*, got 90",
        ),
    ],
)
def test_models_that_do_not_fit_are_named(change, message):
    config = MODEL.config.model_copy(update=change.pop("config", {}))
    if "architecture" in change:
        config = config.model_copy(update={"architecture": change.pop("architecture")})
    arrays = {k: v for k, v in {**MODEL.arrays, **change}.items() if v is not None}
    with pytest.raises(ModelFileError, match=message):
        lowering_of(None, FAMILY).circuit(replace(MODEL, config=config, arrays=arrays))
