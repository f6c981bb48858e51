"""Predictive coding with rectifiers as integers: value nodes and the errors of each layer."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest

import pvae_neuro as pn
from pvae_neuro.errors import CertificateError, ModelFileError
from pvae_neuro.exporters.calibrate import calibrate
from pvae_neuro.exporters.lowerings import float_circuit_of, lowering_of
from pvae_neuro.exporters.scales import Scales
from pvae_neuro.network import Choice, trace
from pvae_neuro.saved.model_file import ModelConfig, SavedModel

SIDES, TOP, STEPS = (6, 5), 6, 32


def pc_model(hidden=(9, 7), family="pc", seed=0, **architecture) -> SavedModel:
    """Random weights; nodes on both sides of the rectifier."""
    rng = np.random.default_rng(seed)
    sizes = [TOP, *hidden, SIDES[0] * SIDES[1]]
    arrays = {}
    for n, (above, below) in enumerate(pairwise(sizes)):
        weight = rng.normal(0, 1.2 / np.sqrt(above), (below, above))
        arrays[f"layers.{n}.weight"] = weight.astype(np.float32)
        arrays[f"layers.{n}.bias"] = rng.normal(0.1, 0.2, below).astype(np.float32)
    config = ModelConfig(
        family=family, pixels=sizes[-1], latents=TOP, steps=50, beta=0.01, input_low=0.0,
        input_high=1.0, image_shape=SIDES,
        architecture={"hidden": list(hidden), "activation": "relu", **architecture},
    )  # fmt: skip
    return SavedModel(config, arrays)


def pictures(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((count, SIDES[0] * SIDES[1]))


def integers(model: SavedModel, bits: int = 14):
    lowering = lowering_of(None, model.config.family)
    calibration = calibrate(lowering.circuit(model, "float64"), pictures(16))
    return lowering.integers(model, Scales(8, bits, 12, 1), calibration)


@pytest.mark.parametrize("hidden", [(9,), (9, 7), (8, 9, 7)])
@pytest.mark.parametrize("family", ["pc", "ipc"])
def test_float_circuit_is_the_pytorch_model(hidden, family) -> None:
    """Both in float64; they differ by the order of sums, 1e-16 each, over 32 iterations."""
    torch = pytest.importorskip("torch", reason="models need torch")
    from pvae_neuro.models.registry import model_from_saved

    model, x = pc_model(hidden, family, step_size=0.07), pictures(5)
    circuit = float_circuit_of(model, "float64")
    module = model_from_saved(model).double()
    given = torch.tensor(x)
    states, shown = [module.start(given)], []
    for _ in range(STEPS):
        iteration = module.iterate(given, states[-1], None)
        states.append(iteration.state)
        shown.append(iteration.reconstruction)
    gates = np.array([(v.numpy() >= 0).mean() for v in states[-1]])
    assert (gates > 0.0).all() and (gates < 1.0).all(), "rectifiers are tested on both sides"
    for step, state in enumerate(circuit.run(x, {}, STEPS)):
        for n, nodes in enumerate(states[min(step + 1, STEPS)]):
            assert np.abs(state[f"nodes{n}.v"] - nodes.numpy()).max() < 1e-10
        if step:
            assert np.abs(circuit.reconstruct(state) - shown[step - 1].numpy()).max() < 1e-10


def test_integers_are_near_float_and_within_24_bits() -> None:
    model = pc_model()
    network, circuit, x = integers(model), float_circuit_of(model, "float64"), pictures(20)
    pn.certify(network)
    recording = pn.get_engine("reference").run(network, x, STEPS, record="full")
    # Weights and messages have 8 to 12 bits, and the step divides what they push by ten.
    for step, state in enumerate(circuit.run(x, {}, STEPS)):
        for n in range(3):
            values = recording[f"nodes{n}.v"][:, step] * 2.0**-14
            assert np.abs(values - state[f"nodes{n}.v"]).mean() < 0.02
    wanted = np.square(x - circuit.reconstruct(state)).sum(1).mean()
    assert recording.mse[-1] == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize(
    ("engine", "samples", "steps"), [("fast", 16, STEPS), ("onnx", 16, STEPS), ("lava", 2, 4)]
)
def test_engines_are_equal(engine, samples, steps) -> None:
    if find_spec({"fast": "llvmlite", "onnx": "onnxruntime", "lava": "lava"}[engine]) is None:
        pytest.skip(f"the engine {engine} is not installed")
    network, x = integers(pc_model()), pictures(samples)
    wanted, found = (
        pn.get_engine(name).run(network, x, steps, record="full") for name in ("reference", engine)
    )
    for name in network.variables:
        assert np.array_equal(wanted[name], found[name]), name


def test_nodes_begin_where_no_error_is() -> None:
    """After one iteration nothing but the layer above the input has moved, in integers too."""
    network = integers(pc_model())
    recording = pn.get_engine("reference").run(network, pictures(4), 1, record="full")
    assert not recording["nodes0.v"][:, 0].any()
    assert not recording["nodes1.e"][:, 0].any() and not recording["nodes2.e"][:, 0].any()
    assert recording["errors.e"][:, 0].any()
    first = recording["nodes1.v"][:, 0]
    assert (first == first[0]).all() and first.any()


def test_a_gate_that_is_shut_at_zero_is_seen() -> None:
    """With a slope of 0 at 0 the top would never leave it."""
    model = pc_model()
    circuit = float_circuit_of(model, "float64")

    def settle(n) -> None:
        force = n.select(n.v > 0, n.feedback, 0) - n.d
        n.v = n.clip(n.v + n.mul(force, n.step, n.step_shift), n.v_low, n.v_high)

    faulty = trace(settle)
    top = circuit.population_of["nodes0"]
    changed = replace(
        top, programs=tuple(faulty if p.name == "settle" else p for p in top.programs)
    )
    others = [p for p in circuit.populations if p is not top]
    shut = replace(circuit, populations=(changed, *others))
    *_, last = shut.run(pictures(4), {}, STEPS)
    assert not last["nodes0.v"].any()
    *_, last = circuit.run(pictures(4), {}, STEPS)
    assert last["nodes0.v"].any()


def test_evaluation_and_verification_of_a_network_without_noise() -> None:
    model, x = pc_model(), pictures(20)
    network = pn.quantize(model, pictures(16))
    report = pn.verify(network, model, x, steps=16, engines=["reference"], progress=False)
    assert report.float_result is not None and not report.certificate.samplers
    by_float = pn.evaluate(model, x, steps=16, progress=False)
    assert by_float.mse[-1] == pytest.approx(report.float_result.by_float.mse[-1])


def test_what_has_no_circuit_is_refused() -> None:
    refused = "expected the activation 'relu', got 'tanh'"
    with pytest.raises(ModelFileError, match=refused) as error:
        pn.quantize(pc_model(activation="tanh"), pictures(4))
    assert error.value.remedy == "rectifiers"
    with pytest.raises(ModelFileError, match=r"architecture.*step_size") as error:
        pn.quantize(pc_model(step_size="fast", activation="tanh"), pictures(4))
    assert error.value.remedy is None
    default = pc_model()
    config = default.config.model_copy(update={"architecture": {}})
    assert float_circuit_of(replace(default, config=config)) is None
    del default.arrays["layers.1.bias"], default.arrays["layers.1.weight"]
    with pytest.raises(ModelFileError, match=r"expected an array 'layers.1.weight'"):
        pn.quantize(default, pictures(4))


def test_values_beyond_24_bits_are_refused() -> None:
    model = pc_model()
    arrays = {name: array * np.float32(16) for name, array in model.arrays.items()}
    with pytest.raises(CertificateError, match=r"nodes0.a: reaches .*24 bits; train") as error:
        integers(replace(model, arrays=arrays))
    assert error.value.remedy == "weights"


def test_what_was_chosen_before_is_kept() -> None:
    model, lowering = pc_model(), lowering_of(None, "pc")
    calibration = calibrate(lowering.circuit(model, "float64"), pictures(16))
    before = Choice("active share", 0.3, "of the calibration inputs")
    scales = Scales(8, 14, 12, 1, choices=(before,))
    first, *others = lowering.integers(model, scales, calibration).choices
    # Of each of three layers its exponent and the units of two graded spikes.
    assert first is before and len(others) == 9
