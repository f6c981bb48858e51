"""Inputs that people have: read as they are meant, or refused in one line that says why."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases_tools import CASES, case_folder
from cli_tools import run_cli

from pvae_neuro.data import load_images
from pvae_neuro.errors import InputError
from pvae_neuro.network import Input

DIGITS = CASES.parent / "data"
MODEL = Input(784, 0.0, 1.0, 14, (28, 28))


@pytest.fixture
def cli(capsys):
    return partial(run_cli, capsys)


@pytest.fixture(scope="module")
def predictive(tmp_path_factory) -> Path:
    """The export of the shipped model."""
    from pvae_neuro.export import export_model
    from pvae_neuro.exporters.quantize import QuantizeConfig
    from pvae_neuro.saved.model_file import load_model
    from pvae_neuro.zoo import sample_digits

    path = tmp_path_factory.mktemp("exported") / "pred.onnx"
    export_model(
        load_model("mnist"), path, sample_digits()[0][:20], QuantizeConfig("predictive"),
        stability_steps=20, accept=True,
    )  # fmt: skip
    return path


@pytest.fixture
def figures(cli, predictive: Path, tmp_path: Path):
    """Exit code, squared error and stderr of ``run`` on a file, and the counts that it wrote."""

    def run(source: Path, *options: object) -> tuple[int, Any, str]:
        out = tmp_path / "o.npz"
        out.unlink(missing_ok=True)
        code, _, err = cli("run", predictive, "-i", source, "-o", out, "-t", 2, *options)
        if not out.is_file():
            return code, None, err
        with np.load(out) as written:
            return code, written["counts"], err

    return run


def refusal(source: Path, **options: Any) -> str:
    with pytest.raises(InputError) as refused:
        load_images(source, **options)
    return str(refused.value)


def test_binarized_bytes_are_refused_until_told(figures) -> None:
    folder = case_folder("scale_uint8_01")
    code, written, err = figures(folder / "bin01_uint8.npy")
    assert (code, written) == (2, None)
    assert "bin01_uint8.npy: uint8 values from 0 to 1 may be dark pictures, or classes" in err
    assert "--scale" in err
    told, expected = (
        figures(folder / "bin01_uint8.npy", "--scale", 1)[1],
        figures(folder / "bin01_float.npy")[1],
    )
    assert np.array_equal(told, expected)


def test_float_bytes_are_refused_until_told(cli, tmp_path: Path) -> None:
    path = case_folder("scale_float_0_255") / "x255_float32.npy"
    code, _, err = cli("train", "--dataset", path, "-o", tmp_path / "m.safetensors")
    assert code == 2
    assert "float32 values from 0 to 255: expected values in [0, 1]" in err
    assert "255 for bytes" in err
    assert list(tmp_path.iterdir()) == []
    assert load_images(path, scale=255).high == 1.0
    assert load_images(path, scale=1).pixels.max() == 255.0


def test_16_bit_numbers_are_refused_until_told_as_in_pictures(tmp_path: Path) -> None:
    path = case_folder("scale_uint16") / "x255_uint16.npy"
    assert "uint16 values from 0 to 255 may be dark pictures" in refusal(path)
    bytes_ = np.load(path).astype(np.uint8)
    np.save(tmp_path / "bytes.npy", bytes_)
    told = load_images(path, scale=255).pixels
    assert np.array_equal(told, load_images(tmp_path / "bytes.npy").pixels)
    # Numbers that use their bits are divided by white, in arrays and in pictures.
    deep = bytes_.astype(np.uint16) * 257
    np.save(tmp_path / "deep.npy", deep)
    assert np.array_equal(load_images(tmp_path / "deep.npy").pixels, told)
    image = pytest.importorskip("PIL.Image", reason="pictures need Pillow")
    image.fromarray(deep[0]).save(tmp_path / "deep.png")
    image.fromarray(np.load(path)[0]).save(tmp_path / "dark.png")
    assert np.array_equal(load_images(tmp_path / "deep.png").pixels, told[:1])
    assert "white" in refusal(tmp_path / "dark.png")


def test_another_shape_of_as_many_pixels_is_refused(cli, figures) -> None:
    path = case_folder("layout_14x56") / "n_14_56.npy"
    code, written, err = figures(path)
    assert (code, written) == (2, None)
    assert "[8, 1, 14, 56]; as many pixels in another shape would be other pictures" in err
    code, _, err = cli("evaluate", "mnist", "-i", path, "-t", 2)
    assert code == 2
    assert "as many pixels in another shape" in err


def test_matlabs_order_is_refused_until_told(cli, tmp_path: Path) -> None:
    path = case_folder("layout_matlab_images") / "IMAGES_64x64x10.npy"
    code, _, err = cli(
        "train", "--dataset", path, "-o", tmp_path / "m.safetensors", "--batch-size", 16
    )
    assert code == 2
    assert "[64, 64, 10] may be 64 images of 64x10, or 10 images of 64x64" in err
    assert "--layout" in err
    stored = np.load(path)
    told = load_images(path, layout="HWN")
    assert (len(told.pixels), told.image_shape) == (10, (64, 64))
    assert np.array_equal(told.pixels[3].reshape(64, 64), stored[:, :, 3].astype(np.float32))
    assert load_images(path, layout="NHW").image_shape == (64, 10)


def test_run_and_evaluate_read_the_whole_folder(cli, figures) -> None:
    pytest.importorskip("PIL", reason="pictures need Pillow")
    folder = case_folder("run_folder_tenth") / "tenpng"
    _, written, err = figures(folder)
    assert len(written) == 10
    assert "10 pictures, all of the folder" in err
    _, part, err = figures(folder, "--split", "test")
    assert len(part) == 1
    assert "1 picture, the test part (1 of 10 files, drawn by seed 0" in err
    code, out, err = cli("evaluate", "mnist", "--dataset", folder, "-t", 2, "--json", "-")
    assert code == 0
    assert '"samples": 10' in out
    assert "10 pictures, all of the folder" in err


@pytest.mark.parametrize(
    ("name", "file", "images", "labels", "counts"),
    [
        ("npz_keras", "keras_mnist.npz", "x_{}", "y_{}", (8, 4)),
        ("npz_medmnist", "medmnist.npz", "{}_images", "{}_labels", (8, 4)),
        ("npz_data_target", "data_target.npz", "data", "target", (8, 8)),
    ],
)
def test_archives_of_other_libraries_are_read(
    figures, name: str, file: str, images: str, labels: str, counts: tuple[int, int]
) -> None:
    path = case_folder(name) / file
    with np.load(path) as stored:
        for split, count in zip(("train", "test"), counts, strict=True):
            loaded = load_images(path, split=split)
            expected = stored[images.format(split)].reshape(count, 784)
            divisor = 255 if expected.dtype == np.uint8 else 1
            assert np.array_equal(loaded.pixels, expected / np.float32(divisor))
            assert loaded.labels is not None
            assert loaded.labels.tolist() == stored[labels.format(split)].ravel().tolist()
    key = images.format("train")
    _, written, err = figures(path, "--key", key)
    assert len(written) == counts[0]
    assert f"array {key!r}" in err


def test_training_images_are_not_taken_for_test_images(cli) -> None:
    path = case_folder("npz_train_as_test") / "train_only.npz"
    command = ("evaluate", "mnist", "--dataset", path, "-t", 2)
    code, _, err = cli(*command)
    assert code == 2
    assert "expected images of the part 'test', got 'train' images alone" in err
    assert "the split 'train'" in err
    assert "(--split PART" in err
    code, _, err = cli(*command, "--split", "train")
    assert code == 0
    assert "array 'train'" in err
    assert "got 'train' images alone" in refusal(path, split="test")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("range_one_step_over", "one_ulp_over.npy"),
        ("range_tiny_negative", "tiny_negative.npy"),
    ],
)
def test_a_rounding_beyond_the_range_is_clipped_for_floats_and_integers(
    cli, figures, name: str, file: str
) -> None:
    path = case_folder(name) / file
    given = np.load(path).reshape(8, 784)
    assert not 0.0 <= given.min() <= given.max() <= 1.0
    clipped = np.clip(given, 0.0, 1.0)
    for checked in (MODEL.check(given), MODEL.floats(given), load_images(path).pixels):
        assert np.array_equal(checked, clipped)
    assert len(figures(path)[1]) == 8
    assert cli("evaluate", "mnist", "-i", path, "-t", 2)[0] == 0


def test_the_advice_fits_the_values(figures) -> None:
    folder = case_folder("hint_divide_255")
    for file, advice in (
        ("mnist_meanstd.npy", "they look standardized"),
        ("1e-5_over.npy", "they leave it by 1e-05: clip them (--clip)"),
    ):
        code, written, err = figures(folder / file)
        assert (code, written) == (2, None)
        assert advice in err
        assert "255" not in err


def test_replaced_files_are_read_whatever_their_times(tmp_path: Path) -> None:
    case_folder("stale_cache")
    if not (DIGITS / "MNIST").is_dir():
        pytest.skip(f"no digits at {DIGITS}")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        shutil.copy2(DIGITS / "MNIST" / "raw" / name, raw / name)
        (raw / name).chmod(0o644)
    before = load_images("mnist", tmp_path, "test", limit=50)
    path = raw / "t10k-images-idx3-ubyte"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:16] + bytes(255 - value for value in content[16:]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = load_images("mnist", tmp_path, "test", limit=50)
    inverted = np.rint(255 - before.pixels * 255).astype(np.uint8) / np.float32(255)
    assert np.array_equal(after.pixels, inverted)
