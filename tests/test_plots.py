"""Figures: on the axes that are given, of what is given, with errors of ours."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
import toy

pytest.importorskip("matplotlib", reason="draws figures")

from matplotlib.figure import Figure

import pvae_neuro as pn
from pvae_neuro import plots
from pvae_neuro.errors import InputError

RNG = np.random.default_rng(0)
DRAWINGS = {
    "image_grid": lambda ax: plots.image_grid({"a": RNG.random((3, 4, 5))}, ax),
    "difference_grid": lambda ax: plots.difference_grid(RNG.normal(size=(3, 4, 5, 3)), ax),
    "dictionary": lambda ax: plots.dictionary(RNG.normal(size=(18, 12)), ax),
    "raster": lambda ax: plots.raster(RNG.poisson(0.3, (6, 9)), ax),
    "mark_differences": lambda ax: plots.mark_differences(np.eye(3), np.ones((3, 3)), ax),
    "potentials": lambda ax: plots.potentials(RNG.random(6), RNG.random(6), ax, clamp=1.0),
    "core_grid": lambda ax: plots.core_grid(pn.place(toy.lateral()), ax),
    "by_iteration": lambda ax: plots.by_iteration({"a": RNG.random(6), "b": RNG.random(6)}, ax),
    "difference_by_iteration": lambda ax: plots.difference_by_iteration(
        RNG.normal(size=6), ax, margin=0.5, limits=(-1.0, 1.0)
    ),
}


def axes():
    return Figure().subplots()


@pytest.mark.parametrize("name", DRAWINGS)
def test_draws_on_the_axes_it_is_given(name):
    ax = axes()
    assert DRAWINGS[name](ax) is ax
    ax.figure.canvas.draw()


def test_every_public_function_is_drawn_here_or_gives_no_axes():
    assert set(plots.__all__) == {*DRAWINGS, "as_images", "pareto_figure", "plot_model"}
    assert pn.plots is plots


@pytest.mark.parametrize("module", ["images", "parity"])
def test_examples_run(module):
    failed, ran = doctest.testmod(importlib.import_module(f"pvae_neuro.plots.{module}"))
    assert ran > 10 and not failed


def test_without_axes_a_pyplot_figure_is_made(monkeypatch):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    ax = plots.raster(np.eye(3))
    assert ax.figure.number in pyplot.get_fignums()
    pyplot.close(ax.figure)


def test_iterations_are_counted_from_one():
    counts = np.zeros((4, 3), int)
    counts[0, 1] = counts[3, 2] = 2
    ax = plots.raster(counts, axes())
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1, 4]]
    assert ax.get_xlim() == (0.5, 4.5)
    ax = plots.potentials([0.0, 1.0], [0.0, 1.0], axes())
    assert all(line.get_xdata().tolist() == [1, 2] for line in ax.lines)
    ax = plots.difference_by_iteration([0.0, 1.0], axes(), margin=0.5)
    assert ax.lines[1].get_xdata().tolist() == [1, 2]


def test_a_margin_is_a_band_around_the_line():
    for margin, ends in ((0.5, [-0.5, 0.5]), ([0.25, 1.0], [-0.25, 0.25])):
        band = plots.difference_by_iteration([0.0, 1.0], axes(), margin=margin).collections[0]
        corners = band.get_paths()[0].vertices
        assert sorted({y for x, y in corners if x == 1}) == ends
    # What is not known has no band.
    band = plots.difference_by_iteration([0.0], axes(), margin=np.inf).collections[0]
    assert not band.get_paths()


def test_larger_counts_make_larger_dots_and_many_become_a_picture():
    counts = np.array([[0, 1], [4, 0]])
    small, large = (line.get_markersize() for line in plots.raster(counts, axes()).lines)
    assert large == 2 * small
    few, many = (plots.raster(np.ones((60, n), int), axes()).lines[0] for n in (100, 101))
    assert not few.get_rasterized() and many.get_rasterized()


def test_the_clamp_is_drawn_where_it_is():
    (line,) = plots.potentials([0, 1], [0, 1], axes(), clamp=3.65).lines[2:]
    assert line.get_ydata()[0] == 3.65
    assert len(plots.potentials([0, 1], [0, 1], axes()).lines) == 2


def test_a_difference_has_a_scale_of_its_own_with_its_number():
    ax = plots.difference_grid([[[-0.3, 0.1]]], axes(), name="integer")
    assert ax.images[0].get_clim() == (-0.3, 0.3)
    assert ax.get_yticklabels()[0].get_text() == "integer\n±0.3"
    assert plots.difference_grid(np.zeros((1, 2, 2)), axes()).images[0].get_clim() == (-1, 1)
    assert plots.difference_grid([[[0.1]]], axes(), limit=2.0).images[0].get_clim() == (-2, 2)


def test_rows_share_the_scale_of_the_first():
    ax = plots.image_grid({"a": [[[0.0, 2.0]]], "b": [[[5.0, 1.0]]]}, axes())
    assert ax.images[0].get_clim() == (0.0, 2.0)
    # With colour: white is the first row's largest, gaps are transparent.
    first, second = np.zeros((1, 1, 2, 3)), np.full((1, 1, 2, 3), 8.0)
    first[0, 0, 0] = 4.0
    shown = np.asarray(plots.image_grid({"a": first, "b": second}, axes()).images[0].get_array())
    assert shown[1, 1].tolist() == [1, 1, 1, 1] and shown[4, 1].tolist() == [1, 1, 1, 1]
    assert shown[1, 2].tolist() == [0, 0, 0, 1] and shown[0, 0, 3] == 0


def test_elements_are_each_on_their_own_scale_and_rows_are_filled_up():
    vectors = np.array([[1.0, 0, 0, -2], [0, 100, 0, 0], [0, 0, 0, 0]])
    ax = plots.dictionary(vectors, axes(), image_shape=(2, 2), per_row=2)
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    assert shown.shape == (8, 8)
    assert shown[1:3, 1:3].tolist() == [[0.5, 0], [0, -1]]
    assert shown[1, 6] == 1
    assert np.isnan(shown[4:, 4:]).all()
    assert plots.dictionary(np.ones((2, 12)), axes(), image_shape=(3, 2, 2)).images


def test_flat_inputs_get_an_image_shape():
    assert plots.as_images(np.zeros((2, 12))).shape == (2, 3, 4)
    assert plots.as_images(np.zeros((2, 12)), (2, 6)).shape == (2, 2, 6)
    assert plots.as_images(np.arange(12)[None], (3, 2, 2))[0, 0, 1].tolist() == [1, 5, 9]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.as_images(np.zeros((2, 12)), (5, 5)), "5x5 does not hold 12 pixels"),
        (lambda: plots.as_images(np.zeros((2, 12)), (0, 12)), "image_shape: expected"),
        (lambda: plots.as_images(np.zeros((2, 12)), "28"), "image_shape: expected"),
        (lambda: plots.raster(np.eye(3), 3), "ax: expected matplotlib axes, got 3"),
        (lambda: plots.raster(np.eye(3), color=3), "color: expected text, got 3"),
        (lambda: plots.image_grid(3), "rows: expected a mapping, got 3"),
        (lambda: plots.dictionary(np.eye(3), per_row=0), "per_row: expected"),
        (
            lambda: plots.difference_by_iteration([1], margin="x"),
            "margin: expected an array of real numbers",
        ),
        (lambda: plots.difference_by_iteration([1], margin=[1, 2]), "margin: expected a number or"),
        (lambda: plots.as_images(np.zeros(12)), r"expected flat images \[n, M\], got \[12\]"),
        (lambda: plots.image_grid({}), "one or more rows"),
        (lambda: plots.image_grid({"a": np.zeros((2, 12))}), r"got \[2, 12\]"),
        (lambda: plots.image_grid({"a": np.zeros((2, 2, 2)), "b": np.zeros((1, 2, 2))}), "shape"),
        (lambda: plots.image_grid({"digits": "text"}), "digits: expected an array of real"),
        (lambda: plots.difference_grid(np.zeros((0, 2, 2))), r"got \[0, 2, 2\]"),
        (lambda: plots.dictionary(np.zeros((0, 4))), "at least one"),
        (lambda: plots.raster([1, 2]), r"expected counts \[T, K\], got \[2\]"),
        (lambda: plots.mark_differences(np.eye(2), np.eye(3), axes()), "one shape"),
        (lambda: plots.potentials([[1]], [1]), r"float: expected a value per iteration"),
        (lambda: plots.by_iteration({"mse": [[1]]}), r"mse: expected a value per iteration"),
        (lambda: plots.difference_by_iteration(None), "difference: expected an array of real"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_figure_is_made(call, message, monkeypatch):
    monkeypatch.setattr("matplotlib.pyplot.subplots", None)
    with pytest.raises(InputError, match=message):
        call()
