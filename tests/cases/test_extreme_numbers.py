"""Models whose integers come near the ends of their types: right on every engine, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cases_tools import case_folder
from numpy.typing import NDArray

from pvae_neuro.errors import PvaeNeuroError, QualityError
from pvae_neuro.export import export_model
from pvae_neuro.exporters.certify import certify
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.saved.model_file import ModelConfig, SavedModel, load_model
from pvae_neuro.sim.engine import working_engines
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification.verify import verify

TOPOLOGIES = ("lateral", "predictive")
# A warning would be a number that left its type on the way.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def case(folder: str, model: str, images: str) -> tuple[SavedModel, NDArray[np.float32]]:
    place = case_folder(folder)
    return load_model(place / model), np.load(place / images)


def equal_everywhere(
    model: SavedModel, images: NDArray[np.float32], config: QuantizeConfig
) -> None:
    """Certify; then every engine that works here gives the same integers, near float."""
    network = quantize(model, images, config)
    certify(network)
    report = verify(network, model, images[:12], steps=8, engines=[*working_engines(network)])
    assert report.pairs and all(pair.passed for pair in report.pairs)
    assert report.float_result is not None
    mse = report.float_result.distances[0]
    assert abs(mse.value) <= 1.0 + mse.margin
    recording = ReferenceEngine().run(network, images[:12], 8, 0, record="full")
    exact = (network.input.encode(images[:12]) * 2.0**-network.input.frac_bits).astype(float)
    error = ((exact - recording.reconstruction) ** 2).sum(axis=1)
    assert (recording.squared_error >= 0).all()
    assert np.allclose(recording.squared_error[:, -1] * recording.error_unit, error, rtol=1e-5)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_leak_beyond_32_bits(topology: str) -> None:
    model, images = case("leak_overflow", "h88_log_bias.safetensors", "small_x.npy")
    equal_everywhere(model, images, QuantizeConfig(topology, frac_bits=8))


def test_squared_errors_beyond_64_bits() -> None:
    model, images = case("error_sum_overflow", "neg.safetensors", "neg_x.npy")
    equal_everywhere(model, images, QuantizeConfig("lateral", frac_bits=12))
    equal_everywhere(model, images, QuantizeConfig("predictive", frac_bits=12))


def test_numbers_that_onnx_runtime_clips_wrongly() -> None:
    model, images = case("int64_clip", "clip_model.safetensors", "clip_x.npy")
    equal_everywhere(model, images, QuantizeConfig("lateral", frac_bits=14))
    with pytest.raises(PvaeNeuroError, match="weights are too small for such inputs"):
        equal_everywhere(model, images, QuantizeConfig("predictive", frac_bits=14))


def collapsed(scale: float) -> tuple[SavedModel, NDArray[np.float32]]:
    """The model of the case, with its dictionary scaled."""
    case_folder("zero_dictionary")
    rng = np.random.default_rng(0)
    config = ModelConfig(
        pixels=16, latents=8, steps=4, beta=1.0, input_low=0, input_high=1, image_shape=(4, 4)
    )
    images = rng.random((32, 16)).astype(np.float32)
    arrays = {
        "dictionary": (rng.normal(0, 0.3, (16, 8)) * scale).astype(np.float32),
        "log_sigma": np.full(16, -1, np.float32),
        "log_bias": np.full(8, -3, np.float32),
        "log_step_size": np.zeros((), np.float32),
        "initial_potential": np.full(8, -2, np.float32),
    }
    return SavedModel(config, arrays), images


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_collapsed_model_is_not_written(topology: str, tmp_path: Path) -> None:
    model, images = collapsed(0.0)
    with pytest.raises(QualityError, match="explains nothing of these images"):
        export_model(model, tmp_path / "m.onnx", images, QuantizeConfig(topology))
    assert not list(tmp_path.iterdir())


def test_tiny_weights_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    model, images = collapsed(1e-6)
    with pytest.raises(QualityError, match="explains nothing of these images"):
        export_model(model, tmp_path / "m.onnx", images, QuantizeConfig("lateral"))
    with pytest.raises(PvaeNeuroError, match="weights are too small for such inputs"):
        export_model(model, tmp_path / "m.onnx", images, QuantizeConfig("predictive"))
    assert not list(tmp_path.iterdir())
