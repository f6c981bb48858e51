"""Evaluation block by block: memory does not grow with the images, and no figure changes."""

from __future__ import annotations

import tracemalloc
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import toy
from cli_tools import run_cli
from models import random_images, random_model

import pvae_neuro as pn
from pvae_neuro.artifact import save_artifact
from pvae_neuro.data import load_images
from pvae_neuro.errors import InputError
from pvae_neuro.evaluation import evaluate as module
from pvae_neuro.evaluation.blocks import Source, in_order
from pvae_neuro.evaluation.evaluate import evaluate
from pvae_neuro.evaluation.figures import CELL, Variances, frame_variances
from pvae_neuro.network import Input
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.utils.decoded import Decoded, pieces

NETWORK = toy.lateral()
IMAGES = toy.images(NETWORK, 150)
FIGURES = ("mse", "r2", "r2_mean_image", "zeros", "capped", "spikes", "settling")


def assert_same(found, wanted):
    for name in FIGURES:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), name)
    assert found.samples == wanted.samples
    assert found.saturations == wanted.saturations


def parts(images, *sizes):
    """An iterator over the images, so many at a time."""
    edges = np.cumsum([0, *sizes, len(images) - sum(sizes)])
    return (images[a:b] for a, b in pairwise(edges) if b > a)


# ---------------------------------------------------------------------------- the same figures


@pytest.mark.parametrize("at_once", [CELL, 3 * CELL, 1024])
def test_the_size_of_blocks_changes_no_bit(monkeypatch, at_once):
    wanted = evaluate(NETWORK, IMAGES, steps=3, engine="reference")
    monkeypatch.setattr(module, "SAMPLES_AT_ONCE", at_once)
    assert_same(evaluate(NETWORK, IMAGES, steps=3, engine="reference"), wanted)


@pytest.mark.parametrize("sizes", [(), (1,), (7, 64, 1, 30), (149,)])
def test_an_iterator_gives_the_figures_of_an_array(sizes):
    wanted = evaluate(NETWORK, IMAGES, steps=3, engine="reference")
    found = evaluate(NETWORK, parts(IMAGES, *sizes), steps=3, engine="reference")
    assert_same(found, wanted)


def test_frames_may_come_from_an_iterator():
    moving = IMAGES.reshape(50, 3, -1)
    wanted = evaluate(NETWORK, moving, steps=2, engine="reference", reset=True)
    found = evaluate(NETWORK, parts(moving, 20, 9), steps=2, engine="reference", reset=True)
    assert found.frames == 3
    assert_same(found, wanted)


@pytest.mark.parametrize("family", ["ipvae-linear", "igvae"])
def test_float_models_take_an_iterator(monkeypatch, family):
    torch = pytest.importorskip("torch", reason="needs torch")

    if family == "ipvae-linear":
        model = random_model()
    else:
        config = pn.ModelConfig(
            family="igvae", pixels=30, latents=6, steps=3, beta=1.0, input_low=0.0, input_high=1.0
        )
        model = pn.build_model(config, torch.Generator().manual_seed(0)).to_saved()
    images = random_images(random_model(), 260)
    wanted = evaluate(model, images, steps=2)
    found = evaluate(model, parts(images, 3, 255), steps=2)
    assert_same(found, wanted)


def test_an_iterator_is_checked_as_it_is_read():
    bad = IMAGES.copy()
    bad[140] = 7.0
    with pytest.raises(InputError, match="part 1 of the inputs, from sample 100: inputs: expected"):
        evaluate(NETWORK, parts(bad, 100), steps=2, engine="reference")
    with pytest.raises(InputError, match="iterator of nothing"):
        evaluate(NETWORK, iter([]), steps=2, engine="reference")
    mixed = iter([IMAGES[:4], IMAGES[:4].reshape(2, 2, -1)])
    with pytest.raises(InputError, match="expected 1 frames of each sample, as before, got 2"):
        evaluate(NETWORK, mixed, steps=2, engine="reference")


def test_an_array_is_checked_before_anything_runs():
    class Never(ReferenceEngine):
        def run(self, *arguments, **options):
            raise AssertionError

    bad = np.tile(IMAGES, (40, 1))
    bad[5000, 3] = np.nan
    with pytest.raises(InputError, match="got 1 that are NaN or infinite, the first in image 5000"):
        evaluate(NETWORK, bad, steps=2, engine=Never())


# ---------------------------------------------------------------------------- memory


def peak(work):
    """Most bytes that Python and NumPy hold while it works, beyond what they held before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# More than some pieces of ROWS_PER_PIECE, of which two or three are there at once.
FEW, MANY = 6_000, 14_000
# One number of 8 bytes kept of each further image would be more.
MOST_GROWTH = 8 * (MANY - FEW) // 2


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Files of few and of many images, of bytes."""
    folder, row = tmp_path_factory.mktemp("stored"), NETWORK.input.size
    rng = np.random.default_rng(0)
    for count in (FEW, MANY):
        np.save(folder / f"{count}.npy", rng.integers(0, 255, (count, row), np.uint8, True))
    return folder


