"""What calibration keeps, what it is compared with, and counts beyond 127 on every engine."""

from __future__ import annotations

import numpy as np
import pytest
from cli_tools import run_cli
from models import random_images, random_model, sound_images, sound_model

from pvae_neuro.data.images import Images
from pvae_neuro.errors import InputError
from pvae_neuro.export import export_model
from pvae_neuro.exporters.calibrate import calibrate
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.quantize import ACTIVITY, QuantizeConfig, quantize
from pvae_neuro.network import Population, trace
from pvae_neuro.saved.activity import KEY, described, trained_share
from pvae_neuro.saved.model_file import SavedModel, load_model, save_model
from pvae_neuro.saved.rescaling import rescale_counts
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.training.config import TrainOptions
from pvae_neuro.training.train import recipe, train

MODEL = sound_model()
IMAGES = sound_images(64)


def circuit(model=MODEL):
    return lowering_of("predictive", model.config.family).circuit(model, "float64")


def trained(share) -> SavedModel:
    """The model with an activity in its provenance."""
    config = MODEL.config.model_copy(update={"training": {KEY: {"active": share}}})
    return SavedModel(config, MODEL.arrays)


def test_the_largest_of_every_variable_and_what_fires_are_kept():
    found = calibrate(circuit(), IMAGES)
    assert set(found.largest) == {"pixels.x", "latents.u", "latents.z", "errors.m"}
    assert found.count == found.largest["latents.z"].max() > 0
    assert np.array_equal(found.largest["pixels.x"], IMAGES.max(axis=0).astype(np.float64))
    assert 0.1 < found.active < 0.9


def test_a_log_rate_that_its_program_computes_is_calibrated():
    """Computed, stored and drawn of in one program, it goes by its result's name there."""

    def fire(n):
        n.u = n.clip(n.received, n.u_min, n.u_max)
        n.z = n.draw(n.u)

    from pvae_neuro.exporters.calibrate import _drawn

    one = circuit()
    latents = one.population_of["latents"]
    changed = Population(
        latents.name, latents.size, latents.variables, latents.constants,
        (trace(fire),), latents.sampler,
    )  # fmt: skip
    object.__setattr__(one, "populations", (changed,))
    one.__dict__.pop("population_of", None)
    one.__dict__.pop("drawing", None)
    assert _drawn(one)[0] == ("latents.u",)


def test_activity_is_described_by_percentiles():
    counts = np.array([[0, 0, 0, 1], [0, 0, 2, 5]], np.float32)
    found = described(counts, np.full((2, 4), 0.25, np.float32), 64)
    assert (found["images"], found["iterations"]) == (2, 64)
    assert (found["active"], found["mean"]) == (0.375, 1.0)
    assert found["counts"] == {"50": 0.0, "90": 2.0, "99": 2.0, "100": 5.0}
    assert set(found["rates"].values()) == {0.25}
    assert described(np.full((1, 2), np.inf), counts, 1)["mean"] == 1e30


def test_training_keeps_the_activity_in_the_file(tmp_path):
    images = Images(IMAGES, None, (6, 5), 0.0, 1.0, "sound")
    config = recipe("ipvae-linear", latents=12, epochs=1, batch_size=16, steps=4, windows=1)
    saved = [
        train(images, config, tmp_path / f"{n}.safetensors", TrainOptions(device="cpu"))
        for n in range(2)
    ]
    kept = [model.config.training[KEY] for model in saved]
    assert kept[0] == kept[1] and kept[0]["images"] == 64
    assert trained_share(load_model(tmp_path / "0.safetensors").config) == kept[0]["active"]


@pytest.mark.parametrize("held", [None, [], {}, {"active": "much"}, {"active": 1.5}, True])
def test_an_activity_that_cannot_be_read_is_none(held):
    config = MODEL.config.model_copy(update={"training": {KEY: held}})
    assert trained_share(config) is None


