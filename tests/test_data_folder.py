"""Folders of images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from cli_tools import run_cli

from pvae_neuro.data import load_images
from pvae_neuro.data.folder import read_folder, split_pictures
from pvae_neuro.data.listing import list_pictures, natural_order
from pvae_neuro.errors import InputError
from pvae_neuro.network import Input
from pvae_neuro.utils.memory import memory_limit

Image = pytest.importorskip("PIL.Image")


def write(path: Path, array: np.ndarray, **options: object) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return array


def random_bytes(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def test_a_folder_is_divided_by_its_seed(tmp_path: Path) -> None:
    for place in range(20):
        write(tmp_path / "pictures" / f"{place:02d}.png", np.full((3, 4), 100 + place, np.uint8))
    folder = f"{tmp_path}/pictures/"

    def values(split: str, seed: int) -> list[int]:
        loaded = load_images(folder, split=split, seed=seed)
        assert loaded.image_shape == (3, 4)
        assert (loaded.low, loaded.high, loaded.name) == (0.0, 1.0, "pictures")
        return ((loaded.pixels[:, 0] * 255).round().astype(int) - 100).tolist()

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


def test_unfit_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no images; expected files that end in \.apng, "):
        load_images(str(tmp_path))
    with pytest.raises(InputError, match="an existing folder of images"):
        load_images(str(tmp_path / "absent") + "/")
    write(tmp_path / "a.png", random_bytes(0, 2, 3))
    with pytest.raises(InputError, match="at least 2 different images"):
        load_images(str(tmp_path))
    with pytest.raises(InputError, match="seed: expected 0 to"):
        load_images(str(tmp_path), seed=-1)


def test_order_is_natural(tmp_path: Path) -> None:
    names = [
        "1.png", "a.png", "a1.png", "a1b.png", "a2.png", "a02.png", "a10.png", "b/1.png",
        "b/10.png", "b2/1.png", "b10/1.png",
    ]  # fmt: skip
    for name in names:
        write(tmp_path / name, random_bytes(0, 2, 2))
    found = [path.relative_to(tmp_path).as_posix() for path in list_pictures(tmp_path).files]
    # Numbers that are equal are in the order of their spelling.
    names[4:6] = ["a02.png", "a2.png"]
    assert found == names
    assert sorted(map(Path, reversed(names)), key=natural_order) == [Path(n) for n in names]


def test_what_is_left_out_is_counted_with_its_reason(tmp_path: Path) -> None:
    for name in ("a.png", "b.GIF", "c.webp", "train.jpeg"):
        write(tmp_path / name, random_bytes(0, 4, 4))
    for name in ("notes.txt", "more.TXT", ".DS_Store", ".a.png", "raw.heic", "README"):
        (tmp_path / name).write_text("no image")
    (tmp_path / ".thumbnails").mkdir()
    write(tmp_path / ".thumbnails" / "a.png", random_bytes(0, 2, 2))
    (tmp_path / "gone.png").symlink_to(tmp_path / "absent.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    listing = list_pictures(tmp_path)
    assert [path.name for path in listing.files] == ["a.png", "b.GIF", "c.webp", "train.jpeg"]
    assert listing.left_out == {
        ".txt": 2, "hidden": 2, ".heic": 1, "without an ending": 1, "hidden folders": 1,
        "broken links": 1, "no regular files": 1,
    }  # fmt: skip
    about = read_folder(tmp_path, "all").about
    assert about.startswith("4 pictures, all of the folder; 8 bits, divided by 255; ")
    assert about.endswith(
        "left out: .txt (2), hidden (2), .heic (1), broken links (1), hidden folders (1), "
        "others (2)"
    )


def test_links_are_followed_once(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    write(elsewhere / "a.png", random_bytes(0, 2, 2))
    write(folder / "b.png", random_bytes(1, 2, 2))
    (folder / "c.png").symlink_to(elsewhere / "a.png")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "once more").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    listing = list_pictures(folder)
    found = [path.relative_to(folder).as_posix() for path in listing.files]
    assert found == ["b.png", "c.png", "linked/a.png"]
    assert listing.left_out == {"links to folders read already": 2}


def test_all_reads_every_picture(tmp_path: Path) -> None:
    write(tmp_path / "0.png", np.full((1, 1), 100, np.uint8))
    assert read_folder(tmp_path, "all").values.tolist() == [[[np.float32(100) / np.float32(255)]]]
    for place in range(1, 12):
        write(tmp_path / f"{place}.png", np.full((1, 1), 100 + place, np.uint8))
    whole, train, test = (read_folder(tmp_path, part) for part in ("all", "train", "test"))
    assert np.rint(whole.values.ravel() * 255).astype(int).tolist() == list(range(100, 112))
    assert "11 pictures, the train part (1 of 12 files, drawn by seed 0, are for" in train.about
    assert "1 picture, the test part (1 of 12 files, drawn by seed 0, are for" in test.about
    assert sorted([*train.values.ravel(), *test.values.ravel()]) == whole.values.ravel().tolist()
    assert read_folder(tmp_path, "all", limit=2).about.startswith("the first 2 of 12 pictures")
    for part in ("train", "test"):
        write(tmp_path / part / "a.png", np.full((1, 1), 200, np.uint8))
    assert len(read_folder(tmp_path, "all").values) == 14
    assert "left out: outside train/ and test/ (12)" in read_folder(tmp_path, "test").about


def test_what_was_done_is_said(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    grey, colour = random_bytes(0, 4, 4), random_bytes(1, 4, 4, 3)
    write(tmp_path / "a.png", grey, exif=exif)
    write(tmp_path / "b.png", np.repeat(grey[..., None], 3, axis=2))
    write(tmp_path / "c.png", grey.astype(np.uint16) * 257)
    read = read_folder(tmp_path, "all", size=6)
    assert read.values.shape == (3, 6, 6)
    assert read.about == (
        "3 pictures, all of the folder; 8 bits, divided by 255 (2); 16 bits, divided by 65535 (1); "
        "cropped about the centre and resized to 6x6 (3); turned upright by EXIF (1); "
        "enlarged (3); three equal channels taken as grey (1); no file left out"
    )
    write(tmp_path / "d.png", colour)
    read = read_folder(tmp_path, "all")
    assert np.array_equal(read.values[0], np.stack([np.rot90(grey, 2) / np.float32(255)] * 3))
    assert "grey, repeated in three channels as others are in colour (3)" in read.about


def test_pictures_that_are_nearly_black_need_a_scale(tmp_path: Path) -> None:
    digits = np.array([[0, 1], [1, 0]], np.uint8)
    write(tmp_path / "a.png", digits)
    write(tmp_path / "b.png", digits)
    message = r"brightest pixel of 2 pictures has 0.39% of the white .* scale must be told"
    with pytest.raises(InputError, match=message):
        read_folder(tmp_path, "all")
    read = read_folder(tmp_path, "all", scale=1)
    assert np.array_equal(read.values[0], digits)
    assert "8 bits, as they are" in read.about
    # One bright picture tells that the others are dark.
    write(tmp_path / "c.png", digits * 17)
    assert read_folder(tmp_path, "all").values.max() == np.float32(17) / np.float32(255)
    for name in "abc":
        write(tmp_path / f"{name}.png", np.full((2, 2), 4095, np.uint16))
    with pytest.raises(InputError, match=r"6\.25% of the white"):
        read_folder(tmp_path, "all")
    assert (read_folder(tmp_path, "all", scale=4095).values == 1.0).all()


def test_copies_are_counted(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write(tmp_path / name, random_bytes(name == "c.png", 2, 2))
    division = split_pictures(tmp_path, 0.5, 0, distinct=True)
    names = sorted(path.name for path in division.train + division.test)
    assert (names, division.left_out) == (["a.png", "c.png"], {"copies of others": 1})


def test_progress_counts_pictures(tmp_path: Path) -> None:
    for place in range(3):
        write(tmp_path / f"{place}.png", random_bytes(place, 2, 2))
    told: list[tuple[str, int, int]] = []
    read_folder(tmp_path, "all", progress=lambda *state: told.append(state))
    assert told == [("reading pictures", done, 3) for done in (1, 2, 3)]


def test_pictures_that_do_not_fit_into_memory_are_refused(tmp_path: Path) -> None:
    for place in range(50):
        write(tmp_path / f"{place}.png", random_bytes(place, 4, 4))
    with memory_limit(1000), pytest.raises(InputError, match=r"50 pictures: needs 6\.4e-06 GB"):
        read_folder(tmp_path, "all")


COLOURED = Input(48, 0.0, 1.0, 14, (3, 4, 4))


def test_a_model_of_colours_gets_three_channels_of_grey_pictures(tmp_path: Path) -> None:
    grey = write(tmp_path / "a.png", random_bytes(0, 4, 4))
    write(tmp_path / "b.png", np.repeat(random_bytes(1, 4, 4)[..., None], 3, axis=2))
    assert load_images(tmp_path, split="all").image_shape == (4, 4)
    loaded = load_images(tmp_path, split="all", model=COLOURED)
    assert loaded.image_shape == (3, 4, 4)
    assert np.array_equal(loaded.pixels[0], np.tile(grey.ravel(), 3) / np.float32(255))
    assert COLOURED.check(loaded.planes()).shape == (2, 48)
    assert "grey, repeated in three channels as the model takes colours (2)" in loaded.about
    single = load_images(tmp_path / "a.png", model=COLOURED)
    assert np.array_equal(single.pixels, loaded.pixels[:1])
    for place in range(50):
        write(tmp_path / f"{place}.png", random_bytes(place, 4, 4))
    # Twice 52 pictures of 48 values.
    with memory_limit(19_000), pytest.raises(InputError, match=r"52 pictures: needs 2e-05 GB"):
        load_images(tmp_path, split="all", model=COLOURED)


@pytest.mark.parametrize(
    "model", [COLOURED, Input(49, 0.0, 1.0, 14, (7, 7)), Input(9, 0.0, 1.0, 1)]
)
def test_pictures_of_another_size_than_the_models_can_be_resized(
    tmp_path: Path, model: Input
) -> None:
    write(tmp_path / "a.png", random_bytes(0, 6, 5))
    expected = "9 pixels in all" if model.image_shape is None else "as the model takes, got 6x5"
    with pytest.raises(InputError, match=f"{expected}.* give a size to crop") as refused:
        load_images(tmp_path, split="all", model=model)
    assert refused.value.remedy == "size"
    size = 3 if model.image_shape is None else model.image_shape[-2:]
    assert load_images(tmp_path, split="all", model=model, size=size).pixels.shape[1] == model.size


def test_the_command_line_names_the_option(capsys, tmp_path: Path) -> None:
    write(tmp_path / "a.png", random_bytes(0, 32, 32))
    code, _, err = run_cli(capsys, "evaluate", "mnist", "--dataset", tmp_path, "-t", 1)
    assert code == 2
    assert "expected pictures of 28x28 pixels, as the model takes, got 32x32" in err
    assert "(--size HxW)" in err
    assert run_cli(capsys, "evaluate", "mnist", "-i", tmp_path, "-t", 1, "--size", 28)[0] == 0
