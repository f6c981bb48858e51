"""The P-VAE as integers: an encoder of rectifiers, and one draw per iteration."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

import pvae_neuro as pn
from pvae_neuro.errors import CertificateError, ModelFileError
from pvae_neuro.exporters.calibrate import calibrate
from pvae_neuro.exporters.lowerings import float_circuit_of, lowering_of
from pvae_neuro.exporters.lowerings.encoders import encoder_layers
from pvae_neuro.exporters.lowerings.equalize import equalized
from pvae_neuro.exporters.scales import Scales
from pvae_neuro.network import Dense
from pvae_neuro.saved.model_file import ModelConfig, SavedModel

LATENTS, STEPS = 12, 32
CASES = [
    pytest.param("pvae-linear", (6, 5), (), id="linear"),
    pytest.param("pvae-mlp", (6, 5), (9,), id="mlp"),
    pytest.param("pvae-mlp", (6, 5), (9, 10, 8), id="deep"),
    pytest.param("pvae-conv", (8, 8), (4, 3), id="conv"),
    pytest.param("pvae-conv", (9, 11), (3, 4), id="odd sides"),
]


def pvae_model(family="pvae-mlp", sides=(6, 5), widths=(9,), seed=0, **changes) -> SavedModel:
    """Random weights: rectifiers on both sides, log-rates within their clamps and at both."""
    rng = np.random.default_rng(seed)
    pixels = sides[0] * sides[1]
    arrays: dict[str, np.ndarray] = {}

    def affine(name: str, *shape: int, scale: float = 1.5) -> None:
        deviation = scale / np.sqrt(np.prod(shape[1:]))
        arrays[f"encoder.{name}weight"] = rng.normal(0, deviation, shape)
        if name:
            arrays[f"encoder.{name}bias"] = rng.normal(0.1, 0.2, shape[0])

    sources = pixels
    if family == "pvae-conv":
        halved, channels = sides, 1
        for number, width in enumerate(widths):
            affine(f"layers.{2 * number}.", width, channels, 3, 3)
            halved, channels = (-(-halved[0] // 2), -(-halved[1] // 2)), width
        sources = channels * halved[0] * halved[1]
        affine(f"layers.{2 * len(widths) + 1}.", LATENTS, sources, scale=9.0)
    elif family == "pvae-mlp":
        for number, width in enumerate(widths):
            affine(f"layers.{2 * number}.", width, sources)
            sources = width
        affine(f"layers.{2 * len(widths)}.", LATENTS, sources, scale=9.0)
    else:
        affine("", LATENTS, sources, scale=9.0)
    arrays["decoder.dictionary"] = np.abs(rng.normal(0, 0.05, (pixels, LATENTS)))
    arrays["log_rate"] = rng.normal(-1.0, 0.5, LATENTS)
    # What the encoder adds to the prior is bounded by 10, here below the clamp.
    arrays["log_rate"][0] = -12.0
    last = [name for name in arrays if name.endswith("weight")][-1]
    arrays[last][0] = 3.0 * np.abs(arrays[last][0])
    own = {"channels" if family == "pvae-conv" else "hidden": list(widths)} if widths else {}
    values = {
        "family": family, "pixels": pixels, "latents": LATENTS, "steps": 1, "beta": 1.0,
        "clamp": "hard", "clamp_u": 2.0, "floor_u": -6.0, "input_low": 0.0, "input_high": 1.0,
        "image_shape": sides, "architecture": own, **changes,
    }  # fmt: skip
    held = {name: array.astype(np.float32) for name, array in arrays.items()}
    return SavedModel(ModelConfig(**values), held)


def pictures(model: SavedModel, count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((count, model.config.pixels))


def integers(model: SavedModel):
    lowering = lowering_of(None, model.config.family)
    calibration = calibrate(lowering.circuit(model, "float64"), pictures(model, 32))
    return lowering.integers(model, Scales(8, 14, 12, 31), calibration)


@pytest.mark.parametrize(("family", "sides", "widths"), CASES)
def test_float_circuit_is_the_pytorch_model(family, sides, widths) -> None:
    """Both in float64, under the same words; sums differ by their order, 1e-16 each."""
    pytest.importorskip("torch", reason="models need torch")
    from pytorch_words import pytorch_states

    model = pvae_model(family, sides, widths)
    circuit, x = float_circuit_of(model, "float64"), pictures(model, 6)
    words = np.random.default_rng(0).integers(0, 1 << 16, (6, STEPS + 1, LATENTS), np.uint16)
    states = list(circuit.run(x, {"latents": words}))
    # The circuit's first draw is of the prior; what it draws after an iteration, PyTorch draws in
    # it.
    for step, wanted in enumerate(pytorch_states(model, x, {"latents": words[:, 1:]}), start=1):
        state = states[step]
        assert np.abs(np.exp(state["latents.u"]) - wanted.mean.numpy()).max() < 1e-10
        assert np.array_equal(state["latents.z"], wanted.z.numpy())
        assert np.abs(circuit.reconstruct(state) - wanted.reconstruction.numpy()).max() < 1e-10
    u = states[-1]["latents.u"]
    assert (u == -6.0).any() and (u == 2.0).any() and ((u > -6.0) & (u < 2.0)).any()
    assert u[:, 0].max() == pytest.approx(-2.0), "the bound of what the encoder adds"
    for name in (name for name in states[-1] if name.startswith("hidden")):
        assert (states[-1][name] == 0).any() and (states[-1][name] > 0).any(), name


@pytest.mark.parametrize(("family", "sides", "widths"), CASES)
def test_integers_are_proved_and_near_float(family, sides, widths) -> None:
    model = pvae_model(family, sides, widths)
    network, circuit = integers(model), float_circuit_of(model, "float64")
    pn.certify(network)
    x = pictures(model, 40, seed=2)
    recording = pn.get_engine("reference").run(network, x, 2, record="full")
    *_, state = circuit.run(x, {"latents": np.zeros((40, 3, LATENTS), np.uint16)})
    error = recording["latents.u"][:, -1] * 2.0**-14 - state["latents.u"]
    # A mantissa is off by 1/4 on average, of at least 64 for the largest of a column: .4 % of it.
    # Log-rates are sums of some tens of terms of up to 10, whose errors add up as their squares do.
    assert np.sqrt(np.square(error).mean()) < 0.1


@pytest.mark.parametrize(("family", "sides", "widths"), CASES)
@pytest.mark.parametrize("engine", ["fast", "onnx"])
def test_engines_are_equal(family, sides, widths, engine) -> None:
    if find_spec({"fast": "llvmlite", "onnx": "onnxruntime"}[engine]) is None:
        pytest.skip(f"the engine {engine} is not installed")
    assert_equal(pvae_model(family, sides, widths), engine, 16, STEPS)


def test_lava_is_equal() -> None:
    if find_spec("lava") is None:
        pytest.skip("lava-nc is not installed")
    assert_equal(pvae_model("pvae-conv", (8, 8), (4, 3)), "lava", 2, 4)


def assert_equal(model: SavedModel, engine: str, samples: int, steps: int) -> None:
    network, x = integers(model), pictures(model, samples)
    wanted, found = (
        pn.get_engine(name).run(network, x, steps, 3, record="full")
        for name in ("reference", engine)
    )
    for name in network.variables:
        assert np.array_equal(wanted[name], found[name]), name


def test_counts_of_all_iterations_are_samples_of_one_posterior() -> None:
    """The log-rates stand still; a new frame sets new ones, and its own counts read it out."""
    model = pvae_model()
    network = integers(model)
    x = pictures(model, 3)
    recording = pn.get_engine("reference").run(network, x, 400, record="full")
    u = recording["latents.u"]
    assert (u == u[:, :1]).all()
    # Four standard errors of the mean of 400 counts, of the largest of 36 of them.
    rate = np.exp(u[:, 0] * 2.0**-14)
    error = np.abs(recording["latents.z"][:, 1:].mean(axis=1) - rate)
    assert (error < 4.0 * np.sqrt(rate / 400) + 0.005).all()
    frames = np.stack([x[0], x[1]])[None]
    both = pn.get_engine("reference").run(network, frames, 4, record="full")
    changed = both["latents.u"][0]
    assert (changed[:4] == u[0, 0]).all() and (changed[4:] == u[1, 0]).all()


def test_rectifiers_fill_the_mantissas_of_what_they_send_to() -> None:
    """Real numbers stay what they are, and every column reaches the largest mantissa."""
    for family, sides, widths in (case.values for case in CASES[1:]):
        layers = encoder_layers(pvae_model(family, sides, widths))
        x = pictures(pvae_model(family, sides, widths), 5)
        reached = {
            f"hidden{n}.a": np.full(layer.shape[0], 1.0) for n, layer in enumerate(layers[:-1], 1)
        }
        found, scaled = equalized(layers, reached, 127)
        assert np.abs(forward(found, x) - forward(layers, x)).max() < 1e-12
        for above in found[-1:]:
            most = above.largest(1, above.weight)
            steps = np.log2(most / 127)
            assert np.abs(steps - np.rint(steps)).max() < 1e-9
        assert all((values <= 1.01).all() and (values > 0.5).all() for values in scaled.values())


def forward(layers, x):
    for n, layer in enumerate(layers):
        connection = layer.connect("layer", "source", "x", "target")
        x = connection.product(x, layer.weight) + layer.bias
        x = np.maximum(x, 0.0) * layer.gain if n < len(layers) - 1 else x
    return x


def test_biases_make_up_for_rounded_weights() -> None:
    """On the calibration inputs log-rates are right on average, but for the rectifiers' bends."""
    model = pvae_model(clamp_u=5.0, floor_u=-7.9, seed=3)
    model.arrays["encoder.layers.2.weight"] *= np.float32(0.2)
    circuit, x = float_circuit_of(model, "float64"), pictures(model, 32)
    lowering = lowering_of(None, model.config.family)
    calibration = calibrate(circuit, x)
    narrow = Scales(5, 14, 12, 31)
    words = {"latents": np.zeros((32, 3, LATENTS), np.uint16)}
    *_, state = circuit.run(x, words)

    def mean_error(calibration) -> float:
        network = lowering.integers(model, narrow, calibration)
        recording = pn.get_engine("reference").run(network, x, 2, record="full")
        error = recording["latents.u"][:, -1] * 2.0**-14 - state["latents.u"]
        inside = (np.abs(state["latents.u"] + 2.0) < 5.0).all(axis=0)
        assert inside.sum() > 5
        return float(np.square(error.mean(axis=0)[inside]).mean()) ** 0.5

    nothing = {name: 0.0 * mean for name, mean in calibration.mean.items()}
    uncorrected = mean_error(replace(calibration, mean=nothing))
    assert mean_error(calibration) < 0.5 * uncorrected


