"""Models and checkpoints that people have: read, with what was converted or chosen, or refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cases_tools import case_folder
from typer.testing import CliRunner

from pvae_neuro.cli.main import VERBS, application
from pvae_neuro.cli.shared.inputs import read_model
from pvae_neuro.saved.model_file import load_model


@pytest.mark.parametrize(("name", "kind"), [("f16", "float16"), ("bf16", "bfloat16")])
def test_models_of_half_precision_are_read_as_float32(name: str, kind: str) -> None:
    path = case_folder("model_half_precision") / f"{name}.safetensors"
    model = load_model(path)
    assert model.notes == (f"{path}: 5 of 5 arrays are stored as {kind}; converted to float32",)
    assert all(array.dtype == np.float32 for array in model.arrays.values())


def test_both_half_precisions_are_of_one_model() -> None:
    folder = case_folder("model_half_precision")
    fine, coarse = (load_model(folder / f"{name}.safetensors") for name in ("f16", "bf16"))
    assert fine.config == coarse.config
    for name, array in fine.arrays.items():
        # A bfloat16 has 8 significant bits.
        assert np.allclose(array, coarse.arrays[name], rtol=2.0**-7, atol=0.0)


def checkpoint(name: str, tmp_path: Path) -> Path:
    pytest.importorskip("torch", reason="needs PyTorch")
    return Path(shutil.copytree(case_folder(name) / "ckpt", tmp_path / "ckpt"))


def test_the_models_configuration_is_read_however_old_it_is(tmp_path: Path) -> None:
    from pvae_neuro.saved.iterative_vae import import_official

    folder = checkpoint("import_two_configs", tmp_path)
    os.utime(folder / "ConfigTrain.json")
    model = import_official(folder)
    assert model.config.latents == 8
    assert model.notes[0].startswith("read ConfigPoisVAE.json and IPVAE+Trainer-0020_")
    assert model.notes[0].endswith("left out ConfigTrain.json")


def test_rotating_digits_lie_between_0_and_1(tmp_path: Path) -> None:
    from pvae_neuro.saved.iterative_vae import import_official

    model = import_official(checkpoint("import_rotating_digits", tmp_path))
    assert (model.config.input_low, model.config.input_high) == (0.0, 1.0)
    assert model.config.image_shape == (28, 28)
    assert "data set MNIST+rotate" in model.notes[1]


def test_weights_of_a_compiled_model_are_read(tmp_path: Path) -> None:
    from pvae_neuro.saved.iterative_vae import import_official

    model = import_official(checkpoint("import_orig_mod", tmp_path))
    assert model.dictionary.shape == (784, 8) and model.dictionary.any()


def test_the_command_line_says_what_it_converted_unless_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = case_folder("model_half_precision") / "bf16.safetensors"
    read_model(path)
    assert "5 of 5 arrays are stored as bfloat16; converted to float32" in capsys.readouterr().err
    read_model(path, quiet=True)
    assert capsys.readouterr().err == ""


def test_importing_on_the_command_line(tmp_path: Path) -> None:
    folder, output = checkpoint("import_rotating_digits", tmp_path), tmp_path / "m.safetensors"
    found = CliRunner().invoke(
        application(VERBS), ["import", str(folder), "-o", str(output), "--json", "-"]
    )
    assert found.exit_code == 0 and "declared to lie in [0, 1]" in found.stderr
    assert load_model(output).config.input_low == 0.0
    asked = ["import", str(folder), "-o", str(output), "--input-range", "-2", "3", "-q"]
    found = CliRunner().invoke(application(VERBS), asked)
    assert found.exit_code == 0 and found.stderr == ""
    assert load_model(output).config.input_low == -2.0
    config = folder / "ConfigPoisVAE.json"
    config.write_text(config.read_text().replace("MNIST+rotate", "BALLS16"))
    found = CliRunner().invoke(application(VERBS), asked[:4])
    assert found.exit_code == 2 and "(--input-range LOW HIGH)" in found.stderr
