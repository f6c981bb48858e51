"""The locally competitive algorithm as integers: both circuits, engines, refusals."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from pytorch_words import pytorch_states

import pvae_neuro as pn
from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.exporters.calibrate import calibrate
from pvae_neuro.exporters.lowerings import float_circuit_of, lowering_of, topologies
from pvae_neuro.exporters.lowerings.lateral import raise_diagonal
from pvae_neuro.exporters.scales import Scales
from pvae_neuro.exporters.spectrum import inhibition_matrix
from pvae_neuro.network import Constant, IntegerNetwork, trace
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.saved.lca import stable_step
from pvae_neuro.saved.model_file import ModelConfig, SavedModel
from pvae_neuro.verification.report import cards

SIDES, LATENTS, STEPS = (6, 5), 24, 32
TOPOLOGIES = ("predictive", "lateral")
both = pytest.mark.parametrize("topology", TOPOLOGIES)


def lca_model(step: float = 2.0**-5, norm: float = 1.0, beta: float = 0.05, **architecture):
    """Random atoms, some of which overlap."""
    rng = np.random.default_rng(0)
    atoms = rng.normal(0.1, 1.0, (SIDES[0] * SIDES[1], LATENTS))
    atoms[:, 1] += 1.5 * atoms[:, 0]
    atoms *= norm / np.linalg.norm(atoms, axis=0)
    config = ModelConfig(
        family="lca", pixels=len(atoms), latents=LATENTS, steps=40, beta=beta, input_low=-1.0,
        input_high=1.0, image_shape=SIDES, architecture={"step": step, **architecture},
    )  # fmt: skip
    return SavedModel(config, {"dictionary": atoms.astype(np.float32)})


def pictures(count: int, seed: int = 1) -> np.ndarray:
    """Sums of some atoms."""
    rng = np.random.default_rng(seed)
    shown = rng.normal(0.0, 0.8, (count, LATENTS)) * (rng.random((count, LATENTS)) < 0.3)
    return np.clip(shown @ lca_model().dictionary.T, -1.0, 1.0)


def integers(model: SavedModel, topology: str, bits: int = 14) -> IntegerNetwork:
    lowering = lowering_of(topology, "lca")
    circuit = lowering.circuit(model, "float64")
    found = calibrate(circuit, pictures(16), steps=lowering.calibration_steps(model))
    return lowering.integers(model, Scales(8, bits, 12, 1), found)


def decibels(error: float) -> float:
    return 10 * np.log10(SIDES[0] * SIDES[1] / error)


def test_family_has_both_circuits() -> None:
    assert topologies("lca") == TOPOLOGIES
    assert float_circuit_of(lca_model()).name == "predictive"


@both
@pytest.mark.parametrize("nonnegative", [False, True])
def test_float_circuit_is_the_pytorch_model(topology, nonnegative) -> None:
    """Both in float64; they differ by the order of sums, 1e-16 each, over 32 iterations."""
    pytest.importorskip("torch", reason="models need torch")
    # Atoms of another norm show the diagonal.
    model, x = lca_model(0.1, 1.1, 0.1, nonnegative=nonnegative), pictures(5)
    wanted = list(pytorch_states(model, x, {}, (), STEPS))
    last = wanted[-1].z.numpy()
    assert (last > 0).any() and (last == 0).any() and (last < 0).any() != nonnegative
    circuit = lowering_of(topology, "lca").circuit(model, "float64")
    for step, state in enumerate(circuit.run(x, {}, STEPS)):
        if step < STEPS:
            u = wanted[step].state[0].numpy()
            assert np.abs(state["latents.u"] - u).max() < 1e-10
        if step:
            assert np.abs(state["latents.a"] - wanted[step - 1].z.numpy()).max() < 1e-10
            shown = wanted[step - 1].reconstruction.numpy()
            assert np.abs(circuit.reconstruct(state) - shown).max() < 1e-10


def test_step_is_that_of_the_pytorch_model() -> None:
    pytest.importorskip("torch", reason="models need torch")
    from pvae_neuro.models.registry import model_from_saved

    model = lca_model(1.0, 1.5)
    dictionary = model.dictionary.astype(np.float64)
    ours = stable_step(dictionary, np.ones(LATENTS), 1.0)
    largest = float(np.linalg.eigvalsh(dictionary.T @ dictionary)[-1])
    assert 1.4 / largest < ours < 1.8 / largest
    assert model_from_saved(model).double().stable_step() == pytest.approx(ours, rel=1e-12)
    assert stable_step(dictionary, np.ones(LATENTS), 0.01) == 0.01
    assert stable_step(0 * dictionary, np.ones(LATENTS), 0.5) == 0.5


@both
@pytest.mark.parametrize("nonnegative", [False, True])
def test_integers_settle_where_float_does(topology, nonnegative) -> None:
    model, x = lca_model(nonnegative=nonnegative), pictures(20)
    network = integers(model, topology)
    pn.certify(network)
    assert not np.any(np.abs(network.connections[-1].weight.astype(int)) > 127)
    recording = pn.get_engine("reference").run(network, x, 256, record=["latents.m"])
    circuit = lowering_of(topology, "lca").circuit(model, "float64")
    *_, last = circuit.run(x, {}, 256)
    error = np.square(x - circuit.reconstruct(last)).sum(1).mean()
    assert decibels(recording.mse[-1]) == pytest.approx(decibels(error), abs=0.1)
    unit = np.abs(recording.inferred).max() / np.abs(last["latents.a"]).max()
    assert np.abs(recording.inferred / unit - last["latents.a"]).mean() < 0.01
    zeros = [(each == 0).mean() for each in (recording.inferred, last["latents.a"])]
    assert zeros[0] == pytest.approx(zeros[1], abs=0.01)
    # What is sent is what is read out, in a coarser unit.
    shift = int(network.population_of["latents"].constant("m_shift")[0])
    sent = recording["latents.m"][:, -1].astype(int)
    assert shift == 2 and np.array_equal(sent, (recording.inferred.astype(int) + 2) >> 2)


@both
def test_a_coefficient_is_0_within_the_threshold_alone(topology) -> None:
    network = integers(lca_model(), topology)
    recording = pn.get_engine("reference").run(network, pictures(9), 64, record="full")
    threshold = int(network.population_of["latents"].constant("threshold")[0])
    potential, a = recording["latents.u"].astype(int), recording["latents.a"].astype(int)
    assert np.array_equal(a[:, 1:] != 0, np.abs(potential[:, :-1]) > threshold)
    assert np.array_equal(np.sign(a[:, 1:]), np.sign(potential[:, :-1]) * (a[:, 1:] != 0))


@both
@pytest.mark.parametrize(
    ("engine", "samples", "steps"), [("fast", 16, STEPS), ("onnx", 16, STEPS), ("lava", 2, 4)]
)
@pytest.mark.parametrize("nonnegative", [False, True])
def test_engines_are_equal(topology, engine, samples, steps, nonnegative) -> None:
    if find_spec({"fast": "llvmlite", "onnx": "onnxruntime", "lava": "lava"}[engine]) is None:
        pytest.skip(f"the engine {engine} is not installed")
    network, x = integers(lca_model(nonnegative=nonnegative), topology), pictures(samples)
    wanted, found = (
        pn.get_engine(name).run(network, x, steps, record="full") for name in ("reference", engine)
    )
    for name in network.variables:
        assert np.array_equal(wanted[name], found[name]), name


@both
def test_what_is_sent_stays_within_its_limit_where_potentials_are_coarser(topology) -> None:
    """With a step of 1 and small atoms a potential has fewer fractional bits than a message."""
    model, x = lca_model(1.0, 0.02, beta=1e-4), 0.02 * pictures(16)
    network = pn.quantize(model, x, pn.QuantizeConfig(topology=topology))
    pn.certify(network)
    latents = network.population_of["latents"]
    shift, a_max = (int(latents.constant(name)[0]) for name in ("m_shift", "a_max"))
    assert shift < 0 < a_max
    unit = next(c.value for c in network.choices if c.name == "unit of latents.m")
    limit = int(next(c.why for c in network.choices if c.name == "unit of latents.m").split()[-1])
    assert a_max << -shift <= limit < (a_max + 1) << -shift and unit < 2.0**-14


@both
def test_verification(topology) -> None:
    """Of so few coefficients in so few pictures the share of zeros is known to a point or two."""
    model, x = lca_model(), pictures(200)
    network = pn.quantize(model, pictures(16), pn.QuantizeConfig(topology=topology))
    report = pn.verify(
        network, model, x, steps=64, engines=["reference"], progress=False,
        tolerances=pn.Tolerances(zeros_points=2.0),
    )  # fmt: skip
    assert report.float_result is not None and report.float_result.passed
    assert not report.certificate.samplers
    # Coefficients are no counts, and nothing draws them.
    assert np.isnan(report.float_result.by_float.capped).all()
    assert report.float_result.agreement is None and "agree" not in repr(report.float_result)
    shown = "".join(card.what for card in cards(report))
    assert "equal" not in shown and "sampler" not in shown


def test_lateral_weights_are_the_products_of_atoms() -> None:
    """Rows differ in their unit, and no weight saturates."""
    model = lca_model()
    network = integers(model, "lateral")
    matrix = inhibition_matrix(network)
    atoms = model.dictionary.astype(np.float64)
    wanted = atoms.T @ atoms
    latents = network.population_of["latents"]
    gain = np.ldexp(latents.constant("gain").astype(float), -latents.constant("gain_shift"))
    assert len(set(gain)) > LATENTS // 2
    unit = matrix[0, 0] / wanted[0, 0]
    off = ~np.eye(LATENTS, dtype=bool)
    error = np.abs(matrix - unit * wanted)
    assert (error <= gain[:, None] / 2 + 1e-6)[off].all()
    assert np.diag(error).max() <= 1.0
    weight = np.abs(network.connection_of["lateral"].weight.astype(int))
    limit = int(np.abs(network.ranges.variables["latents.m"].high).max())
    assert weight.max() <= 127 and weight.sum(axis=1).max() * limit <= WORD_MAX


def test_diagonal_of_the_lateral_circuit_can_be_raised() -> None:
    """What rounding took from the smallest eigenvalue is made good in the neuron."""
    network = integers(lca_model(), "lateral")
    latents = network.population_of["latents"]
    lower = tuple(
        Constant(c.name, c.values - 40) if c.name == "diagonal" else c for c in latents.constants
    )
    others = [p for p in network.populations if p is not latents]
    unstable = replace(network, populations=(*others, replace(latents, constants=lower)))
    smallest = [
        np.linalg.eigvalsh((m + m.T) / 2)[0]
        for m in map(inhibition_matrix, (unstable, raise_diagonal(unstable, 1.0)))
    ]
    assert smallest[0] < -1.0 and -0.01 < smallest[1] < 1.0


@both
def test_a_step_that_would_diverge_is_replaced_and_said(topology) -> None:
    model = lca_model(1.0, 1.5)
    network = integers(model, topology)
    choice = next(c for c in network.choices if c.name == "step")
    dictionary = model.dictionary.astype(np.float64)
    assert choice.value == stable_step(dictionary, np.ones(LATENTS), 1.0) < 1.0
    assert "instead of 1, with which potentials may diverge" in choice.why
    recording = pn.get_engine("reference").run(network, pictures(8), 256)
    assert recording.mse[-1] < recording.mse[0]
    asked = next(c for c in integers(lca_model(), topology).choices if c.name == "step")
    assert asked.value == 2.0**-5 and asked.why.startswith("as asked for")


def test_a_threshold_without_shrinking_is_seen() -> None:
    """Hard thresholds fire as often; the comparison with float notices what they send."""
    model, x = lca_model(), pictures(200)
    network = integers(model, "predictive")

    def activate(n) -> None:
        n.a = n.clip(n.shr(n.select(n.u > n.threshold, n.u, 0), n.a_shift), n.a_min, n.a_max)
        n.m = n.shr(n.a, n.m_shift)

    latents = network.population_of["latents"]
    programs = (trace(activate), latents.program("integrate"))
    others = [p for p in network.populations if p is not latents]
    hard = replace(network, populations=(*others, replace(latents, programs=programs)))
    report = pn.verify(hard, model, x, steps=64, engines=["reference"], progress=False)
    assert report.float_result is not None and not report.float_result.passed


def test_export_of_the_lateral_circuit_tries_its_stability(tmp_path) -> None:
    result = pn.export_model(
        lca_model(), tmp_path / "lca.onnx", pictures(64), pn.QuantizeConfig(topology="lateral"),
        stability_steps=200, progress=False,
    )  # fmt: skip
    assert result.network.measurements.stability_iterations == 200
    assert pn.load_artifact(tmp_path / "lca.onnx").network == result.network


def test_what_has_no_circuit_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"circuit 'predictive': architecture: step: .*got 2"):
        pn.quantize(lca_model(2.0), pictures(4))
    model = lca_model()
    narrow = replace(model, arrays={"dictionary": model.dictionary[:, 1:]})
    with pytest.raises(ModelFileError, match=r"expected the shape \(30, 24\), got \(30, 23\)"):
        pn.quantize(narrow, pictures(4))
    with pytest.raises(InputError, match=r"max_count.*draws no counts"):
        pn.quantize(model, pictures(4), pn.QuantizeConfig(max_count=15))
    with pytest.raises(InputError, match="expected one of predictive, lateral for the family"):
        pn.quantize(model, pictures(4), pn.QuantizeConfig(topology="feedforward"))