def test_a_weight_that_is_wrong_is_seen() -> None:
    """The comparison with PyTorch is of every weight: one that is off by 1e-6 is found."""
    model = pvae_model()
    circuit, x = float_circuit_of(model, "float64"), pictures(model, 6)
    words = {"latents": np.zeros((6, 3, LATENTS), np.uint16)}
    first = circuit.connections[0]
    assert isinstance(first, Dense)
    weight = first.weight.copy()
    weight[4, 7] += 1e-6
    faulty = replace(circuit, connections=(replace(first, weight=weight), *circuit.connections[1:]))
    (*_, right), (*_, wrong) = circuit.run(x, words), faulty.run(x, words)
    assert np.abs(right["latents.u"] - wrong["latents.u"]).max() > 1e-9


def test_what_has_no_circuit_is_refused() -> None:
    model = pvae_model()
    soft = replace(model, config=model.config.model_copy(update={"clamp": "soft"}))
    with pytest.raises(
        ModelFileError, match="expected hard clamps, got the smooth bounds"
    ) as error:
        pn.quantize(soft, pictures(model, 4))
    assert error.value.remedy == "hard_clamp" and float_circuit_of(soft) is None
    mlp = soft.config.model_copy(update={"architecture": {"decoder": "mlp"}})
    with pytest.raises(ModelFileError, match=r"expected a linear decoder.*got 'mlp'") as error:
        pn.quantize(replace(model, config=mlp), pictures(model, 4))
    assert error.value.remedy is None
    low = replace(model, config=model.config.model_copy(update={"floor_u": -40.0}))
    with pytest.raises(CertificateError, match="lower clamp is -40, expected at least"):
        pn.quantize(low, pictures(model, 4))
    shapeless = pvae_model("pvae-conv", (8, 8), (4, 3), image_shape=None)
    with pytest.raises(ModelFileError, match="expected images of a known shape"):
        pn.quantize(shapeless, pictures(shapeless, 4))
    del model.arrays["encoder.layers.0.weight"]
    with pytest.raises(ModelFileError, match=r"expected an array 'encoder.layers.0.weight'"):
        pn.quantize(model, pictures(model, 4))
