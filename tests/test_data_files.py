"""Files of images in other formats: IDX, MATLAB, van Hateren's photographs, N-MNIST's events."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pvae_neuro.data import load_images
from pvae_neuro.data.contents import Request
from pvae_neuro.data.events import count_events
from pvae_neuro.data.matlab import read_mat_file
from pvae_neuro.data.van_hateren import read_van_hateren
from pvae_neuro.errors import InputError

DIGITS = Path(__file__).parents[2] / "shared" / "data"


def random_bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape[0]).integers(256, size=shape, dtype=np.uint8)


# ------------------------------------------------------------------------------------------- IDX


def idx(array: np.ndarray, kind: int) -> bytes:
    """The format of MNIST: type, number of axes, lengths and numbers, the largest byte first."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, kind, array.ndim]) + sizes + array.tobytes()


@pytest.mark.parametrize("name", ["a-ubyte", "train-images.idx3-ubyte", "a.IDX", "a.idx.gz"])
def test_an_idx_file_is_read_by_its_name(tmp_path: Path, name: str) -> None:
    images = random_bytes(3, 4, 5)
    content = idx(images, 8)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    loaded = load_images(tmp_path / name)
    assert loaded.image_shape == (4, 5)
    assert np.array_equal(loaded.pixels, images.reshape(3, 20) / np.float32(255))
    assert loaded.about.startswith(f"{name}: 3 grey images of 4x5 (height x width); uint8 divided")


