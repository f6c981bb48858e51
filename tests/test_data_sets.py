"""Named sets, through torchvision's own classes, from tiny files in the layout of the real ones."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pvae_neuro.data import load_images
from pvae_neuro.errors import InputError

pytest.importorskip("torchvision", reason="reads torchvision's data sets")
from torchvision import datasets

RNG = np.random.default_rng(0)


def random_bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape[0]).integers(256, size=shape, dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def write_idx(path: Path, array: np.ndarray) -> None:
    """The format of MNIST: type, number of axes, lengths (big endian), bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(length.to_bytes(4, "big") for length in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


IDX = {
    "mnist": ("MNIST", "t10k", "train"),
    "fashion-mnist": ("FashionMNIST", "t10k", "train"),
    "kmnist": ("KMNIST", "t10k", "train"),
    "emnist": ("EMNIST", "emnist-balanced-test", "emnist-balanced-train"),
}


def write_mnist_like(root: Path, name: str, prefix: int) -> tuple[np.ndarray, np.ndarray]:
    folder = root / IDX[name][0] / "raw"
    images, labels = random_bytes(4, 28, 28), np.array([3, 1, 2, 9], np.uint8)
    for stem in IDX[name][1:]:
        write_idx(folder / f"{stem}-images-idx3-ubyte", images)
        write_idx(folder / f"{stem}-labels-idx1-ubyte", labels)
    return images, labels


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", IDX)
def test_sets_like_mnist_are_read(tmp_path: Path, name: str, split: str) -> None:
    images, labels = write_mnist_like(tmp_path, name, 0)
    loaded = load_images(name, tmp_path, split)
    upright = images.transpose(0, 2, 1) if name == "emnist" else images
    assert np.array_equal(loaded.pixels, upright.reshape(4, -1) / np.float32(255))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == labels.tolist()
    assert loaded.image_shape == (28, 28)


def test_pickled_leftovers_of_old_versions_are_never_opened(tmp_path: Path, monkeypatch) -> None:
    write_mnist_like(tmp_path, "kmnist", 0)
    (tmp_path / "KMNIST" / "processed").mkdir()
    for part in ("training", "test"):
        (tmp_path / "KMNIST" / "processed" / f"{part}.pt").write_bytes(b"anything")
    assert len(load_images("kmnist", tmp_path).pixels) == 4


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03" + bytes(30), b"text" * 9])
def test_damaged_files_are_told_from_absent_ones(tmp_path: Path, content: bytes) -> None:
    write_mnist_like(tmp_path, "mnist", 0)
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(InputError, match=r"'mnist': files below .* are incomplete or damaged"):
        load_images("mnist", tmp_path)


def test_svhn_is_read(tmp_path: Path, monkeypatch) -> None:
    from scipy.io import savemat

    images = random_bytes(3, 3, 32, 32)
    for part in ("train", "test"):
        path = tmp_path / f"{part}_32x32.mat"
        labels = np.array([[10], [1], [7]], np.uint8)
        savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": labels})
        monkeypatch.setitem(datasets.SVHN.split_list, part, ["", path.name, md5(path)])
    loaded = load_images("svhn", tmp_path, "test")
    assert loaded.image_shape == (3, 32, 32)
    assert np.array_equal(loaded.pixels, images.reshape(3, -1) / np.float32(255))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 1, 7]


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def write_cifar(root: Path, monkeypatch, batch: Any, files: int = 2) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    lists: dict[str, list[list[str]]] = {"train_list": [], "test_list": []}
    for place in range(files):
        path = folder / f"data_batch_{place}"
        path.write_bytes(batch if isinstance(batch, bytes) else pickle.dumps(batch, protocol=3))
        for files_of_part in lists.values():
            files_of_part.append([path.name, md5(path)])
    for name, value in lists.items():
        monkeypatch.setattr(datasets.CIFAR10, name, value)


@pytest.mark.parametrize("as_bytes", [True, False])
def test_cifar_is_read(tmp_path: Path, monkeypatch, as_bytes: bool) -> None:
    images = random_bytes(2, 3072)
    batch: dict[Any, Any] = {"data": images, "labels": [4, 9], "batch_label": "x"}
    if as_bytes:
        batch = {key.encode(): value for key, value in batch.items()}
    write_cifar(tmp_path, monkeypatch, batch)
    loaded = load_images("cifar10", tmp_path)
    assert loaded.image_shape == (3, 32, 32)
    assert np.array_equal(loaded.pixels, np.tile(images, (2, 1)) / np.float32(255))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [4, 9, 4, 9]


def test_cifar_as_python_2_pickled_it_is_read(tmp_path: Path, monkeypatch) -> None:
    # Protocol 2 of Python 2: texts and array contents are byte strings (opcodes U and T).
    pixels = bytes(range(256)) * 12
    batch = (
        b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray"
        b"\nq\x03K\x00\x85U\x01b\x87Rq\x04(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x05U\x02u1K\x00"
        b"K\x01\x87Rq\x06(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x0c"
        b"\x00\x00" + pixels + b"tbU\x06labelsq\x07]q\x08K\x06au."
    )
    write_cifar(tmp_path, monkeypatch, batch, files=1)
    loaded = load_images("cifar10", tmp_path)
    assert loaded.pixels[0, :3].tolist() == [0.0, *np.float32([1, 2]) / np.float32(255)]
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [6]


