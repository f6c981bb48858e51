"""What holds for every family with circuits of integers, and what is said of the others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="makes models of every family")

from cli_tools import run_cli  # noqa: E402
from models import family_images, family_model  # noqa: E402
from pytorch_words import pytorch_states  # noqa: E402

from pvae_neuro.artifact import load_artifact, program_hash, save_artifact  # noqa: E402
from pvae_neuro.errors import InputError, ModelFileError  # noqa: E402
from pvae_neuro.exporters.calibrate import calibrate  # noqa: E402
from pvae_neuro.exporters.certify import certify  # noqa: E402
from pvae_neuro.exporters.lowerings import (  # noqa: E402
    LOWERINGS,
    float_circuit_of,
    lowering_of,
    topologies,
)
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize  # noqa: E402
from pvae_neuro.models.registry import model_names, names_of_task  # noqa: E402
from pvae_neuro.saved import shipped  # noqa: E402
from pvae_neuro.saved.activity import trained_share  # noqa: E402
from pvae_neuro.saved.model_file import load_model, save_model  # noqa: E402
from pvae_neuro.saved.shipped import SHIPPED, shipped_figures, shipped_name  # noqa: E402
from pvae_neuro.sim.engine import get_engine  # noqa: E402
from pvae_neuro.sim.noise import population_noise  # noqa: E402
from pvae_neuro.utils.digest import file_sha256  # noqa: E402
from pvae_neuro.verification.integers import compare  # noqa: E402
from pvae_neuro.zoo import sample_digits  # noqa: E402

FAMILIES = list(dict.fromkeys(family for lowering in LOWERINGS for family in lowering.families))
CIRCUITS = [(family, name) for family in FAMILIES for name in topologies(family)]
STEPS, SAMPLES = 12, 4
each_circuit = pytest.mark.parametrize(("family", "topology"), CIRCUITS)


@pytest.fixture(scope="module")
def network_of():
    """Integers of a small model, made once for each circuit."""
    made = {}

    def make(family, topology):
        if (family, topology) not in made:
            config = QuantizeConfig(topology)
            made[family, topology] = quantize(family_model(family), family_images(32), config)
        return made[family, topology]

    return make


def test_every_entry_of_the_table_is_a_family():
    assert set(FAMILIES) <= set(model_names())


@each_circuit
def test_engines_compute_the_same_integers_within_what_is_proved(network_of, family, topology):
    network = network_of(family, topology)
    assert (network.family, network.name) == (family, topology)
    certify(network)
    expected, *others = (
        get_engine(name).run(network, family_images(SAMPLES), STEPS, seed=5, record="full")
        for name in ("reference", "fast", "onnx")
    )
    # Silent networks agree on anything.
    assert np.ptp(expected[network.code], axis=1).any(axis=1).all()
    assert np.unique(expected[network.code]).size > 2
    for other in others:
        found = compare(network, other.variables, expected.variables)
        assert found.compared > 0 and found.differing == 0, found.first


@each_circuit
def test_a_file_holds_what_was_written(network_of, family, topology, tmp_path):
    network = network_of(family, topology)
    save_artifact(network, family_images(2), tmp_path / "m.onnx")
    again = load_artifact(tmp_path / "m.onnx").network
    assert program_hash(again) == program_hash(network)
    assert (again.family, again.name, again.code) == (family, topology, network.code)


@each_circuit
def test_the_float_circuit_is_the_pytorch_model(family, topology):
    model, images = family_model(family), family_images(SAMPLES).astype(np.float64)
    circuit = lowering_of(topology, family).circuit(model, "float64")
    drawing = [p.name for p in circuit.drawing]
    steps = range(STEPS + 1)
    words = {p.name: population_noise(p, 0, steps, range(SAMPLES)) for p in circuit.drawing}
    states = list(circuit.run(images, words, STEPS))
    if topology == "feedforward":
        # The circuit draws once before the first image has passed, a one-pass model does not.
        words = {name: word[:, 1:] for name, word in words.items()}
    source = f"{circuit.readout.population}.{circuit.readout.variable}"
    shows_itself = circuit.readout.connection is None and circuit.code == source
    seen = 0.0
    for step, theirs in enumerate(pytorch_states(model, images, words, drawing, STEPS)):
        # A step's counts are recorded after the next one.
        ours = states[step + 1]
        # A count that differs would move these by .01 and more; rounding moves them by 1e-13.
        if not shows_itself:
            assert np.abs(theirs.z.numpy() - ours[circuit.code]).max() < 1e-9
        difference = theirs.reconstruction.detach().numpy() - circuit.reconstruct(ours)
        assert np.abs(difference).max() < 1e-9
        seen = max(seen, float(np.abs(ours[circuit.code]).max()))
    assert seen > 0.0


def refusal(model, folder, capsys):
    """The line with which ``export`` refuses a model; nothing is written."""
    save_model(model, folder / "m.safetensors")
    np.save(folder / "x.npy", family_images(16))
    code, out, err = run_cli(
        capsys, "export", folder / "m.safetensors", "-o", folder / "m.onnx",
        "--calibrate", folder / "x.npy",
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert not (folder / "m.onnx").exists()
    lines = err.splitlines()
    assert lines[-1].startswith("error: ") and "Traceback" not in err
    return lines[-1]


@pytest.mark.parametrize("family", sorted(set(names_of_task("reconstruct")) - set(FAMILIES)))
def test_other_families_stay_float_and_are_refused_by_name(family, tmp_path, capsys):
    assert topologies(family) == ()
    model = family_model(family)
    with pytest.raises(ModelFileError, match=f"family '{family}'.*stays a float model") as error:
        quantize(model, family_images(16))
    assert "no circuit of integers computes what it does" not in str(error.value), "says no reason"
    assert f"family '{family}'" in refusal(model, tmp_path, capsys)


@pytest.mark.parametrize("family", ["pc", "ipc"])
def test_an_activation_that_is_no_rectifier_is_refused_by_name(family, tmp_path, capsys):
    model = family_model(family, architecture={"hidden": (10, 10), "activation": "tanh"})
    said = refusal(model, tmp_path, capsys)
    assert "'tanh'" in said and "relu" in said


@pytest.mark.parametrize("family", ["ipvae-mlp", "ipvae-conv", "pvae-linear", "pvae-conv"])
def test_files_that_name_another_activation_are_refused_by_it(family, tmp_path, capsys):
    model = family_model(family)
    named = {**model.config.architecture, "activation": "silu"}
    config = model.config.model_copy(update={"architecture": named})
    said = refusal(replace(model, config=config), tmp_path, capsys)
    assert "expected the activation 'relu', got 'silu'" in said and "--clamp" not in said
    assert float_circuit_of(replace(model, config=config)) is None


def test_models_says_which_circuits_a_family_has(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # In narrow tables, words are apart.
    code, out, err = run_cli(capsys, "models", "--json", "-")
    assert code == 0, err
    circuits = {row["name"]: tuple(row["circuits"]) for row in json.loads(out)["families"]}
    assert circuits == {name: topologies(name) for name in model_names()}
    out = run_cli(capsys, "models")[1]
    assert out.count("float only") == len(model_names()) - len(FAMILIES)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_what_was_measured(name):
    model = load_model(name)
    assert model.config.family == SHIPPED[name].family
    figures = shipped_figures()[name]
    assert figures["sha256"] == file_sha256(shipped.FOLDER / SHIPPED[name].file)
    # The digits themselves vary by 52 about their mean image.
    assert 0 < figures["mse"] < 52 / 4 and 0 < figures["zeros"] < 1


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_tells_what_fired_in_training(name):
    """So that calibration inputs are compared with it; the shipped digits fire as much."""
    model, (digits, _) = load_model(name), sample_digits()
    found = calibrate(lowering_of(None, model.config.family).circuit(model), digits[:16])
    assert trained_share(model.config) == pytest.approx(found.active, rel=0.3)


def test_shipped_models_are_few_bytes():
    sizes = [(shipped.FOLDER / model.file).stat().st_size for model in SHIPPED.values()]
    assert sum(sizes) < 10e6
    assert {p.name for p in shipped.FOLDER.glob("*.safetensors")} == {
        model.file for model in SHIPPED.values()
    }


def test_a_shipped_model_is_found_by_its_family():
    assert {shipped_name(name) for name in ("linear", "ipvae-linear", "mnist")} == {"mnist"}
    for name, model in SHIPPED.items():
        assert shipped_name(name) == name
        assert SHIPPED[shipped_name(model.family)].family == model.family
        assert shipped_name(name.removeprefix("mnist-")) == name
    with pytest.raises(InputError, match="did you mean 'linear'"):
        shipped_name("liner")


def test_demo_proposes_the_nearest_family(tmp_path, capsys):
    code, out, err = run_cli(capsys, "demo", "--family", "mpl", "--out", tmp_path / "made")
    assert (code, out) == (2, "")
    assert "family 'mpl': no shipped model is of it; did you mean 'mlp'" in err
    assert not (tmp_path / "made").exists()