def streamed(folder, count):
    declared = NETWORK.input
    values = np.load(folder / f"{count}.npy", mmap_mode="r")
    span = np.float32(declared.high - declared.low) / 255
    decode = lambda rows: np.float32(declared.low) + rows * span  # noqa: E731
    return Decoded(values, decode, values.shape[1:])


def iterated(folder, count):
    return pieces(streamed(folder, count), 700)


def evaluated(make, folder, count):
    evaluate(NETWORK, make(folder, count), steps=1, engine="reference", progress=False)


@pytest.mark.parametrize("make", [streamed, iterated])
def test_memory_does_not_grow_with_the_images(stored, make):
    evaluated(make, stored, FEW)  # Fills caches.
    few, many = (peak(partial(evaluated, make, stored, count)) for count in (FEW, MANY))
    assert many - few < MOST_GROWTH


def test_the_measure_sees_what_grows(stored, monkeypatch):
    """With all images in one block memory grows by what a recording holds of each."""
    monkeypatch.setattr(module, "SAMPLES_AT_ONCE", MANY)
    few, many = (peak(partial(evaluated, streamed, stored, count)) for count in (FEW, MANY))
    assert many - few > 10 * MOST_GROWTH


# ---------------------------------------------------------------------------- files


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("fortran", [False, True])
def test_streamed_images_are_those_that_are_read(tmp_path, dtype, fortran):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 256, (6000, 3, 4)).astype(dtype) / (1 if dtype == np.uint8 else 255)
    values = values.astype(dtype)
    np.save(tmp_path / "x.npy", np.asfortranarray(values) if fortran else values)
    whole, streamed = (load_images(tmp_path / "x.npy", stream=each) for each in (False, True))
    assert isinstance(streamed.pixels, Decoded)
    assert (streamed.about, streamed.low, streamed.high) == (whole.about, whole.low, whole.high)
    np.testing.assert_array_equal(streamed.pixels, whole.pixels)
    np.testing.assert_array_equal(streamed.pixels[17:5000:3], whole.pixels[17:5000:3])
    np.testing.assert_array_equal(streamed.planes(), whole.planes())
    np.testing.assert_array_equal(streamed.take(5).pixels, whole.pixels[:5])
    assert streamed.take(5).about == whole.take(5).about
    assert streamed.pixels.dtype == np.float32


def test_streamed_images_are_refused_as_read_ones_are(tmp_path):
    values = np.zeros((9000, 4), np.float32)
    values[8000, 1] = np.inf
    np.save(tmp_path / "x.npy", values)
    for stream in (False, True):
        with pytest.raises(InputError, match="got 1 that are NaN or infinite, the first in image"):
            load_images(tmp_path / "x.npy", stream=stream)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"144000 bytes of float32 .* were written, 143999 are"):
        load_images(tmp_path / "x.npy", stream=True)


def test_evaluate_on_the_command_line_streams(tmp_path, capsys, monkeypatch):
    save_artifact(NETWORK, IMAGES[:2], tmp_path / "toy.onnx")
    low, high = NETWORK.input.low, NETWORK.input.high
    images = (IMAGES * 1.25).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    given = []
    monkeypatch.setattr(module, "evaluate", lambda *a, **k: given.append(a[1]) or evaluate(*a, **k))
    command = ("evaluate", tmp_path / "toy.onnx", "-i", tmp_path / "x.npy", "--steps", 2, "--clip")
    code, out, err = run_cli(capsys, *command, "--engine", "reference", "--json", "-")
    assert code == 0, err
    assert isinstance(given[0], Decoded)
    stray = int(((images < low) | (images > high)).sum())
    assert f"; {stray:,} of {images.size:,} values clipped" in err
    wanted = evaluate(NETWORK, np.clip(images, low, high), steps=2, engine="reference")
    assert f'"mse": {wanted.mse[-1]!r}' in out


# ---------------------------------------------------------------------------- parts


def test_results_come_in_order_as_soon_as_they_can():
    late = iter([(2, "c"), (0, "a"), (1, "b"), (4, "e"), (3, "d")])
    ordered = in_order(late)
    assert next(ordered) == "a"
    assert list(ordered) == ["b", "c", "d", "e"]


def test_blocks_begin_where_they_are_asked_to():
    declared = Input(size=3, low=0.0, high=1.0, frac_bits=8)
    images = np.linspace(0, 1, 33).reshape(11, 3)
    for sizes in ((), (4,), (1, 1, 1, 7)):
        source = Source(declared, parts(images, *sizes))
        found = list(source.blocks(4, 2))
        assert [len(block) for block in found] == [2, 4, 4, 1]
        np.testing.assert_array_equal(np.concatenate(found)[:, 0], images)


def test_variances_of_blocks_are_those_of_all():
    rng = np.random.default_rng(2)
    images = rng.normal(3.0, 1.0, (200, 2, 7))
    variances = Variances()
    for part in np.split(images, [1, 50, 51]):
        variances.add(part)
    wanted = ((images - images.mean(axis=0)) ** 2).sum(axis=(0, 2)) / len(images)
    # Each of some hundred sums of squares of up to 50 rounds by 2**-53.
    np.testing.assert_allclose(variances.found, wanted, rtol=1e-11)
    same = np.broadcast_to(images[:1], images.shape)
    assert frame_variances(same).tolist() == [0.0, 0.0]