def test_a_batch_that_runs_code_is_refused(tmp_path: Path, monkeypatch) -> None:
    trap = tmp_path / "trap"
    write_cifar(tmp_path, monkeypatch, {"data": Malicious(trap)})
    with pytest.raises(InputError, match=r"data_batch_0.*mkdir, which is not allowed"):
        load_images("cifar10", tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "batch",
    [
        [],
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1]},
        {"data": np.zeros((2, 3071), np.uint8), "labels": [1, 2]},
        {"data": np.zeros((1, 3072)), "labels": [1]},
        b"text",
        b"",
    ],
)
def test_unfit_batches_are_refused(tmp_path: Path, monkeypatch, batch: Any) -> None:
    write_cifar(tmp_path, monkeypatch, batch)
    with pytest.raises(InputError, match=r"data_batch_0.*get the data set again"):
        load_images("cifar10", tmp_path)


def test_changed_batches_are_noticed(tmp_path: Path, monkeypatch) -> None:
    write_cifar(tmp_path, monkeypatch, [])
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"changed")
    monkeypatch.setattr(datasets.CIFAR10, "train_list", datasets.CIFAR10.train_list[1:])
    with pytest.raises(InputError, match=r"incomplete or damaged \(data_batch_1.*MD5"):
        load_images("cifar10", tmp_path)


@pytest.fixture
def faces(tmp_path: Path, monkeypatch) -> tuple[Path, list[np.ndarray]]:
    """Five faces, three to train on and two to test on, with all of CelebA's lists."""
    from PIL import Image

    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{place:06d}.png" for place in range(5)]
    pictures = [np.kron(random_bytes(3 + n, 6, 3), np.ones((3, 3, 1), np.uint8)) for n in range(5)]
    pictures = [np.ascontiguousarray(p[:12, :9]) for p in pictures]
    for name, picture in zip(names, pictures, strict=True):
        height = np.full((20, 18, 3), 99, np.uint8)
        height[1:19] = np.resize(picture, (18, 18, 3))
        Image.fromarray(height).save(folder / "img_align_celeba" / name)
    parts = [0, 0, 0, 2, 2]
    attributes = ["1 -1", "-1 1", "1 1", "-1 -1", "1 1"]
    lists = {
        "list_eval_partition.txt": [f"{n} {p}" for n, p in zip(names, parts, strict=True)],
        "identity_CelebA.txt": [f"{n} 7" for n in names],
        "list_attr_celeba.txt": ["5", "Male Smiling"]
        + [f"{n}  {a}" for n, a in zip(names, attributes, strict=True)],
        "list_bbox_celeba.txt": ["5", "image_id x"] + [f"{n} 1" for n in names],
        "list_landmarks_align_celeba.txt": ["5", "lefteye_x"] + [f"{n} 1" for n in names],
    }
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    sums = [("", md5(folder / name), name) for name in lists]
    monkeypatch.setattr(datasets.CelebA, "file_list", sums)
    return tmp_path, pictures


def test_celeba_is_cropped_and_resized(faces: tuple[Path, list[np.ndarray]]) -> None:
    root, pictures = faces
    loaded = load_images("celeba", root, "train", size=18)
    assert loaded.image_shape == (3, 18, 18)
    # The grey rows above and below lie outside the central square.
    expected = np.resize(pictures[0], (18, 18, 3)).transpose(2, 0, 1).reshape(-1)
    assert np.array_equal(loaded.pixels[0], expected / np.float32(255))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 1, 1]
    assert load_images("celeba", root, "test").image_shape == (3, 128, 128)
    assert load_images("celeba", root, "test", size=(4, 8), limit=1).pixels.shape == (1, 96)


def test_faces_that_do_not_fit_the_memory_are_refused(
    faces: tuple[Path, list[np.ndarray]],
) -> None:
    with pytest.raises(InputError, match=r"celeba: 3 faces of 128x128: needs .*as asked"):
        load_images("celeba", faces[0], max_memory=10_000)


def test_a_missing_face_is_an_error(faces: tuple[Path, list[np.ndarray]]) -> None:
    (faces[0] / "celeba" / "img_align_celeba" / "000001.png").unlink()
    with pytest.raises(InputError, match=r"'celeba'.*incomplete or damaged.*000001\.png"):
        load_images("celeba", faces[0], size=4)
    with pytest.raises(InputError, match="size: expected pixels"):
        load_images("celeba", faces[0], size=0)


def test_omniglot_is_read(tmp_path: Path, monkeypatch) -> None:
    from PIL import Image

    folder = tmp_path / "omniglot-py"
    sums = {}
    for part in ("images_background", "images_evaluation"):
        for character in ("character01", "character02"):
            where = folder / part / "Latin" / character
            where.mkdir(parents=True)
            drawn = np.full((105, 105), 255, np.uint8)
            drawn[:, :53] = 0
            Image.fromarray(drawn).save(where / "01.png")
        (folder / f"{part}.zip").write_bytes(b"")
        sums[part] = md5(folder / f"{part}.zip")
    monkeypatch.setattr(datasets.Omniglot, "zips_md5", sums)
    loaded = load_images("omniglot", tmp_path)
    assert loaded.pixels.shape == (2, 784)
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 1]
    # Ink is bright.
    assert loaded.pixels.reshape(2, 28, 28)[0, 14, [2, -2]].tolist() == [1.0, 0.0]