def test_inputs_on_which_less_fires_than_in_training(tmp_path):
    active = calibrate(circuit(), IMAGES).active
    names = [c.name for c in quantize(MODEL, IMAGES).choices]
    assert ACTIVITY not in names  # The file keeps nothing to compare with.
    (choice,) = (c for c in quantize(trained(active), IMAGES).choices if c.name == ACTIVITY)
    assert choice.value == pytest.approx(1.0)
    few = export_model(trained(min(1.0, 2.5 * active)), tmp_path / "m.onnx", IMAGES)
    assert "0.4" in few.warnings[0] and "as many latents fire as on the model's" in few.warnings[0]
    silent = SavedModel(
        trained(0.5).config,
        {**MODEL.arrays, "initial_potential": np.full(24, -8, np.float32),
         "log_step_size": np.array(-20, np.float32)},
    )  # fmt: skip
    with pytest.raises(InputError, match="so they do not show what potentials and counts"):
        quantize(silent, IMAGES)


def test_no_largest_count_where_nothing_is_drawn():
    from pvae_neuro.exporters.quantize import _check_counts

    class Nothing:
        name, drawing, operations = "still", (), frozenset()

    _check_counts(QuantizeConfig(), Nothing())
    with pytest.raises(InputError, match="draws no counts, so none is the largest; leave it out"):
        _check_counts(QuantizeConfig(max_count=15), Nothing())


def run_beyond_127(topology, samples, engines):
    """Runs of a model whose spikes are an eighth each, so that bright images fire a lot."""
    model = rescale_counts(MODEL, 8.0, 1 / 8)
    images = np.ones_like(IMAGES[:samples])
    images[:, ::3] = 0.9
    network = quantize(model, np.vstack((images, IMAGES)), QuantizeConfig(topology, max_count=255))
    network.require_proof()
    first, *others = (
        get_engine(name).run(network, images, 40, 5, record="full") for name in engines
    )
    counts = first["latents.z"]
    assert counts.max() > 127 and (counts > 127).mean() > 1e-3
    for name in network.variables:
        for engine, other in zip(engines[1:], others, strict=True):
            assert np.array_equal(first[name], other[name]), (name, engine)


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_counts_beyond_127(topology):
    run_beyond_127(topology, 8, ("reference", "fast", "onnx"))


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_counts_beyond_127_on_lava(topology):
    pytest.importorskip("lava")
    run_beyond_127(topology, 2, ("reference", "lava"))


def test_narrow_messages_by_the_loss_of_the_network():
    config = QuantizeConfig("predictive", message_loss=2.0)
    narrow, wide = quantize(MODEL, IMAGES[:16], config), quantize(MODEL, IMAGES[:16])
    (choice,) = (c for c in narrow.choices if c.name == "errors.m width")
    limits = [int(n.population_of["errors"].constant("high")[0]) for n in (narrow, wide)]
    assert limits[0] == 2 ** (int(choice.value) - 1) - 1 < limits[1]
    assert "rises by at most 2 %" in choice.why and "not tried" not in choice.why
    with pytest.raises(InputError, match="message_loss: expected percent above 0"):
        QuantizeConfig(message_loss=0.0)
    with pytest.raises(InputError, match="expected at least 2 calibration inputs"):
        quantize(MODEL, IMAGES[:1], config)
    with pytest.raises(InputError, match="'lateral' sends no graded spikes"):
        quantize(MODEL, IMAGES[:16], QuantizeConfig("lateral", message_loss=2.0))


def test_export_takes_the_familys_first_circuit(tmp_path, capsys):
    save_model(MODEL, tmp_path / "m.safetensors")
    np.save(tmp_path / "x.npy", sound_images(80))
    code, out, err = run_cli(
        capsys, "export", tmp_path / "m.safetensors", "-o", tmp_path / "m.onnx",
        "--calibrate", tmp_path / "x.npy",
    )  # fmt: skip
    assert (code, "warning" in err) == (0, False)
    assert "m.onnx: predictive, sha256" in out
    assert "16 images beyond those of calibration: latents.u: " in out


def test_random_models_calibrate_alike():
    model = random_model()
    images = random_images(model, 16)
    found = [calibrate(circuit(model), images) for _ in range(2)]
    assert found[0].active == found[1].active and found[0].potential == found[1].potential
