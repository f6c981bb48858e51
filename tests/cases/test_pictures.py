"""Pictures and folders that were read wrongly or in silence."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from cases_tools import case_folder

from pvae_neuro.data import PatchConfig, extract_patches, load_images, save_patches
from pvae_neuro.data.feeders import Sequence
from pvae_neuro.data.pictures import read_picture
from pvae_neuro.errors import InputError

pytest.importorskip("PIL.Image")


def test_exif_png16() -> None:
    case = case_folder("exif_png16")
    upright = np.load(case / "upright.npy")
    expected = np.rot90(upright, -1) / np.float32(255)
    assert np.array_equal(read_picture(case / "l8_o6.png").values, expected)
    deep = read_picture(case / "l16_o6.png")
    # The file holds each byte times 257, so that white is white in both.
    assert np.array_equal(deep.values, np.rot90(upright, -1) * np.float32(257) / np.float32(65535))


def test_tiff_orientation_scrambled() -> None:
    case = case_folder("tiff_orientation_scrambled")
    upright = np.load(case / "upright.npy") / np.float32(255)
    assert np.array_equal(read_picture(case / "hand8_o1.tif").values, upright)
    assert np.array_equal(read_picture(case / "hand8_o6.tif").values, np.rot90(upright, -1))


def test_alpha_black_ink(tmp_path: Path) -> None:
    case = case_folder("alpha_black_ink")
    shutil.copytree(case, tmp_path / "pictures")
    with pytest.raises(InputError, match=r"black_ink_on_transparent\.png: has transparent pixels"):
        load_images(tmp_path / "pictures", split="all")


def test_tiff_white_is_zero_16() -> None:
    case = case_folder("tiff_white_is_zero_16")
    for bits, kind in ((8, np.uint8), (16, "<u2")):
        path = case / f"white0_{bits}.tif"
        data = path.read_bytes()
        height, width, start = (tag(data, number) for number in (257, 256, 273))
        stored = np.frombuffer(data, kind, height * width, start).reshape(height, width)
        white = 2**bits - 1
        expected = (white - stored.astype(np.float32)) / np.float32(white)
        assert np.array_equal(read_picture(path).values, expected)


def tag(data: bytes, number: int) -> int:
    """The first value of a tag of a little-endian TIFF."""
    directory = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, directory)[0]
    entries = [struct.unpack_from("<HHII", data, directory + 2 + 12 * n) for n in range(count)]
    # A short value stands in the lower half of its field.
    return next(
        value & (0xFFFF if kind == 3 else ~0) for tag, kind, _, value in entries if tag == number
    )


def test_palette_grey_3_channels() -> None:
    case = case_folder("palette_grey_3_channels")
    images = load_images(case, split="all")
    assert images.image_shape == (28, 28)
    assert "three equal channels taken as grey (1)" in images.about


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_patches_float16_inf(tmp_path: Path, dtype: str) -> None:
    case = case_folder("patches_float16_inf")
    config = PatchConfig(8, 50, 10, whiten=False, dtype=dtype)  # type: ignore[arg-type]
    patches = extract_patches(case / "hdr", config)
    assert patches.about.endswith("stored as float32")
    save_patches(patches, tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as kept:
        assert np.array_equal(kept["train"], patches.train)
        assert np.isfinite(kept["range"]).all()
    assert load_images(tmp_path / "p.npz").pixels.max() > 65504


def test_patches_float16_inf_is_refused_where_float16_is_asked_for() -> None:
    case = case_folder("patches_float16_inf")
    config = PatchConfig(8, 50, 10, whiten=False, dtype="float16")
    with pytest.raises(InputError, match=r"dtype: expected float32 or auto .* ends at 65504"):
        extract_patches(case / "hdr", config)


def test_mixed_endings() -> None:
    case = case_folder("mixed_endings")
    images = load_images(case / "p06_mixed_endings", split="all")
    assert len(images.pixels) == 14
    for ending in ("png", "gif", "webp"):
        assert list((case / "p06_mixed_endings").glob(f"*.{ending}"))
    assert "14 pictures" in images.about


def test_run_folder_tenth() -> None:
    case = case_folder("run_folder_tenth")
    images = load_images(case / "tenpng", split=None)
    assert len(images.pixels) == 10
    assert "10 pictures, all of the folder" in images.about
    tenth = load_images(case / "tenpng", split="test")
    assert len(tenth.pixels) == 1
    assert "1 of 10 files, drawn by seed 0, are for testing" in tenth.about


def test_frame_order() -> None:
    case = case_folder("frame_order")
    feeder = Sequence(case / "p05_frame_order")
    shown = [round(255 * float(frame.mean())) for frame in feeder]
    assert shown == [20 * number for number in range(12)]
    assert feeder.about.startswith("12 frames; 8 bits, divided by 255")
