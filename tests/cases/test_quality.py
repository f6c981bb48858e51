"""Calibration and models that explain nothing, and images that do not fit: refused or right."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cases_tools import case_folder
from cli_tools import run_cli

from pvae_neuro.errors import InputError, QualityError
from pvae_neuro.evaluation.evaluate import evaluate
from pvae_neuro.export import export_model
from pvae_neuro.exporters.quantize import QuantizeConfig
from pvae_neuro.saved.model_file import ModelConfig, SavedModel
from pvae_neuro.zoo import load_pretrained, sample_digits


@pytest.fixture
def cli(capsys):
    return partial(run_cli, capsys)


def test_black_calibration_is_refused(cli, tmp_path: Path) -> None:
    black, path = case_folder("calibration_black") / "black64.npy", tmp_path / "m.onnx"
    code, _, err = cli("export", "mnist", "-o", path, "--calibrate", black, "--quiet")
    assert code == 2 and not list(tmp_path.iterdir())
    (line,) = err.splitlines()
    assert line.startswith("error: calibration inputs: each of the 64 images is of one value")


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_a_collapsed_model_is_not_exported(tmp_path: Path, topology: str) -> None:
    case_folder("zero_dictionary")
    config = ModelConfig(
        pixels=16, latents=8, steps=4, beta=1.0, input_low=0, input_high=1, image_shape=(4, 4)
    )
    arrays = {
        "dictionary": np.zeros((16, 8)), "log_sigma": np.full(16, -1.0),
        "log_bias": np.full(8, -3.0), "log_step_size": np.zeros(()),
        "initial_potential": np.full(8, -2.0),
    }  # fmt: skip
    model = SavedModel(config, {name: a.astype(np.float32) for name, a in arrays.items()})
    images = np.random.default_rng(0).random((32, 16), np.float32)
    with pytest.raises(QualityError, match="explains nothing of these images"):
        export_model(model, tmp_path / "z.onnx", images, QuantizeConfig(topology=topology))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [lambda x: x * 2 - 1, lambda x: np.rint(x * 255).astype("u1")])
def test_a_float_model_takes_no_images_beyond_its_range(change) -> None:
    case_folder("api_evaluate_no_checks")
    model, digits = load_pretrained(), sample_digits()[0][:16]
    with pytest.raises(InputError, match=r"expected values in \[0, 1\], the declared range"):
        evaluate(model, change(digits), steps=4)
