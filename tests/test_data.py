from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pvae_neuro.data import load_images, make_images
from pvae_neuro.data.named_sets import NAMED_SETS
from pvae_neuro.errors import InputError
from pvae_neuro.utils.suggest import suggest

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no data at {SHARED}")


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_bytes_are_scaled_and_flattened(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 11
    path = save(tmp_path / "a.npz", images=images, labels=np.array([4, 7], np.int16))
    loaded = load_images(str(path))
    assert loaded.pixels.dtype == np.float32
    assert np.array_equal(loaded.pixels, (images.reshape(2, 12) / np.float32(255)))
    assert (loaded.low, loaded.high, loaded.image_shape) == (0.0, 1.0, (3, 4))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [4, 7]
    assert loaded.name == "a.npz"


def test_signed_values_declare_a_symmetric_range(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[-3.0, 1.0], [2.0, 0.5]], dtype=np.float16))
    loaded = load_images(str(tmp_path / "a.npy"))
    assert (loaded.low, loaded.high, loaded.image_shape) == (-3.0, 3.0, None)
    assert loaded.labels is None


def test_split_and_key_choose_the_array(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", train=np.zeros((2, 4)), test=np.ones((3, 4)))
    assert len(load_images(str(path)).pixels) == 2
    assert len(load_images(str(path), split="test").pixels) == 3
    assert len(load_images(str(path), key="test").pixels) == 3
    with pytest.raises(InputError, match=r"'absent'.*\['train', 'test'\]"):
        load_images(str(path), key="absent")
    path = save(tmp_path / "b.npz", a=np.zeros((2, 4)), z=np.ones((3, 4)))
    with pytest.raises(InputError, match=r"\['a', 'z'\]: choose one by its key"):
        load_images(str(path))
    path = save(tmp_path / "c.npz", only=np.zeros((2, 4)))
    assert len(load_images(str(path)).pixels) == 2


@pytest.mark.parametrize(("channels", "shape"), [(1, (4, 5)), (3, (3, 4, 5))])
def test_channels_come_first(tmp_path: Path, channels: int, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(256, size=(2, channels, 4, 5), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    loaded = load_images(str(tmp_path / "a.npy"))
    assert loaded.image_shape == shape
    assert np.array_equal(loaded.pixels, images.reshape(2, -1) / np.float32(255))


def test_limit_takes_the_first(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=np.arange(12.0).reshape(3, 4) / 11, labels=np.arange(3))
    loaded = load_images(str(path), limit=2)
    assert loaded.pixels.shape == (2, 4)
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 1]
    assert len(load_images(str(path), limit=9).pixels) == 3


def test_a_file_declares_the_range_of_all_its_parts(tmp_path: Path) -> None:
    parts = {"train": np.array([[-1.0, 2.0]]), "test": np.array([[-3.0, 0.0]])}
    path = save(tmp_path / "a.npz", **parts, range=np.array([-3.0, 3.0]))
    for split in parts:
        assert load_images(str(path), split=split).low == -3.0
        assert load_images(str(path), split=split).high == 3.0
    for wrong in ([-1.0, 1.0], [3.0, -3.0], [3.0], ["a", "b"]):
        path = save(tmp_path / "b.npz", **parts, range=np.array(wrong))
        with pytest.raises(InputError, match=r"b\.npz: its array 'range' must be \[low, high\]"):
            load_images(str(path))


def test_suggestions_name_the_nearest() -> None:
    assert suggest("minst", ["mnist", "svhn"]) == "; did you mean 'mnist'?"
    assert suggest("IPVEA", ["ipvae", "ivae"]) == "; did you mean 'ipvae' or 'ivae'?"
    assert suggest("CIFAR", ["cifar10", "celeba"]) == "; did you mean 'cifar10'?"
    assert suggest("zzz", ["b", "a"]) == "; known: b, a"
    assert suggest("zzz", []) == "; known: none"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 4)), "expected numbers of shape"),
        (np.zeros(4), "expected numbers of shape"),
        (np.zeros((2, 4, 5, 3)), r"C 1 or 3, got \[2, 4, 5, 3\]; colours come first.*layout NHWC"),
        (np.zeros((2, 2, 4, 5)), r"C 1 or 3, got \[2, 2, 4, 5\]$"),
        (np.zeros((2, 1, 3, 4, 5)), "expected numbers of shape"),
        (np.array([["a"]]), "real numbers"),
        (np.array([[0.0, np.nan]]), "got 1 that are NaN or infinite, the first in image 0"),
        (np.array([[{}]], dtype=object), "plain numbers"),
    ],
)
def test_unfit_arrays_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        load_images(str(tmp_path / "a.npy"))


def test_unfit_labels_are_left_out_and_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=np.zeros((2, 4)), labels=np.zeros(3, int))
    loaded = load_images(path)
    assert loaded.labels is None
    assert "labels 'labels' are left out, int64 [3] for 2 images" in loaded.about
    with pytest.raises(InputError, match="expected 2 integer labels"):
        make_images(np.zeros((2, 4)), np.zeros(3, int))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00", b"text"])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="NumPy file"):
        load_images(str(tmp_path / name))


def test_absent_data_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_images(str(tmp_path / "a.npy"))
    with pytest.raises(InputError, match=r"existing folder.*\.npz.*did you mean 'cifar10'"):
        load_images("cifar")
    with pytest.raises(InputError, match=r"did you mean 'mnist' or .*'\?$"):
        load_images("Minst")
    with pytest.raises(InputError, match=r"known: mnist, fashion-mnist.*, celeba, python-topics$"):
        load_images("zzz")
    with pytest.raises(InputError, match="limit: expected at least 1"):
        load_images("mnist", limit=0)
    with pytest.raises(InputError, match="size: only pictures"):
        load_images("mnist", size=8)
    with pytest.raises(InputError, match="split"):
        load_images("mnist", split="validation")


@pytest.mark.parametrize("name", NAMED_SETS)
def test_absent_named_sets_say_how_to_get_them(tmp_path: Path, name: str) -> None:
    pytest.importorskip("torchvision", reason="reads torchvision's data sets")
    with pytest.raises(InputError, match=r"Give the right data folder.*download=True"):
        load_images(name, tmp_path)


@needs_shared
def test_digits_are_read() -> None:
    pytest.importorskip("torchvision", reason="reads torchvision's data sets")
    digits = load_images("mnist", SHARED, split="test")
    assert digits.pixels.shape == (10_000, 784)
    assert (digits.low, digits.high, digits.image_shape) == (0.0, 1.0, (28, 28))
    assert digits.labels is not None
    assert digits.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert 0.12 < float(digits.pixels.mean()) < 0.14


@needs_shared
def test_patches_and_characters_are_read() -> None:
    patches = load_images(str(SHARED / "natural16_whitened.npz"), split="test")
    assert patches.pixels.shape == (5000, 256)
    assert patches.low == -patches.high
    characters = load_images(str(SHARED / "omniglot_small1.npz"), split="test")
    assert characters.pixels.shape == (2720, 784)
    assert characters.labels is not None


def test_reading_a_file_imports_numpy_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 4)))
    others = ["torch", "onnx", "scipy", "PIL", "pvae_neuro.data.feeders"]
    code = (
        "import sys; from pvae_neuro.data import load_images; "
        f"load_images({str(tmp_path / 'a.npy')!r}); assert not set({others}) & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
