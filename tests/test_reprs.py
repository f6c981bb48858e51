"""Objects that people look at print in a line, and never their arrays."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

import pvae_neuro as pn
from pvae_neuro.data import make_images
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.network import Choice, Shared
from pvae_neuro.network.host import Encoding
from pvae_neuro.sim.engine import BlockResult, get_engine
from pvae_neuro.training.finetuning.finetune import Figures
from pvae_neuro.utils.html import html_table
from pvae_neuro.utils.show import show

pytest.importorskip("torch", reason="models of PyTorch are among the objects")
pytest.importorskip("onnx", reason="artifacts are among the objects")

LONGEST = 200


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> dict[str, Any]:
    """One of each, from the shipped model where that makes them large."""
    folder = tmp_path_factory.mktemp("objects")
    model, digits = pn.load_pretrained(), pn.sample_digits()[0][:4]
    result = pn.export_model(model, folder / "model.onnx", digits, accept=True, progress=False)
    network = result.network
    latents = network.population_of["latents"]
    plain = toy.lateral()
    images = make_images(digits.reshape(-1, 28, 28), np.arange(4))
    kernel = np.zeros((1, 1, 3, 3), np.int8)
    shapes = {"source_shape": (1, 4, 4), "target_shape": (1, 4, 4), "padding": 1}
    config = pn.TrainConfig(latents=7)
    return {
        "Activation": network.iteration[0],
        "Artifact": pn.load_artifact(folder / "model.onnx"),
        "Certificate": result.certificate,
        "Constant": latents.constants[0],
        "Context": pn.Context(folder, folder, folder),
        "Cost": pn.cost_of(network, digits, steps=2),
        "Convolution": pn.Convolution("c", "a", "z", "b", kernel, **shapes),
        "Dense": network.connection_of["prediction"],
        "Encoding": plain.encodings[0],
        "Engine": get_engine("reference"),
        "Evaluation": pn.evaluate(model, digits, steps=3),
        "ExperimentResult": (found := pn.ExperimentResult("n", "t", [], [[0.0]] * 99, print)),
        "ExperimentSummary": pn.ExperimentSummary("quick", [0], [(0.1, 0.1)], [found]),
        "ExportResult": result,
        "Feeder": pn.make_feeder("stationary", images),
        "IPVAE": pn.model_from_saved(model),
        "FinetuneConfig": pn.FinetuneConfig(),
        "FinetuneResult": pn.FinetuneResult(model, *[Figures(3.2, 0.85, 1.5)] * 3, 9, 128, 1.0),
        "Input": network.input,
        "IntegerNetwork": network,
        "Model": pn.build_model(model.config),
        "ModelConfig": model.config,
        "OneToOne": network.connection_of["pixels"],
        "ParityReport": result.report,
        "PatchConfig": pn.PatchConfig(),
        "Placement": pn.place(network),
        "Population": latents,
        "Program": latents.programs[0],
        "QuantizeConfig": pn.QuantizeConfig(),
        "Readout": plain.readout,
        "Recording": get_engine("reference").run(network, digits, 3, 0, record="full"),
        "Sampler": latents.sampler,
        "SavedModel": model,
        "Tolerances": pn.Tolerances(),
        "Trace": infer(model, digits, 3),
        "TrainConfig": config,
        "TransposedConvolution": pn.TransposedConvolution("c", "a", "z", "b", kernel, **shapes),
        "Variable": latents.variables[0],
        # Not public by name, and handed out by what is.
        "Choice": network.choices[0],
        "FloatResult": result.report.float_result,
        "Golden": pn.load_artifact(folder / "model.onnx").golden,
        "Images": images,
        "Measurements": network.measurements,
        "Range": result.certificate.rows[0],
        "Ranges": network.ranges,
        "Traces": result.report.traces,
    }


def public_classes() -> set[str]:
    found = {name: getattr(pn, name) for name in dir(pn) if name != "plots"}
    return {
        name
        for name, value in found.items()
        if inspect.isclass(value) and not issubclass(value, Exception)
    }


def test_every_public_class_is_looked_at(objects):
    assert public_classes() <= set(objects)
    for name in public_classes() - {"Feeder"}:  # A protocol.
        assert isinstance(objects[name], getattr(pn, name))


def test_each_prints_in_one_short_line(objects):
    for name, value in objects.items():
        text = repr(value)
        assert len(text) <= LONGEST, f"{name}: {len(text)} characters: {text[:300]}"
        assert "array(" not in text, text
        assert "\n" not in text, text
        assert " object at 0x" not in text, text


def test_texts_say_what_there_is(objects):
    assert repr(objects["IntegerNetwork"]) == (
        "<IntegerNetwork predictive: pixels 784, latents 512, errors 784; 3 connections>"
    )
    assert repr(objects["Variable"]) == "Variable(name='u', initial=int32 [512])"
    assert repr(objects["Program"]) == "<Program fire: 1 operations, sets z>"
    assert repr(objects["TrainConfig"]) == "TrainConfig(latents=7)"
    assert repr(objects["SavedModel"]).startswith(
        "<SavedModel ipvae-linear: 784 pixels in [0, 1], 512 latents, 403"
    )
    assert repr(objects["Images"]) == (
        "<Images 'images': 4 of 28 x 28 pixels in [0, 1], with labels>"
    )
    evaluation = objects["Evaluation"]
    assert f"MSE {evaluation.mse[-1]:.4g}" in repr(evaluation)
    assert objects["ParityReport"].outcome in repr(objects["ParityReport"])


def test_names_of_any_length_keep_the_line_short():
    name = "x" * 64
    network = toy.lateral()

    def stay(n):
        setattr(n, name, getattr(n, name))

    populations = tuple(
        pn.Population(
            name[:-1] + str(i), 3, (pn.Variable(name, pn.shared(0)),), (), (pn.trace(stay, name),)
        )
        for i in range(9)
    )
    many = pn.IntegerNetwork(
        name, network.input, network.encodings, (*network.populations, *populations),
        network.connections, network.iteration,
    )  # fmt: skip
    assert len(repr(many)) <= LONGEST
    assert len(repr(populations[0])) <= LONGEST
    weight = np.zeros(3, np.int8)
    assert len(repr(pn.OneToOne(name, name, name, name, weight))) <= LONGEST
    assert len(repr(Choice(name, 1.0, "why " * 200))) <= LONGEST
    assert len(repr(Encoding(name, name))) <= LONGEST
    assert len(repr(Shared(name, True, (0, 1), (0, 1)))) <= LONGEST
    assert "array(" not in repr(BlockResult({}, {}))


# ------------------------------------------------------------------------------- notebooks


@pytest.mark.parametrize("name", ["ParityReport", "IntegerNetwork", "Recording", "SavedModel"])
def test_notebooks_show_a_table(objects, name):
    text = objects[name]._repr_html_()
    assert "<table" in text
    assert "array(" not in text
    assert "<script" not in text


def test_tables_escape_what_comes_from_files():
    text = html_table("<b>", [("<script>", "\x1b[31m", 3)])
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;" in text
    assert "<td style='text-align:left'>3</td>" in text


def test_a_report_writes_its_page(objects, tmp_path):
    pytest.importorskip("matplotlib", reason="draws the page")
    pytest.importorskip("jinja2", reason="writes the page")
    objects["ParityReport"].to_html(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert objects["ExportResult"].program_hash in page


def test_failures_and_warnings_are_properties(objects):
    report = objects["ParityReport"]
    assert isinstance(report.failures, tuple)
    assert isinstance(report.warnings, tuple)
    assert report.passed == (report.outcome == "passed") == (not report.failures)


# ------------------------------------------------------------------------------- recording


@pytest.mark.parametrize("network", [toy.lateral(), toy.predictive()], ids=repr)
def test_recordings_in_float_units(network):
    images = toy.images(network, 3)
    recording = get_engine("reference").run(network, images, 5, 0, record="full")
    unit = 2.0**-network.latents.sampler.frac_bits
    assert recording.samples == 3
    assert recording.potential.shape == recording.rates.shape == (3, 6, network.latents.size)
    assert recording.potential.dtype == recording.rates.dtype == np.float32
    assert np.array_equal(recording.potential.astype(np.float64), recording["latents.u"] * unit)
    assert np.allclose(recording.rates, np.exp(recording["latents.u"] * unit), rtol=1e-5)
    assert recording.mse.shape == (5,)
    error = ((images - recording.reconstruction.astype(np.float64)) ** 2).sum(axis=1).mean()
    # An encoded pixel is off by at most half a unit.
    off = 2.0**-network.input.frac_bits * images.shape[1] * (1 + np.abs(images).max()) * 100
    assert abs(recording.mse[-1] - error) < off
    exact = np.mean([float(e) for e in recording.squared_error[:, -1]]) * recording.error_unit
    assert recording.mse[-1] == pytest.approx(exact, rel=1e-12)


def test_what_was_not_recorded_is_named():
    network = toy.lateral()
    images = toy.images(network, 2)
    engine = get_engine("reference")
    with pytest.raises(pn.InputError, match=r"'full' or \['latents\.u'\]"):
        engine.run(network, images, 2, 0, record="summary").potential  # noqa: B018
    chosen = engine.run(network, images, 2, 0, record=["latents.u"])
    assert chosen.rates.shape == (2, 3, network.latents.size)
    with pytest.raises(pn.InputError, match="no squared error"):
        engine.run(network, images, 2, 0, record="last").mse  # noqa: B018


def test_a_network_that_draws_from_no_variable_has_no_potential():
    def count(n):
        n.z = n.draw(n.u + n.bias)

    sampler = pn.Sampler(15, 12)
    population = pn.Population(
        "cells", 2,
        (pn.Variable("u", pn.shared(0)), pn.Variable("z", pn.shared(0))),
        (pn.Constant("bias", pn.shared(3)),),
        (pn.trace(count),),
        sampler,
    )  # fmt: skip
    network = pn.IntegerNetwork(
        "bare", pn.Input(2, 0.0, 1.0, 8), (), (population,), (),
        (pn.Activation("cells", "count"),), readout=pn.Readout("cells", "z"),
    )  # fmt: skip
    recording = get_engine("reference").run(network, np.zeros((1, 2)), 2, 0, record="full")
    with pytest.raises(pn.InputError, match="no counts from a potential"):
        recording.rates  # noqa: B018


def test_objects_travel_to_other_processes(objects):
    for name in ("Recording", "SavedModel", "ModelConfig", "IntegerNetwork", "Images"):
        assert repr(pickle.loads(pickle.dumps(objects[name]))) == repr(objects[name])


def test_show_is_one_line_for_anything():
    class Odd:
        def __repr__(self) -> str:
            return "a\nb" * 100

    for value in (Odd(), Path("x" * 500), np.zeros((2, 2)), {"a": np.zeros(9)}):
        assert "\n" not in show(value)
        assert len(show(value)) <= 60
