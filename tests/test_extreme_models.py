"""Models with absurd numbers: exported and right, or refused with one error."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pvae_neuro import export
from pvae_neuro.errors import PvaeNeuroError
from pvae_neuro.evaluation import evaluate
from pvae_neuro.export import export_model
from pvae_neuro.exporters.certify import certify
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.saved.model_file import ModelConfig, SavedModel, load_model
from pvae_neuro.sim.engine import working_engines
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification.verify import verify

CASES = Path(__file__).parents[2] / "shared" / "cases"
TOPOLOGIES = ("lateral", "predictive")
# A warning would be a number that left its type on the way.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

RNG = np.random.default_rng(0)
DICTIONARY = RNG.normal(0, 0.3, (16, 8))
IMAGES = RNG.random((8, 16)).astype(np.float32)


def model(dictionary=DICTIONARY, sigma=-1.0, bias=-3.0, start=-2.0, step=-2.0, **config):
    with np.errstate(over="ignore", under="ignore"):
        arrays = {
            "dictionary": np.asarray(dictionary, np.float32),
            "log_sigma": np.full(16, sigma, np.float32),
            "log_bias": np.full(8, bias, np.float32),
            "log_step_size": np.full((), step, np.float32),
            "initial_potential": np.full(8, start, np.float32),
        }
    sizes = {"pixels": 16, "latents": 8, "steps": 4, "beta": 1.0, "image_shape": (4, 4)}
    return SavedModel(ModelConfig(**{**sizes, "input_low": 0, "input_high": 1, **config}), arrays)


@pytest.fixture(autouse=True)
def slow_but_ready(monkeypatch):
    """No kernel is compiled for each of these models."""
    for module in (export, evaluate):
        monkeypatch.setattr(module, "fastest_engine", lambda network: ReferenceEngine())


def outcome(subject, topology, folder, frac_bits=14):
    """None if the export is near the float model, else the message of its one error."""
    path = folder / "m.onnx"
    path.unlink(missing_ok=True)
    config = QuantizeConfig(topology, frac_bits=frac_bits)
    try:
        result = export_model(subject, path, IMAGES, config, stability_steps=20)
    except PvaeNeuroError as error:
        assert not path.exists()
        assert "\n" not in str(error) and "--" not in str(error)
        return str(error)
    assert certify(result.network)
    return None


def without(what):
    changed = DICTIONARY.copy()
    changed[what] = 0
    return changed


SOUND = {
    "a dead latent": model(without(np.s_[:, 3])),
    "a pixel without weights": model(without(np.s_[5])),
    "all zero": model(DICTIONARY * 0),
    "no step": model(step=-100),
    "the smallest step": model(step=-3e38),
    "the largest variances": model(sigma=3e38),
    "the largest leak": model(bias=3e38),
    "no leak": model(bias=-3e38),
    "the largest leak, no step": model(bias=3e38, step=-3e38),
    "a start far below": model(start=-3e38),
    "hardly any change": model(clamp_du=1e-300, floor_u=-1e-300, start=0),
}
REFUSED = {
    "the largest weights": (model(DICTIONARY * 0 + 3e38), "overflows"),
    "the largest weights of either sign": (model(np.sign(DICTIONARY) * 3e38), "overflows"),
    "the largest step": (model(step=3e38), "step size"),
    "the largest start": (model(start=3e38), "overflows"),
    "the largest of everything": (model(DICTIONARY * 0 + 3e38, 3e38, 3e38, 3e38, 3e38), "step"),
    "large weights": (model(DICTIONARY * 1e10), "self-inhibition|prediction"),
    "a large step": (model(step=20), "self-inhibition|messages"),
    "a floor far below": (model(floor_u=-1e308), "lower clamp is -1e"),
    "inputs of a huge range": (model(input_high=1e9), "pixels"),
    "not-a-number": (model(DICTIONARY * np.nan), "holds NaN"),
}


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("name", SOUND)
def test_what_can_be_represented_is_exported(name, topology, tmp_path):
    assert outcome(SOUND[name], topology, tmp_path) is None


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_represented_is_refused_with_one_error(name, topology, tmp_path):
    subject, message = REFUSED[name]
    found = outcome(subject, topology, tmp_path)
    assert found is not None and re.search(message, found)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("clamp", ["soft", "hard"])
def test_clamps_beyond_all_numbers(clamp, topology, tmp_path):
    clamps = {"clamp": clamp, "clamp_u": 1e308, "clamp_du": 1e308}
    assert outcome(model(sigma=2.0, **clamps), topology, tmp_path) is None
    # With small variances it is the clamps alone that keep this model's rates finite.
    assert "overflows" in outcome(model(**clamps), topology, tmp_path)


@pytest.mark.parametrize("scale", [1e-6, 1e-30, 1e-44])
def test_tiny_dictionaries(scale, tmp_path):
    assert outcome(model(DICTIONARY * scale), "lateral", tmp_path) is None
    # On the chip a pixel is compared in the unit of the weights, and no such unit holds both.
    assert "declare a smaller input range" in outcome(
        model(DICTIONARY * scale), "predictive", tmp_path
    )


# Powers of ten and of e over all that float32 holds, and what lies around the ordinary.
SCALES = st.one_of(st.floats(-45, 38), st.floats(-6, 3))
LOGARITHMS = st.one_of(st.floats(-3e38, 3e38), st.floats(-20, 20))


# Without shrinking: an export that fails names its numbers well enough.
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    topology=st.sampled_from(TOPOLOGIES),
    scale=SCALES,
    sigma=LOGARITHMS,
    bias=LOGARITHMS,
    start=LOGARITHMS,
    step=LOGARITHMS,
    frac_bits=st.integers(4, 16),
    floor=st.one_of(st.floats(-1e308, -1e-308), st.floats(-16, -1)),
    clamps=st.tuples(*[st.one_of(st.floats(0, 1e308), st.floats(0.1, 10))] * 2),
    clamp=st.sampled_from(["soft", "hard"]),
)
def test_any_numbers(
    topology, scale, sigma, bias, start, step, frac_bits, floor, clamps, clamp, tmp_path_factory
):
    subject = model(
        DICTIONARY * 10.0**scale, sigma, bias, start, step,
        floor_u=floor, clamp_u=clamps[0], clamp_du=clamps[1], clamp=clamp,
    )  # fmt: skip
    outcome(subject, topology, tmp_path_factory.getbasetemp(), frac_bits)


def case(folder, model_name, images_name):
    if not CASES.is_dir():
        pytest.skip(f"no cases at {CASES}")
    return load_model(CASES / folder / model_name), np.load(CASES / folder / images_name)


def equal_everywhere(subject, images, config):
    """Certify; then every engine that works here gives the same integers, near float."""
    network = quantize(subject, images, config)
    certify(network)
    report = verify(network, subject, images[:12], steps=8, engines=[*working_engines(network)])
    assert report.passed, report.failures()
    recording = ReferenceEngine().run(network, images[:12], 8, 0, record="full")
    exact = (network.input.encode(images[:12]) * 2.0**-network.input.frac_bits).astype(float)
    error = ((exact - recording.reconstruction) ** 2).sum(axis=1)
    assert (recording.squared_error >= 0).all()
    assert np.allclose(recording.squared_error[:, -1] * recording.error_unit, error, rtol=1e-5)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_leak_beyond_32_bits(topology):
    subject, images = case("leak_overflow", "h88_log_bias.safetensors", "small_x.npy")
    equal_everywhere(subject, images, QuantizeConfig(topology, frac_bits=8))


def test_squared_errors_beyond_64_bits():
    subject, images = case("error_sum_overflow", "neg.safetensors", "neg_x.npy")
    equal_everywhere(subject, images, QuantizeConfig("lateral", frac_bits=12))
    with pytest.raises(PvaeNeuroError, match=r"feedback\[14\]: after its exponent can reach"):
        equal_everywhere(subject, images, QuantizeConfig("predictive", frac_bits=12))


def test_numbers_that_onnx_runtime_clips_wrongly():
    subject, images = case("int64_clip", "clip_model.safetensors", "clip_x.npy")
    equal_everywhere(subject, images, QuantizeConfig("lateral", frac_bits=14))
    with pytest.raises(PvaeNeuroError, match="weights are too small for such inputs"):
        equal_everywhere(subject, images, QuantizeConfig("predictive", frac_bits=14))
