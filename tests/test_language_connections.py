"""Connections against explicit matrices, and convolutions against PyTorch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_tools import synapses

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import (
    Convolution,
    Dense,
    Interval,
    OneToOne,
    Shared,
    TransposedConvolution,
    transpose_of,
)
from pvae_neuro.network.connection import resolve


@st.composite
def convolutions(draw):
    """A convolution whose target is cut at the far edges, or reaches beyond them."""
    channels = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    sides = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    stride, padding = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    kernel = draw(st.integers(padding + 1, 4)), draw(st.integers(padding + 1, 4))
    most = [(side + padding - 1) // stride + 1 for side in sides]
    target = [draw(st.integers(max(1, m - 2), m)) for m in most]
    rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    weight = rng.integers(-127, 128, (channels[1], channels[0], *kernel)).astype(np.int8)
    return Convolution(
        *("c", "a", "x", "b", weight),
        source_shape=(channels[0], *sides),
        target_shape=(channels[1], *target),
        stride=stride,
        padding=padding,
    )


def matrix_of(connection):
    matrix = np.zeros(connection.shape, np.int64)
    for target, source, weight in synapses(connection):
        matrix[target, source] += weight
    return matrix


@settings(max_examples=30, deadline=None)
@given(convolutions())
def test_convolution_and_its_transpose(connection):
    assert list(connection.faults("c")) == []
    matrix = matrix_of(connection)
    rng = np.random.default_rng(0)
    values = rng.integers(-1000, 1000, (3, connection.shape[1]))
    assert np.array_equal(connection.apply(values), values @ matrix.T)
    assert np.array_equal(connection.matrix(), matrix)
    back = transpose_of(connection, "back", "b", "y", "a")
    assert isinstance(back, TransposedConvolution)
    assert list(back.faults("back")) == []
    assert back.weight is connection.weight
    returned = rng.integers(-1000, 1000, (3, back.shape[1]))
    assert np.array_equal(back.apply(returned), returned @ matrix)
    assert np.array_equal(back.matrix(), matrix.T)
    assert np.array_equal(matrix_of(back), matrix.T)
    again = transpose_of(back, "again", "a", "x", "b")
    assert type(again) is Convolution
    assert np.array_equal(again.matrix(), matrix)


def test_a_connection_without_a_transpose_says_so():
    one = OneToOne("one", "a", "x", "b", np.ones(3, np.int8))
    with pytest.raises(NetworkError, match="'one_to_one' has no transpose"):
        transpose_of(one, "back", "b", "y", "a")


@settings(max_examples=20, deadline=None)
@given(convolutions())
def test_convolution_equals_pytorch(connection):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    values = np.random.default_rng(0).integers(-99, 100, (2, connection.shape[1]))
    pictures = torch.from_numpy(values.reshape(2, *connection.source_shape)).double()
    weight = torch.from_numpy(connection.weight.astype(np.float64))
    # What slides meet beyond the far edges is 0.
    pictures = torch.nn.functional.pad(pictures, (0, 9, 0, 9))
    out = torch.nn.functional.conv2d(
        pictures, weight, stride=connection.stride, padding=connection.padding
    )
    _, height, width = connection.target_shape
    expected = out[:, :, :height, :width].reshape(2, -1).numpy()
    assert np.array_equal(connection.apply(values), expected.astype(np.int64))


def test_transposed_convolution_equals_pytorch_on_even_sides():
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    rng = np.random.default_rng(3)
    weight = rng.integers(-9, 10, (2, 3, 4, 4)).astype(np.int8)
    connection = TransposedConvolution(
        *("c", "a", "x", "b", weight),
        source_shape=(2, 3, 4),
        target_shape=(3, 6, 8),
        stride=2,
        padding=1,
    )
    values = rng.integers(-99, 100, (2, 24))
    out = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(values.reshape(2, 2, 3, 4)).double(),
        torch.from_numpy(weight.astype(np.float64)),
        stride=2,
        padding=1,
    )
    assert np.array_equal(connection.apply(values), out.reshape(2, -1).numpy().astype(np.int64))


CASES = {
    "dense": Dense("c", "a", "x", "b", np.arange(-6, 6, dtype=np.int8).reshape(3, 4)),
    "one_to_one": OneToOne("c", "a", "x", "b", np.array([-2, 0, 5], np.int8)),
    "convolution": Convolution(
        *("c", "a", "x", "b", np.arange(-8, 8, dtype=np.int8).reshape(2, 2, 2, 2)),
        source_shape=(2, 3, 3),
        target_shape=(2, 2, 1),
        stride=1,
    ),
}
CASES["transposed_convolution"] = transpose_of(CASES["convolution"], "c", "a", "x", "b")


@pytest.mark.parametrize("kind", CASES)
def test_matrix(kind):
    connection = CASES[kind]
    assert connection.kind == kind
    assert np.array_equal(connection.matrix(), matrix_of(connection))
    assert connection.matrix().dtype == np.int8


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("shared_bounds", [True, False])
def test_reach_is_exact(kind, shared_bounds):
    connection = CASES[kind]
    sources = connection.shape[1]
    rng = np.random.default_rng(0)
    low = rng.integers(-5, 5, 1 if shared_bounds else sources)
    high = low + rng.integers(0, 9, len(low))
    adding, total = connection.reach(Interval(low, high))
    matrix = connection.matrix().astype(np.int64)
    corners = np.array([matrix * low, matrix * high])
    assert np.array_equal(total.low, corners.min(axis=0).sum(axis=1))
    assert np.array_equal(total.high, corners.max(axis=0).sum(axis=1))
    # While it adds up in any order, the sum may hold any of the terms.
    assert np.array_equal(adding.low, np.minimum(corners.min(axis=0), 0).sum(axis=1))
    assert np.array_equal(adding.high, np.maximum(corners.max(axis=0), 0).sum(axis=1))


def test_shared_slices_are_views():
    weight = np.arange(12, dtype=np.int8).reshape(3, 4)
    part = resolve(weight, Shared("c", False, (1, 3), (0, 2)))
    assert part.tolist() == [[4, 5], [8, 9]]
    assert resolve(weight, Shared("c", True, (1, 3), (0, 2))).tolist() == [[4, 8], [5, 9]]
    assert part.base is not None
    dense = Dense("c", "a", "x", "b", weight)
    assert np.shares_memory(transpose_of(dense, "d", "b", "y", "a").weight, weight)


def test_identity():
    connection = CASES["one_to_one"]
    assert not connection.is_identity
    assert replace(connection, weight=np.ones(3, np.int8)).is_identity


def test_text_form():
    assert repr(CASES["dense"]) == "<Dense c: a -> b, 3 x 4>"
