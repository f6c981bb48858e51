"""Models with absurd numbers: exported and right, or refused with one error."""

from __future__ import annotations

import json
import re
from importlib import import_module

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pvae_neuro import export
from pvae_neuro.errors import PvaeNeuroError
from pvae_neuro.export import ExportResult, export_model
from pvae_neuro.exporters import calibrate
from pvae_neuro.exporters.certify import certify
from pvae_neuro.exporters.quantize import QuantizeConfig
from pvae_neuro.saved.model_file import (
    FORMAT,
    SCHEMA_VERSION,
    SavedModel,
    check_model,
    config_of,
    load_model,
)
from pvae_neuro.saved.tensor_files import write_safetensors
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification import against_float, parity

TOPOLOGIES = ("lateral", "predictive")
# A warning would be a number that left its type on the way.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

# Each latent draws bars of four pixels of 16; spikes are small, so that counts tell images apart.
RNG = np.random.default_rng(0)
DICTIONARY = np.array([RNG.permutation([0.1] * 4 + [0.0] * 12) for _ in range(8)]).T
IMAGES = np.clip((RNG.random((16, 8)) < 0.3) * 8 @ DICTIONARY.T, 0, 1).astype(np.float32)


def arrays_of(dictionary=DICTIONARY, sigma=-1.0, bias=-3.0, start=-1.0, step=-1.0):
    with np.errstate(over="ignore", under="ignore"):
        return {
            "dictionary": np.asarray(dictionary, np.float32),
            "log_sigma": np.full(16, sigma, np.float32),
            "log_bias": np.full(8, bias, np.float32),
            "log_step_size": np.full((), step, np.float32),
            "initial_potential": np.full(8, start, np.float32),
        }


CONFIG = {
    "pixels": 16, "latents": 8, "steps": 4, "beta": 1.0, "image_shape": [4, 4],
    "input_low": 0.0, "input_high": 1.0,
}  # fmt: skip


def model(
    dictionary=DICTIONARY, sigma=-1.0, bias=-3.0, start=-1.0, step=-1.0, arrays=None, **config
):
    """The model of a file with these numbers, which is checked as every file is."""
    found = SavedModel(
        config_of({**CONFIG, **config}, "test"),
        arrays or arrays_of(dictionary, sigma, bias, start, step),
    )
    check_model(found, "test")
    return found


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """No kernel is compiled for each of these models, and runs are no longer than they must be."""
    # The package exports a function of the module's name.
    for module in (export, import_module("pvae_neuro.evaluation.evaluate")):
        monkeypatch.setattr(module, "fastest_engine", lambda network: ReferenceEngine())
    monkeypatch.setattr(export, "MEASURED_ITERATIONS", (8, 8))
    monkeypatch.setattr(calibrate, "CALIBRATION_STEPS", 16)
    # Noise is left to the verdict's own margin.
    for module in (against_float, parity):
        monkeypatch.setattr(module, "MOST_SEEDS", 2)


def outcome(make, topology, folder, frac_bits=14, accept=True, images=IMAGES):
    """The export's measurements, or the message of its one error."""
    path = folder / "m.onnx"
    path.unlink(missing_ok=True)
    config = QuantizeConfig(topology, frac_bits=frac_bits)
    try:
        result = export_model(make(), path, images, config, stability_steps=8, accept=accept)
    except PvaeNeuroError as error:
        assert not path.exists()
        assert "\n" not in str(error) and "--" not in str(error)
        return str(error)
    assert certify(result.network)
    return result


def without(what):
    changed = DICTIONARY.copy()
    changed[what] = 0
    return changed


SOUND = {
    "a dead latent": lambda: model(without(np.s_[:, 3])),
    "a pixel without weights": lambda: model(without(np.s_[5])),
    "all zero": lambda: model(DICTIONARY * 0),
    "no step": lambda: model(step=-100),
    "the smallest step": lambda: model(step=-3e38),
    "the largest variances": lambda: model(sigma=3e38),
    "the largest leak": lambda: model(bias=3e38),
    "no leak": lambda: model(bias=-3e38),
    "the largest leak, no step": lambda: model(bias=3e38, step=-3e38),
    "a start far below": lambda: model(start=-3e38),
    "hardly any change": lambda: model(clamp_du=1e-300, floor_u=-1e-300, start=0),
}
REFUSED = {
    "the largest weights": (lambda: model(DICTIONARY * 0 + 3e38), "prediction|overflows"),
    "the largest weights of either sign": (
        lambda: model((-1) ** np.arange(8) * 3e38 + DICTIONARY), "prediction|overflows|self"
    ),
    "the largest step": (lambda: model(step=3e38), "'log_step_size': expected at most 88"),
    "the largest start": (lambda: model(start=3e38), "'initial_potential': expected at most 88"),
    "the largest of everything": (
        lambda: model(DICTIONARY * 0 + 3e38, 3e38, 3e38, 3e38, 3e38), "expected at most 88"
    ),
    "large weights": (lambda: model(DICTIONARY * 1e10), "self-inhibition|prediction"),
    "a large step": (lambda: model(step=20), "self-inhibition|messages|leak"),
    "a floor far below": (lambda: model(floor_u=-1e5), "lower clamp is -100000"),
    "a floor below all numbers": (lambda: model(floor_u=-1e308), "floor_u: .*-524288"),
    "a clamp beyond all numbers": (lambda: model(clamp_u=1e308), "clamp_u: .*524288"),
    "a change beyond all numbers": (lambda: model(clamp_du=1e308), "clamp_du: .*524288"),
    "inputs of a huge range": (lambda: model(input_high=1e9), "pixels"),
    "inputs beyond all ranges": (lambda: model(input_high=1e10), "input_high"),
    "not-a-number": (lambda: model(DICTIONARY * np.nan), "holds NaN"),
}  # fmt: skip


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("name", SOUND)
def test_what_can_be_represented_is_exported(name, topology, tmp_path):
    assert isinstance(outcome(SOUND[name], topology, tmp_path), ExportResult)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_represented_is_refused_with_one_error(name, topology, tmp_path):
    make, message = REFUSED[name]
    found = outcome(make, topology, tmp_path)
    assert isinstance(found, str) and re.search(message, found)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e-30, 1e-44])
