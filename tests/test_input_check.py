"""The one check of inputs: shape, range, finiteness; floats and integers share it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvae_neuro.errors import InputError
from pvae_neuro.network import Input
from pvae_neuro.utils.edges import EDGE_TOLERANCE

GREY = Input(6, 0.0, 1.0, 14, (2, 3))
COLOUR = Input(18, 0.0, 1.0, 14, (3, 2, 3))


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 5),
    dtype=st.sampled_from([np.float16, np.float32, np.float64, np.uint8, np.int64, ">f4"]),
    shape=st.sampled_from([(6,), (2, 3), (1, 2, 3)]),
    seed=st.integers(0, 99),
)
def test_images_in_range_pass_unchanged(
    batch: int, dtype: type, shape: tuple[int, ...], seed: int
) -> None:
    values = np.random.default_rng(seed).uniform(size=(batch, 6)).round(2).astype(dtype)
    checked = GREY.check(values.reshape(batch, *shape))
    assert checked.dtype == np.float64
    assert np.array_equal(checked, values.astype(np.float64))
    assert not np.shares_memory(checked, values)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 5)), r"shape \[N, 6\] or \[N, 2, 3\] with N >= 1, got \[2, 5\]$"),
        (np.zeros((2, 3)), r"got \[2, 3\]; add a leading axis"),
        (np.zeros(6), r"got \[6\]; add a leading axis"),
        (np.zeros((6, 9)), r"got \[6, 9\]; the number of images comes first"),
        (np.zeros((2, 3, 9)), r"got \[2, 3, 9\]; the number of images comes first"),
        (np.zeros((4, 3, 2)), r"got \[4, 3, 2\]; height and width look exchanged"),
        (np.zeros((1, 1, 6)), r"got \[1, 1, 6\]; as many pixels in another shape"),
        (np.zeros((4, 3, 2, 3)), r"got \[4, 3, 2, 3\]; these are in colour"),
        (np.zeros((0, 6)), r"N >= 1, got \[0, 6\]$"),
        (np.float64(1.0), r"got \[\]$"),
        (np.full((1, 6), 1e300), "1e"),
        (np.array([[0, 0, 0, 0, 0, np.inf]]), "1 that are NaN or infinite, the first in image 0"),
        (np.array([[0] * 6, [np.nan] * 6]), "6 that are NaN or infinite, the first in image 1"),
        ([[0, 1], [0]], "real numbers"),
        (np.array([["a"] * 6]), "real numbers"),
        (np.zeros((1, 6), complex), "real numbers"),
    ],
)
def test_unfit_images_are_refused(images: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GREY.check(images)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 2, 3), "these are grey"),
        ((4, 2, 3, 3), "colours come before height and width"),
        ((4, 3, 3, 2), r"got \[4, 3, 3, 2\]; as many pixels in another shape"),
    ],
)
def test_colours_are_told_from_grey(shape: tuple[int, ...], message: str) -> None:
    assert COLOUR.check(np.zeros((4, 3, 2, 3))).shape == (4, 18)
    with pytest.raises(InputError, match=message):
        COLOUR.check(np.zeros(shape))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 255.0], "look like bytes: divide them by 255"),
        ([0.0, 200.5], "look like bytes: divide them by 255"),
        ([0.0, 16.0], "look like levels or counts"),
        ([0.0, 4095.0], "look like numbers of 16 bits"),
        ([-1.0, 1.0], r"\(x \+ 1\) / 2"),
        ([-0.42421296, 2.8214867], "look standardized"),
        ([0.0, 1.00001], "leave it by 1e-05: clip them"),
        ([0.25, 3.5], "rescale them as the training images were, or clip them"),
    ],
)
def test_advice_fits_the_values(values: list[float], expected: str) -> None:
    with pytest.raises(InputError, match=expected) as refused:
        GREY.check([values * 3])
    assert ("255" in str(refused.value)) == ("255" in expected or values[-1] == 255.0)


def test_advice_for_a_symmetric_range() -> None:
    with pytest.raises(InputError, match=r"\[-3, 3\].*rescale them as the training images were"):
        Input(1, -3.0, 3.0, 10).check([[200.0]])


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 3.0), (-0.5, 8.0)])
def test_a_rounding_beyond_an_edge_is_clipped(low: float, high: float) -> None:
    declared, slack = Input(2, low, high, 14), EDGE_TOLERANCE * max(abs(low), abs(high))
    beyond = [[low - 0.9 * slack, high + 0.9 * slack]]
    assert declared.check(beyond).tolist() == [[low, high]]
    for stray in ([[low - 1.1 * slack, high]], [[low, high + 1.1 * slack]]):
        with pytest.raises(InputError, match="expected values in"):
            declared.check(stray)
    # What is clipped stays within the proof of ranges.
    x = declared.encode(declared.check(beyond))
    assert x.min() >= declared.interval.low[0]
    assert x.max() <= declared.interval.high[0]


def test_clip_forces_values_into_range() -> None:
    declared = Input(3, -1.0, 1.0, 14)
    assert declared.check([[-5.0, 0.25, 7.0]], clip=True).tolist() == [[-1.0, 0.25, 1.0]]
    with pytest.raises(InputError, match="NaN"):
        declared.check([[np.nan, 0.0, 0.0]], clip=True)
