"""What a newcomer does first: shipped models by name, sample inputs, a look into files."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
from cli_tools import make_files, run_cli
from models import random_images, random_model

import pvae_neuro as pn
from pvae_neuro import zoo
from pvae_neuro.errors import InputError, MissingDependencyError
from pvae_neuro.models import sizes
from pvae_neuro.models.registry import model_names
from pvae_neuro.saved import shipped
from pvae_neuro.saved.model_file import load_model, save_model
from pvae_neuro.saved.shipped import SHIPPED, model_path
from pvae_neuro.utils.digest import file_sha256


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_cli(capsys, *arguments)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_model_is_read_by_its_name(name):
    assert load_model(name).parameter_count == load_model(model_path(name)).parameter_count > 0


@pytest.mark.parametrize("name", ["a" * 300, "a" * 300 + ".safetensors", "a/" * 5000])
def test_a_name_longer_than_any_file_has_is_one_of_this_packages_errors(name):
    with pytest.raises(InputError):
        load_model(name)


def test_a_file_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    save_model(random_model(), tmp_path / "mnist")
    assert load_model("mnist").parameter_count == random_model().parameter_count
    assert load_model(tmp_path / "mnist").parameter_count == random_model().parameter_count
    assert pn.load_pretrained().config.latents == 512
    (tmp_path / "mnist").unlink()
    (tmp_path / "mnist").mkdir()
    # A data set's folder is no model.
    assert load_model("mnist").config.latents == 512


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("minst", "did you mean 'mnist'"),
        ("Mnist", "did you mean 'mnist'"),
        ("cifar", "known: mnist"),
        ("mnist.safetensors", "mnist.safetensors: no such file"),
        ("folder/mnist", "folder/mnist: no such file"),
        (5, "expected text or a path, got 5"),
    ],
)
def test_unknown_names_are_refused(name, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        load_model(name)


@pytest.fixture
def small(tmp_path_factory, monkeypatch):
    """A small model in place of the shipped one, and its images."""
    model, folder = random_model(), tmp_path_factory.mktemp("zoo")
    save_model(model, folder / SHIPPED["mnist"].file)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    return random_images(model, 6)


def test_a_name_stands_wherever_a_verb_takes_a_float_model(cli, small, tmp_path):
    np.save(tmp_path / "x.npy", small)
    export = ("export", "mnist", "-o", "m.onnx", "--calibrate", "x.npy", "-q", "--accept")
    code, _, err = cli(*export)
    assert code == 0, err
    verify = ("verify", "m.onnx", "--model", "mnist", "-i", "x.npy", "-n", "2", "-t", "2")
    _, out, err = cli(*verify, "--engines", "reference", "--html", "v.html")
    assert "float" in out, err
    # Where the page says what went in, the name is the file that it stands for.
    assert file_sha256(model_path("mnist")) in (tmp_path / "v.html").read_text("utf-8")
    code, out, err = cli("inspect", "mnist", "--json", "-")
    assert json.loads(out)["latents"] == 24, err
    code, out, err = cli("evaluate", "mnist", "-i", "x.npy", "-n", "2", "-t", "2")
    assert code == 0, err
    code, out, err = cli("plot", "mnist", "-o", "m.svg", "--dataset", "x.npy", "-n", "2", "-t", "2")
    assert code == 0, err
    for verb in (
        ("export", "minst", "-o", "n.onnx"),
        ("verify", "m.onnx", "--model", "minst", "-i", "x.npy"),
        ("inspect", "minst"),
        ("evaluate", "minst", "-i", "x.npy"),
        ("plot", "minst", "-o", "n.svg"),
    ):
        code, out, err = cli(*verb)
        assert (code, out) == (2, ""), err
        assert "did you mean 'mnist'" in err
    for verb in (("run", "mnist", "-o", "o.npz"), ("verify", "mnist")):
        code, out, err = cli(*verb, "-i", "x.npy")
        assert (code, out) == (2, "")
        assert "mnist: no such file; expected a readable .onnx file" in err
        assert "Export that float model first" in err
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy", "m.onnx", "m.svg", "v.html"}


def test_samples_are_the_shipped_digits(cli, tmp_path):
    images, labels = zoo.sample_digits()
    code, out, err = cli("samples")
    assert (code, err) == (0, "")
    assert out == (
        "digits.npy: 100 digits of the MNIST test set, float32 [100, 28, 28] in [0, 1]\n"
    )
    assert (np.load(tmp_path / "digits.npy").reshape(100, -1) == images).all()
    code, out, err = cli("samples")
    assert (code, out) == (2, "")
    assert "digits.npy: exists already" in err
    code, out, _ = cli("samples", "-o", "digits.npz")
    assert code == 0
    assert "and their labels" in out
    with np.load("digits.npz") as file:
        assert (file["images"].reshape(100, -1) == images).all()
        assert (file["labels"] == labels).all()
    assert cli("samples", "-o", "digits.npy")[0] == 0
    assert cli("samples", "-o", "digits.png")[0] == 2


def test_inspect_describes_a_float_model(cli, tmp_path):
    make_files(tmp_path, random_model(), random_images(random_model(), 2), ())
    model = random_model()
    code, out, err = cli("inspect", "model.safetensors", "--json", "-")
    assert code == 0, err
    found = json.loads(out)
    content = (tmp_path / "model.safetensors").read_bytes()
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    assert found["parameters"] == model.parameter_count
    assert found["family"] == "ipvae-linear"
    rows = {row["name"]: row for row in found["arrays"]}
    assert rows.keys() == model.arrays.keys()
    for name, array in model.arrays.items():
        assert rows[name]["shape"] == list(array.shape)
        assert rows[name]["dtype"] == "float32"
        assert (rows[name]["low"], rows[name]["high"]) == (array.min(), array.max())
    code, out, _ = cli("inspect", "model.safetensors")
    for text in (*model.arrays, found["sha256"], "clamp_u", f"{model.parameter_count:,}"):
        assert text in out
    assert cli("inspect", "model.safetensors", "-q") == (0, "", "")
    assert "export it" in cli("inspect", "model.safetensors", "--program")[2]
    shutil.copy("model.safetensors", "model.bin")
    code, _, err = cli("inspect", "model.bin")
    assert code == 2
    assert "expected a model.onnx or a model.safetensors" in err


def test_models_lists_what_ships_and_works_without_torch(cli, monkeypatch):
    code, out, err = cli("models", "--json", "-")
    assert code == 0, err
    found = json.loads(out)
    assert [model["name"] for model in found["shipped"]] == list(SHIPPED)
    assert [row["name"] for row in found["families"]] == list(model_names())

    # 20 x 20 pixels have 25 places, which do not divide the latents of one family.
    out = cli("models", "--side", "20")[1]
    assert "– in the column parameters: ipvae-fully-conv: latents: expected a multiple of 25" in out
    code, _, err = cli("models", "--side", "9999")
    assert code == 2 and "pixels" in err

    def lacks(*arguments):
        raise MissingDependencyError("numbers of parameters: expected torch; pip install it")

    monkeypatch.setattr(sizes, "count_parameters", lacks)
    code, out, err = cli("models")
    assert (code, err) == (0, "")
    for text in ("mnist", *model_names(), "403,217", "– in the column parameters"):
        assert text in out
    found = json.loads(cli("models", "--json", "-")[1])
    assert {row["parameters"] for row in found["families"]} == {None}