def test_what_explains_nothing_is_not_written(scale, topology, tmp_path):
    found = outcome(lambda: model(DICTIONARY * scale), topology, tmp_path, accept=False)
    # On the chip a pixel is compared in the unit of the weights, and no such unit holds both.
    tiny = scale and topology == "predictive"
    assert ("declare a smaller input range" if tiny else "explains nothing") in found


@pytest.mark.parametrize("scale", [1e-6, 1e-30, 1e-44])
def test_tiny_dictionaries_are_certified_where_they_can_be_represented(scale, tmp_path):
    found = outcome(lambda: model(DICTIONARY * scale), "lateral", tmp_path)
    assert isinstance(found, ExportResult)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("clamp", ["soft", "hard"])
def test_the_largest_clamps(clamp, topology, tmp_path):
    clamps = {"clamp": clamp, "clamp_u": 2.0**19, "clamp_du": 2.0**19}
    assert isinstance(outcome(lambda: model(**clamps), topology, tmp_path), ExportResult)


def extremes():
    """Changed arrays and settings of a file, by name."""
    largest = float(np.finfo(np.float32).max)
    values = (0.0, 1e-45, 1e-6, 1.0, 10.0, 88.0, 1e4, 1e20, largest)
    for name, array in arrays_of().items():
        for value in (*values, *(-value for value in values[1:])):
            yield f"{name} {value:g}", {name: np.full_like(array, value)}, {}
            one = array.copy()
            one.flat[-1] = value
            if array.ndim:
                yield f"{name}[-1] {value:g}", {name: one}, {}
    for dead in range(1, 9):
        silent = DICTIONARY.astype(np.float32)
        silent[:, :dead] = 0
        yield f"{dead} dead latents", {"dictionary": silent}, {}
    settings = {
        "clamp_u": (1e308, 5e5, 88.0, 0.0, 1e-300, -0.9),
        "clamp_du": (1e308, 5e5, 1e-308, 0.0, -1.0),
        "floor_u": (-1e308, -17.0, -16.0, -1.0, -1e-308), "input_high": (1e-9, 255.0, 1e5, 1e9),
        "beta": (0.0, 1e308),
    }  # fmt: skip
    for name, values in settings.items():
        for value in values:
            yield f"{name} {value:g}", {}, {name: value}


EXTREMES = list(extremes())


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_files_of_extreme_numbers_are_near_float_or_refused(topology, tmp_path, pytestconfig):
    """Of each file: a network that is near the float model is written, or one error is raised.

    With ``--all-extremes`` of every file, else of one in five, others for each topology.
    """
    assert len(EXTREMES) >= 165
    sample = slice(TOPOLOGIES.index(topology), None, 5)
    chosen = EXTREMES if pytestconfig.getoption("--all-extremes") else EXTREMES[sample]
    path = tmp_path / "m.safetensors"
    written, wrong = [], []
    for name, arrays, config in chosen:
        text = json.dumps({**json.loads(model().config.model_dump_json()), **config})
        metadata = {
            "format": FORMAT, "schema_version": str(SCHEMA_VERSION), "pvae_neuro_config": text
        }  # fmt: skip
        write_safetensors(path, {**arrays_of(), **arrays}, metadata)
        images = IMAGES * min(1.0, config.get("input_high", 1.0))
        try:
            found = outcome(
                lambda: load_model(path), topology, tmp_path, accept=False, images=images
            )
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}")
            continue
        if isinstance(found, str):
            continue
        written.append(name)
        distance = found.report.float_result.distances[0]
        if not abs(distance.value) <= 5.0 + distance.margin:
            wrong.append(f"{name}: {distance}")
    assert not wrong
    assert len(written) >= 10


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
    def make():
        return model(
            DICTIONARY * 10.0**scale, sigma, bias, start, step,
            floor_u=floor, clamp_u=clamps[0], clamp_du=clamps[1], clamp=clamp,
        )  # fmt: skip

    outcome(make, topology, tmp_path_factory.getbasetemp(), frac_bits)