@pytest.mark.parametrize(
    ("kind", "dtype"), [(9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_numbers_of_every_type(tmp_path: Path, kind: int, dtype: str, ending: str) -> None:
    values = np.array([[-100.0, 0.0, 77.0], [3.0, -4.0, 5.0]]).astype(dtype)
    content = idx(values, kind)
    path = tmp_path / f"a.idx{ending}"
    path.write_bytes(gzip.compress(content) if ending else content)
    assert load_images(path).pixels.tolist() == values.tolist()


@pytest.mark.parametrize("spelling", ["{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_named_sets_need_numpy_alone(tmp_path: Path, spelling: str, ending: str) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    images, labels = random_bytes(6, 28, 28), np.arange(6, dtype=np.uint8)
    for part, rows in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        for kind, axes, array in (("images", 3, images), ("labels", 1, labels)):
            content = idx(array[rows], 8)
            path = raw / (spelling.format(part, kind, axes) + ending)
            path.write_bytes(gzip.compress(content) if ending else content)
    expected = images.reshape(6, 784) / np.float32(255)
    for split, rows in (("train", slice(0, 4)), ("test", slice(4, 6)), ("all", slice(0, 6))):
        loaded = load_images("fashion-mnist", tmp_path, split)
        assert np.array_equal(loaded.pixels, expected[rows])
        assert loaded.labels is not None
        assert loaded.labels.tolist() == labels[rows].tolist()
        said = "the parts train and test" if split == "all" else f"the {split} part"
        assert f"{said} below {tmp_path}" in loaded.about
    # Without a part that is asked for, the one to test on.
    assert len(load_images("fashion-mnist", tmp_path, None).pixels) == 2


def test_labels_of_another_file_are_refused(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-images-idx3-ubyte").write_bytes(idx(random_bytes(4, 28, 28), 8))
    (raw / "t10k-labels-idx1-ubyte").write_bytes(idx(random_bytes(3), 8))
    with pytest.raises(InputError, match=r"incomplete or damaged \(t10k-images and -labels: exp"):
        load_images("mnist", tmp_path, "test")


def test_all_digits_are_read_as_torchvision_reads_them() -> None:
    if not (DIGITS / "MNIST").is_dir():
        pytest.skip(f"no digits at {DIGITS}")
    datasets = pytest.importorskip("torchvision.datasets", reason="compares with torchvision")
    for split in ("train", "test"):
        loaded = load_images("mnist", DIGITS, split)
        digits = datasets.MNIST(str(DIGITS), train=split == "train", download=False)
        expected = digits.data.numpy().reshape(-1, 784) / np.float32(255)
        assert np.array_equal(loaded.pixels, expected)
        assert loaded.labels is not None
        assert np.array_equal(loaded.labels, digits.targets.numpy())


def test_arrays_are_known_whatever_their_name(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(size=(2, 4)).astype(np.float32)
    with (tmp_path / "digits").open("wb") as file:
        np.save(file, values)
    with (tmp_path / "digits.data").open("wb") as file:
        np.savez(file, images=values)
    for name in ("digits", "digits.data"):
        assert np.array_equal(load_images(tmp_path / name).pixels, values)


# ---------------------------------------------------------------------------------------- MATLAB


@pytest.fixture
def savemat() -> Any:
    return pytest.importorskip("scipy.io", reason="writes MATLAB's files with SciPy").savemat


@pytest.mark.parametrize("compressed", [False, True])
def test_stacks_of_matlab_are_in_its_order(tmp_path: Path, savemat: Any, compressed: bool) -> None:
    images = np.random.default_rng(0).normal(size=(8, 8, 3))
    content = {"IMAGES": images, "note": "text", "count": np.array([[3.0]])}
    savemat(tmp_path / "IMAGES.mat", content, do_compression=compressed)
    loaded = load_images(tmp_path / "IMAGES.mat")
    assert loaded.image_shape == (8, 8)
    expected = images.transpose(2, 0, 1).reshape(3, 64).astype(np.float32)
    assert np.array_equal(loaded.pixels, expected)
    assert "axes of [8, 8, 3] read as HWN, as its format stores them" in loaded.about
    assert "array 'IMAGES'" in loaded.about
    told = load_images(tmp_path / "IMAGES.mat", layout="NHW", key="IMAGES")
    assert told.image_shape == (8, 3)
    with pytest.raises(InputError, match="the limit is 1e-06 GB"):
        load_images(tmp_path / "IMAGES.mat", max_memory=1_000)


def test_colours_and_flat_inputs_of_matlab(tmp_path: Path, savemat: Any) -> None:
    colours = random_bytes(4, 5, 3, 2)
    savemat(tmp_path / "a.mat", {"X": colours})
    loaded = load_images(tmp_path / "a.mat")
    assert loaded.image_shape == (3, 4, 5)
    assert np.array_equal(
        loaded.pixels, colours.transpose(3, 2, 0, 1).reshape(2, 60) / np.float32(255)
    )
    savemat(tmp_path / "b.mat", {"X": colours.reshape(20, 6)})
    assert load_images(tmp_path / "b.mat").pixels.shape == (20, 6)
    assert load_images(tmp_path / "b.mat", layout="MN").pixels.shape == (6, 20)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
def test_numbers_of_matlab_are_read_as_scipy_reads_them(
    tmp_path: Path, savemat: Any, dtype: str, compressed: bool
) -> None:
    import scipy.io

    values = np.random.default_rng(0).integers(0, 100, size=(3, 4, 2)).astype(dtype)
    savemat(tmp_path / "a.mat", {"X": values, "n": 1.0, "s": "t"}, do_compression=compressed)
    contents = read_mat_file(tmp_path / "a.mat", Request(key="X"))
    expected = scipy.io.loadmat(tmp_path / "a.mat")["X"]
    assert np.array_equal(contents.values, expected)
    assert np.array_equal(contents.values, values)
    # SciPy reads truth values as bytes.
    assert contents.values.dtype == values.dtype


@pytest.mark.parametrize("order", ["<", ">"])
def test_doubles_that_matlab_stores_as_bytes(tmp_path: Path, order: str) -> None:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(order + "II", kind, len(data)) + data + bytes(-len(data) % 8)

    body = (
        element(6, struct.pack(order + "II", 6, 0))
        + element(5, struct.pack(order + "ii", 2, 3))
        # Up to four bytes lie within the tag.
        + struct.pack(order + "I", 2 << 16 | 1)
        + b"XY\0\0"
        + element(2, bytes(range(6)))
    )
    version = struct.pack(order + "H", 0x0100) + (b"IM" if order == "<" else b"MI")
    (tmp_path / "a.mat").write_bytes(bytes(124) + version + element(14, body))
    contents = read_mat_file(tmp_path / "a.mat", Request(key="XY"))
    assert contents.values.dtype == np.float64
    assert contents.values.tolist() == [[0, 2, 4], [1, 3, 5]]


def test_files_of_matlab_that_hold_no_images(tmp_path: Path, savemat: Any) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"a": np.ones((2, 4)), "b": np.ones((2, 4)), "s": "text", "c": {"x": 1}})
    with pytest.raises(InputError, match=r"array 'a', f8 \[2, 4\], array 'b'.*by its key"):
        load_images(path)
    for key in ("s", "c", "absent"):
        with pytest.raises(InputError, match=f"no array '{key}'"):
            load_images(path, key=key)
    for content in (b"\x89HDF\r\n\x1a\n", bytes(512) + b"\x89HDF\r\n\x1a\n"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"version 7\.3 \(HDF5\).*'-v7'"):
            load_images(path)
    for content in (b"", b"text", bytes(200), bytes(124) + b"\x00\x01IM" + bytes(99)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.mat: (expected a MATLAB file|no array)"):
            load_images(path)
    with pytest.raises(InputError, match="no such file"):
        load_images(tmp_path / "b.mat")


def test_files_of_matlab_cut_anywhere_are_one_line(tmp_path: Path, savemat: Any) -> None:
    savemat(tmp_path / "whole.mat", {"X": random_bytes(6, 9)}, do_compression=True)
    content = (tmp_path / "whole.mat").read_bytes()
    path = tmp_path / "cut.mat"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.mat: "):
            load_images(path)


# ----------------------------------------------------------------------- van Hateren's photographs


def test_photographs_of_van_hateren(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1 << 16, size=(1024, 1536), dtype=np.uint16)
    (tmp_path / "imk00001.iml").write_bytes(values.astype(">u2").tobytes())
    assert np.array_equal(read_van_hateren(tmp_path / "imk00001.iml"), values)
    # Of luminance nothing says what is white, in one file and in a folder.
    for source in (tmp_path / "imk00001.iml", tmp_path):
        with pytest.raises(InputError, match=r"values from 0 to 65535: .* or a scale to divide by"):
            load_images(source, split="all")
        loaded = load_images(source, split="all", scale=65535)
        assert loaded.image_shape == (1024, 1536)
        assert np.array_equal(loaded.pixels[0], values.ravel() / np.float32(65535))
    for change, found in ((-2, "3,145,726 bytes"), (2, "3,145,730 bytes")):
        (tmp_path / "b.iml").write_bytes(bytes(2 * 1024 * 1536 + change))
        with pytest.raises(InputError, match=f"3,145,728 bytes.*got {found}"):
            load_images(tmp_path / "b.iml")


# ---------------------------------------------------------------------------------- event cameras


def event(column: int, row: int, on: int = 1, time: int = 0) -> bytes:
    return bytes([column, row]) + (on << 23 | time).to_bytes(3, "big")


def test_events_are_counted_by_pixel(tmp_path: Path) -> None:
    path = tmp_path / "00002.bin"
    # A row of 240 marks an overflow of the clock.
    path.write_bytes(
        event(3, 5) + event(3, 5, on=0, time=9) + event(33, 0) + event(0, 33) + event(0, 240)
    )
    counts = count_events(path)
    assert counts.shape == (34, 34)
    assert {(r, c): int(counts[r, c]) for r, c in zip(*np.nonzero(counts), strict=True)} == {
        (5, 3): 2, (0, 33): 1, (33, 0): 1,
    }  # fmt: skip
    loaded = load_images(path, scale=4)
    assert loaded.image_shape == (34, 34)
    assert loaded.pixels[0, 5 * 34 + 3] == 0.5
    with pytest.raises(InputError, match=r"int64 values from 0 to 2: expected values in \[0, 1\]"):
        load_images(path)
    for content in (b"", event(0, 0)[:4], event(34, 0), event(0, 34), event(0, 239)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="expected events of N-MNIST"):
            load_images(path)


def test_folders_of_recordings(tmp_path: Path) -> None:
    for part, number in (("Train", 3), ("Test", 2)):
        for digit in range(2):
            folder = tmp_path / part / str(digit)
            folder.mkdir(parents=True)
            for place in range(number):
                (folder / f"{place}.bin").write_bytes(event(digit, place) * (place + 1))
    for split, count in (("train", 6), ("test", 4), ("all", 10), (None, 4)):
        loaded = load_images(tmp_path, split=split, scale=8)
        assert loaded.pixels.shape == (count, 34 * 34)
        assert loaded.labels is not None
        assert sorted(loaded.labels.tolist()) == [0] * (count // 2) + [1] * (count // 2)
    test = load_images(tmp_path, split="test", scale=8, limit=3)
    assert test.labels is not None
    assert test.labels.tolist() == [0, 0, 1]
    assert [float(row.sum()) for row in test.pixels] == [1 / 8, 2 / 8, 1 / 8]
    assert "the part 'test', 3 of 4 recordings" in test.about
    (tmp_path / "Train").rename(tmp_path / "other")
    with pytest.raises(InputError, match="no part 'train'"):
        load_images(tmp_path, split="train")
