"""What numbers, axes and parts mean: said by the user, by a file, or refused; never guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvae_neuro.data import load_images, make_images
from pvae_neuro.data.layout import arrange
from pvae_neuro.errors import InputError
from pvae_neuro.network import Input

UNIT = Input(4, 0.0, 1.0, 14, (2, 2))
WIDE = Input(4, -300.0, 300.0, 8, (2, 2))


def array(dtype: str, *values: float) -> np.ndarray:
    return np.resize(np.array(values, dtype), (2, 2, 2))


@pytest.mark.parametrize(
    ("values", "divided", "declared"),
    [
        (array("u1", 0, 17), 255, (0, 1)),
        (array("u1", 0, 255), 255, (0, 1)),
        (array("u1", 0), 255, (0, 1)),
        (array("u2", 0, 4097), 65535, (0, 1)),
        (array("?", 0, 1), 1, (0, 1)),
        (array("i8", 0, 1), 1, (0, 1)),
        (array("f4", 0, 1), 1, (0, 1)),
        (array("f8", -3, 2), 1, (-3, 3)),
        (array("i2", -3, 2), 1, (-3, 3)),
    ],
)
def test_values_with_one_meaning(
    values: np.ndarray, divided: int, declared: tuple[float, float]
) -> None:
    images = make_images(values)
    expected = values.reshape(2, 4).astype(np.float32) / np.float32(divided)
    assert np.array_equal(images.pixels, expected)
    assert (images.low, images.high) == declared
    how = "as they are" if divided == 1 else f"divided by {divided}"
    assert f"{values.dtype} {how}; values in" in images.about


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (array("u1", 0, 1), "uint8 values from 0 to 1 may be dark .* such as 255; 1 takes them"),
        (array("u1", 0, 16), "uint8 values from 0 to 16 may be dark .* such as 255 or 16;"),
        (array("u2", 0, 4096), "uint16 values from 0 to 4096 may be dark"),
        (array("i8", 0, 2), "int64 values from 0 to 2: .* scale to divide by: 2, or 1"),
        (array("f4", 0, 255), "float32 values from 0 to 255: .* divide by: 255 for bytes, or 1"),
        (array("f4", 0, 4095), "4095 for 12 bits"),
        (array("f4", 0, 60000), "65535 for 16 bits"),
        (array("f4", 0, 1e6), "divide by: 1e\\+06, or 1"),
    ],
)
def test_values_with_several_meanings_need_a_scale(values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        make_images(values, name="x")
    assert refused.value.remedy == "scale"
    for scale in (1, 2.5, 255):
        images = make_images(values, scale=scale)
        expected = values.reshape(2, 4).astype(np.float32) / np.float32(scale)
        assert np.array_equal(images.pixels, expected)


@pytest.mark.parametrize("scale", [0, -1, 1e-7, 1e13, np.nan, np.inf])
def test_scales_that_divide_nothing_are_refused(scale: float) -> None:
    with pytest.raises(InputError, match="scale: expected a number from 1e-06 to"):
        make_images(array("f4", 0, 1), scale=scale)


def test_a_file_that_declares_its_range_needs_no_scale(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=array("f4", 0, 255), range=np.array([0.0, 255.0]))
    images = load_images(path)
    assert (images.low, images.high, images.pixels.max()) == (0.0, 255.0, 255.0)
    np.savez(path, images=array("u1", 0, 1), range=np.array([0, 1]))
    assert load_images(path).pixels.max() == 1.0
    np.savez(path, images=array("u1", 0, 200), range=np.array([0, 1]))
    assert load_images(path).pixels.max() == np.float32(200) / np.float32(255)


def test_a_model_says_the_range_of_floats(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array("f4", 0, 255))
    assert load_images(path, model=WIDE).pixels.max() == 255.0
    # Out of its range they are refused later, with advice.
    assert load_images(path, model=UNIT).pixels.max() == 255.0
    np.save(path, array("u1", 0, 255))
    assert load_images(path, model=UNIT).pixels.max() == 1.0
    with pytest.raises(InputError, match="fit the range of the model both as they are and div"):
        load_images(path, model=WIDE)


def test_roundings_beyond_0_and_1_are_clipped() -> None:
    over = np.nextafter(np.float32(1), np.float32(2))
    images = make_images(array("f4", -1e-8, over))
    assert (images.low, images.high) == (0.0, 1.0)
    assert sorted(set(images.pixels.ravel().tolist())) == [0.0, 1.0]


@pytest.mark.parametrize("shape", [(28, 28, 10), (64, 64, 1000), (60, 80, 1000), (5, 90, 10)])
def test_stacks_that_only_another_order_explains_are_refused(shape: tuple[int, ...]) -> None:
    values = np.zeros(shape, np.float32)
    with pytest.raises(InputError, match="as MATLAB stores them: expected a layout") as refused:
        make_images(values)
    assert refused.value.remedy == "layout"
    assert make_images(values, layout="NHW").image_shape == shape[1:]
    assert make_images(values, layout="hwn").image_shape == shape[:2]


def test_a_model_says_the_order_of_axes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((6, 6, 5), np.float32))
    model = Input(30, 0.0, 1.0, 14, (6, 5))
    assert load_images(tmp_path / "a.npy", model=model).image_shape == (6, 5)


@settings(max_examples=60, deadline=None)
@given(
    order=st.sampled_from(["NM", "NHW", "NCHW"]).flatmap(st.permutations).map("".join),
    sizes=st.lists(st.integers(2, 5), min_size=4, max_size=4),
    single=st.booleans(),
)
def test_every_order_of_axes(order: str, sizes: list[int], single: bool) -> None:
    named = dict(zip("NCHW", sizes, strict=True)) | {"M": sizes[1]}
    wanted = next(o for o in ("NM", "NHW", "NCHW") if sorted(o) == sorted(order))
    stored = np.random.default_rng(0).normal(size=[named[letter] for letter in order])
    layout = order
    if single:
        layout = order.replace("N", "")
        stored = stored.take(0, axis=order.index("N"))
        named["N"] = 1
    found = arrange(stored, layout, "x")
    assert found.shape == tuple(named[letter] for letter in wanted)
    for place, value in np.ndenumerate(stored):
        at = dict(zip(layout, place, strict=True)) | ({"N": 0} if single else {})
        assert found[tuple(at[letter] for letter in wanted)] == value


@pytest.mark.parametrize("layout", ["HW", "NN", "XYZ", "", "NHWM", "NHWCT"])
def test_layouts_that_name_no_axes_are_refused(layout: str) -> None:
    with pytest.raises(InputError, match=r"the 3 axes of \[2, 3, 4\]"):
        arrange(np.zeros((2, 3, 4)), layout, "x")


def test_options_without_a_use_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 4)))
    for options, message in (
        ({"key": "x"}, "key: only .npz and .mat"),
        ({"size": 4}, "size: only pictures"),
        ({"split": "validation"}, "split: expected one of train, test, all"),
    ):
        with pytest.raises(InputError, match=message):
            load_images(tmp_path / "a.npy", **options)
    with pytest.raises(InputError, match="layout: only arrays may be"):
        load_images("mnist", tmp_path, layout="NHW")


def test_the_line_counts_what_is_taken() -> None:
    images = make_images(np.zeros((5, 3, 2, 2), np.float32), name="x")
    assert images.about == (
        "x: 5 colour images of 2x2 (height x width); float32 as they are; values in [0, 0]; "
        "declared range [0, 1]"
    )
    assert images.take(2).about == f"{images.about}; the first 2"
    assert images.take(5).about == images.about


@pytest.mark.parametrize(
    ("arrays", "split", "chosen"),
    [
        (("train", "test"), None, ["test"]),
        (("train", "test"), "all", ["train", "test"]),
        (("x_train", "x_test", "images"), "train", ["x_train"]),
        (("train_images", "images"), "test", ["images"]),
        (("train_images", "images"), None, ["images"]),
        (("images",), "all", ["images"]),
        (("images",), "test", ["images"]),
        (("anything",), None, ["anything"]),
        (("test",), "train", None),
        (("train",), "test", None),
        (("train",), None, None),
        (("train",), "all", ["train"]),
        (("a", "b"), None, None),
    ],
)
def test_parts_of_an_archive(
    tmp_path: Path, arrays: tuple[str, ...], split: str | None, chosen: list[str] | None
) -> None:
    stored = {name: np.full((2, 4), place / 8) for place, name in enumerate(arrays)}
    np.savez(tmp_path / "a.npz", **stored)
    if chosen is None:
        with pytest.raises(InputError, match=r"alone|choose one by its key"):
            load_images(tmp_path / "a.npz", split=split)
        return
    loaded = load_images(tmp_path / "a.npz", split=split)
    assert np.array_equal(loaded.pixels, np.concatenate([stored[name] for name in chosen]))
    assert f"array {' and '.join(map(repr, chosen))}" in loaded.about
