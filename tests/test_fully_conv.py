"""Fully convolutional models: one set of weights at every size of image, in floats and integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="makes models of this family")

from models import family_model  # noqa: E402

from pvae_neuro.errors import InputError, ModelFileError  # noqa: E402
from pvae_neuro.evaluation.infer import infer  # noqa: E402
from pvae_neuro.experiments import photographs  # noqa: E402
from pvae_neuro.exporters.certify import certify  # noqa: E402
from pvae_neuro.exporters.quantize import quantize  # noqa: E402
from pvae_neuro.models.registry import model_from_saved  # noqa: E402
from pvae_neuro.saved.fully_conv import FULLY_CONV_FAMILY, at_image_shape, map_shape_of  # noqa: E402
from pvae_neuro.sim.engine import get_engine  # noqa: E402

LINEAR, DEEP = {"stride": 4}, {"stride": 2, "channels": (3,)}
each_decoder = pytest.mark.parametrize("architecture", [LINEAR, DEEP], ids=["linear", "deep"])


def images(model, samples=3):
    pixels = np.random.default_rng(1).random((samples, model.config.pixels)) * 1.6 - 0.6
    return np.clip(pixels, 0, 1).astype(np.float32)


@each_decoder
def test_the_same_weights_serve_every_size(architecture):
    small = family_model(FULLY_CONV_FAMILY, architecture=architecture)
    large = at_image_shape(small, (16, 24))
    assert map_shape_of(small.config) == (3, 2, 2) and map_shape_of(large.config) == (3, 4, 6)
    assert (large.config.pixels, large.config.latents) == (384, 72)
    assert large.arrays is small.arrays
    assert at_image_shape(large, (8, 8)).config == small.config
    trace = infer(large, images(large), 3, progress=False)
    assert trace.z.shape == (3, 72) and trace.z.any()


@each_decoder
def test_a_place_is_like_every_other(architecture):
    saved = at_image_shape(family_model(FULLY_CONV_FAMILY, architecture=architecture), (24, 24))
    model = model_from_saved(saved).double()
    channels, height, width = map_shape_of(saved.config)
    rng = np.random.default_rng(0)
    z = np.zeros((1, channels, height, width))
    z[:, :, 2:4, 2:4] = rng.poisson(2.0, (1, channels, 2, 2))
    moved = np.roll(z, 1, axis=(2, 3))
    shown, after = (
        model.decode(torch.from_numpy(each.reshape(1, -1))).detach().view(24, 24).numpy()
        for each in (z, moved)
    )
    # Each pixel is a sum of fewer than 100 products of size 1: rounding is below 1e-12.
    inside = slice(8, 20)
    pixels = np.abs(after[inside, inside] - shown[4:16, 4:16])
    assert pixels.max() < 1e-12 and np.ptp(shown[4:16, 4:16]) > 0.01


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((8, 10), "multiples of 4 pixels, got 8 x 10"),
        ((0, 8), "multiples of 4 pixels"),
        ((3, 8, 8), "expected 1 colours, as the model has, got 3"),
    ],
)
def test_refuses_sizes_that_do_not_suit(shape, said):
    with pytest.raises(InputError, match=said):
        at_image_shape(family_model(FULLY_CONV_FAMILY), shape)


def test_refuses_other_families_other_numbers_of_latents_and_sizes_beyond_a_file():
    with pytest.raises(InputError, match="the same at every place; got ipvae-conv"):
        at_image_shape(family_model("ipvae-conv"), (16, 16))
    with pytest.raises(InputError, match=r"multiple of 4, the places of a map of 2 x 2.* 8 or 12"):
        family_model(FULLY_CONV_FAMILY, latents=10)
    with pytest.raises(InputError, match="got inputs without a shape"):
        family_model(FULLY_CONV_FAMILY, image_shape=None)
    with pytest.raises(ModelFileError, match="model at 4096 x 4096 pixels"):
        at_image_shape(family_model(FULLY_CONV_FAMILY), (4096, 4096))


def test_colours_stay():
    shape = {"image_shape": (3, 8, 8), "pixels": 192}
    large = at_image_shape(family_model(FULLY_CONV_FAMILY, **shape), (16, 8))
    assert large.config.image_shape == (3, 16, 8)
    assert at_image_shape(large, (3, 8, 8)).config.pixels == 192


def test_integers_of_a_larger_size_have_the_same_kernels_and_are_equal_on_fast_and_onnx():
    small = family_model(FULLY_CONV_FAMILY, architecture=LINEAR)
    large = at_image_shape(small, (16, 24))
    networks = [quantize(model, images(model, 16)) for model in (small, large)]
    kernels = [network.connection_of["prediction"].weight for network in networks]
    np.testing.assert_array_equal(*kernels)
    network = networks[1]
    certify(network)
    expected = get_engine("reference").run(network, images(large), 12, seed=3, record="full")
    for engine in ("fast", "onnx"):
        got = get_engine(engine).run(network, images(large), 12, seed=3, record="full")
        for variable in network.variables:
            np.testing.assert_array_equal(got[variable], expected[variable], err_msg=variable)
    assert len(np.unique(expected["latents.z"])) > 2


# ------------------------------------------------------------------------------ the experiment


def test_pieces_of_parts_are_joined_again():
    parts = np.arange(2 * 8 * 8).reshape(2, 8, 8)
    pieces = photographs._pieces(parts, 4)
    assert pieces.shape == (8, 16)
    assert pieces[1].reshape(4, 4).tolist() == parts[0, :4, 4:].tolist()
    np.testing.assert_array_equal(photographs._joined(pieces, parts.shape, 4), parts)


def test_seams_are_where_crops_would_meet():
    errors = np.ones((1, 24, 24))
    errors[:, 7:9] = 4.0  # Two rows at a line, of which the first and last columns do not count.
    by_line = photographs._by_line(errors, 8)
    assert by_line[0] > 1.5 and by_line[1:].max() < by_line[0]
    np.testing.assert_allclose(photographs._by_line(np.ones((1, 24, 24)), 8), np.ones(4))


def test_photographs_runs(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="ships the photographs")
    from rich.console import Console

    from pvae_neuro.experiments.registry import run_experiment
    from pvae_neuro.experiments.shared.context import Context

    small = replace(photographs._PLANS["quick"], side=16, channels=2, crops=32, steps=4)
    monkeypatch.setitem(photographs._PLANS, "quick", small)
    monkeypatch.setattr(photographs, "FACTORS", (1, 2))
    monkeypatch.setattr(photographs, "WINDOWS", 1)
    console = Console(quiet=True)
    context = Context(tmp_path / "o", tmp_path / "m", tmp_path, budget="quick", console=console)
    result = run_experiment("photographs", context).results[0]
    assert [row.name for row in result.rows] == ["1x", "2x", "8x, integers"]
    assert result.rows[0].figures["side"] == 16 and result.rows[2].figures["side"] == 32
