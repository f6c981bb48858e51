"""Folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pvae_neuro.data import load_images
from pvae_neuro.data.pictures import read_picture
from pvae_neuro.errors import InputError

Image = pytest.importorskip("PIL.Image")


def write(path: Path, array: np.ndarray, **options: object) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return array


def random_bytes(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "PNG"])
def test_pictures_are_read_exactly(tmp_path: Path, suffix: str) -> None:
    grey = write(tmp_path / f"a.{suffix}", random_bytes(0, 4, 5))
    colour = write(tmp_path / f"b.{suffix}", random_bytes(1, 4, 5, 3))
    assert np.array_equal(read_picture(tmp_path / f"a.{suffix}"), grey / np.float32(255))
    expected = colour.transpose(2, 0, 1) / np.float32(255)
    assert np.array_equal(read_picture(tmp_path / f"b.{suffix}"), expected)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_kept(tmp_path: Path, suffix: str) -> None:
    deep = np.array([[0, 1, 65535], [300, 40000, 256]], np.uint16)
    write(tmp_path / f"a.{suffix}", deep)
    assert np.array_equal(read_picture(tmp_path / f"a.{suffix}"), deep / np.float32(65535))
    assert read_picture(tmp_path / f"a.{suffix}", (2, 2)).shape == (2, 2)


def test_jpeg_and_other_modes_are_read(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    write(tmp_path / "a.jpg", smooth, quality=95)
    assert np.abs(read_picture(tmp_path / "a.jpg") - smooth / 255).max() < 0.03
    Image.fromarray(random_bytes(0, 4, 4, 4), "RGBA").save(tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").shape == (3, 4, 4)
    Image.fromarray(random_bytes(0, 4, 4) > 99).save(tmp_path / "c.png")
    assert set(np.unique(read_picture(tmp_path / "c.png"))) == {0.0, 1.0}
    real = np.array([[-1.5, 2.25]], np.float32)
    write(tmp_path / "d.tif", real)
    assert np.array_equal(read_picture(tmp_path / "d.tif"), real)


def test_the_orientation_of_photographs_is_heeded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = write(tmp_path / "a.png", random_bytes(0, 4, 5), exif=exif)
    assert np.array_equal(read_picture(tmp_path / "a.png"), np.rot90(turned, -1) / np.float32(255))


def test_a_folder_is_divided_by_its_seed(tmp_path: Path) -> None:
    for place in range(20):
        write(tmp_path / "pictures" / f"{place:02d}.png", np.full((3, 4), place, np.uint8))
    folder = f"{tmp_path}/pictures/"

    def values(split: str, seed: int) -> list[int]:
        loaded = load_images(folder, split=split, seed=seed)
        assert loaded.image_shape == (3, 4)
        assert (loaded.low, loaded.high, loaded.name) == (0.0, 1.0, "pictures")
        return (loaded.pixels[:, 0] * 255).round().astype(int).tolist()

    for seed in (0, 1):
        train, test = values("train", seed), values("test", seed)
        assert len(test) == 2
        assert sorted(train + test) == list(range(20))
        assert train == sorted(train)
        assert values("test", seed) == test
    assert values("test", 0) != values("test", 1)
    assert len(load_images(folder, limit=3).pixels) == 3


def test_train_and_test_folders_are_the_parts(tmp_path: Path) -> None:
    write(tmp_path / "train" / "cats" / "a.png", np.full((2, 2), 51, np.uint8))
    with pytest.raises(InputError, match="has a folder 'train' but none named 'test'"):
        load_images(str(tmp_path))
    write(tmp_path / "test" / "a.bmp", np.full((2, 2), 255, np.uint8))
    (tmp_path / "test" / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "test" / "notes.txt").write_text("no image")
    assert load_images(str(tmp_path)).pixels.tolist() == [[np.float32(0.2)] * 4]
    assert load_images(str(tmp_path), split="test").pixels.tolist() == [[1.0] * 4]


def test_the_first_that_differs_in_size_is_named(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / part / "a.png", random_bytes(0, 6, 4))
        write(tmp_path / part / "b.png", random_bytes(1, 8, 4))
    with pytest.raises(
        InputError, match=r"b\.png: expected 6x4 .* in a\.png, got 8x4; give a size"
    ):
        load_images(str(tmp_path))
    loaded = load_images(str(tmp_path), size=(3, 2))
    assert (loaded.image_shape, loaded.pixels.shape) == ((3, 2), (2, 6))
    with pytest.raises(InputError, match="size: expected pixels"):
        load_images(str(tmp_path), size=(3, 0))


def test_grey_among_colour_gets_three_channels(tmp_path: Path) -> None:
    for part in ("train", "test"):
        grey = write(tmp_path / part / "a.png", random_bytes(0, 2, 3))
        write(tmp_path / part / "b.png", random_bytes(1, 2, 3, 3))
    loaded = load_images(str(tmp_path))
    assert loaded.image_shape == (3, 2, 3)
    assert np.array_equal(loaded.pixels[0], np.tile(grey.ravel(), 3) / np.float32(255))


def test_size_crops_about_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 255
    write(tmp_path / "a.png", wide)
    assert read_picture(tmp_path / "a.png", (4, 4)).min() == 1.0
    assert read_picture(tmp_path / "a.png", (2, 2)).tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_unfit_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no images; expected files that end in \.bmp"):
        load_images(str(tmp_path))
    with pytest.raises(InputError, match="an existing folder of images"):
        load_images(str(tmp_path / "absent") + "/")
    write(tmp_path / "a.png", random_bytes(0, 2, 3))
    with pytest.raises(InputError, match="at least 2 different images"):
        load_images(str(tmp_path))
    with pytest.raises(InputError, match="seed: expected 0 to"):
        load_images(str(tmp_path), seed=-1)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"II*\0\x08\0\0\0\xff\xff"]
)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_damaged_pictures_are_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.{suffix}: cannot be read as an image"):
        read_picture(tmp_path / f"a.{suffix}")


def test_cut_off_pictures_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.png", random_bytes(0, 40, 40))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:700])
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image"):
        read_picture(tmp_path / "a.png")


def test_stacks_of_pages_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(random_bytes(n, 3, 3)) for n in range(2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=r"a\.tif: holds 2 pages; expected one"):
        read_picture(tmp_path / "a.tif")


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", np.array([[np.nan]], np.float32))
    with pytest.raises(InputError, match=r"a\.tif: expected finite values"):
        read_picture(tmp_path / "a.tif")
