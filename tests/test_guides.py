"""The examples of the guides run, and do what the pages say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pvae_neuro import get_engine, load_artifact
from pvae_neuro.errors import EngineError, EngineUnavailableError
from pvae_neuro.exporters import lowerings
from pvae_neuro.exporters.certify import examine
from pvae_neuro.network import Convolution
from pvae_neuro.sim.reference import ReferenceEngine

DOCS = Path(__file__).parents[1] / "docs"


def run_page(name):
    """Run the Python of a page, block after block; return its names."""
    text = (DOCS / name).read_text("utf-8")
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        exec(compile(block, name, "exec"), names)
    return names


def test_engine(monkeypatch):
    names = run_page("engines.md")
    engine, network, digits = names["BlasEngine"](), names["network"], names["digits"]
    mine, right = (
        one.run(network, digits[:5], 6, 7, record="full", first_sample=3)
        for one in (engine, ReferenceEngine())
    )
    for name in network.variables:
        assert np.array_equal(mine[name], right[name])
    assert np.array_equal(mine.squared_error, right.squared_error)
    with pytest.raises(EngineError, match="does not run frames"):
        engine.run(network, np.stack([digits[:2]] * 2, axis=1), 2, 0)
    monkeypatch.setattr(type(network), "connection_kinds", frozenset({Convolution.kind}))
    with pytest.raises(EngineError, match="does not have the connection kind 'convolution'"):
        engine.run(replace(network), digits[:1], 2, 0)


def test_images_block_by_block(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_page("performance.md")
    assert names["mapped"].samples == 300


def test_lowering(monkeypatch):
    monkeypatch.setattr(lowerings, "LOWERINGS", list(lowerings.LOWERINGS))
    names = run_page("lowerings.md")
    network, digits = names["network"], names["digits"]
    assert "threshold" in names["pn"].listing(network)
    plain = names["pn"].quantize(names["model"], digits)
    errors = [
        ReferenceEngine().run(one, digits[:16], 32, 0).squared_error[:, -1].mean()
        / 4.0 ** max(one.input.frac_bits, one.readout.frac_bits)
        for one in (plain, network)
    ]
    # Messages that are not sent cost nothing: the page says so.
    assert errors[1] == pytest.approx(errors[0], rel=0.05)


def test_tensors():
    pytest.importorskip("torch", reason="the page trains")
    names = run_page("tensors.md")
    before, after = (names[n].connection_of["lateral"].weight for n in ("network", "trained"))
    assert (before != after).any()


def test_the_python_interface(capsys):
    run_page("api.md")
    assert capsys.readouterr().out.startswith("<Recording: 2 samples, iterations 8, MSE ")


def test_listing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page("listing.md")
    assert (tmp_path / "words/listing.txt").exists()


def test_chain(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the page trains")
    monkeypatch.chdir(tmp_path)
    names = run_page("generalized_integers.md")
    network, digits = names["exported"].network, names["digits"]
    laws = [found.law for found in examine(load_artifact("chain.onnx").network).samplers]
    assert sorted(laws) == ["Bernoulli", "Poisson", "Poisson"]
    runs = {}
    for name in ("reference", "fast", "onnx", "torch", "lava", "c"):
        try:
            engine = get_engine(name)
        except EngineUnavailableError:
            continue
        runs[name] = engine.run(network, digits[:2], 6, seed=1, record="full")
    for variable in network.variables:
        for name, run in runs.items():
            assert np.array_equal(run[variable], runs["reference"][variable]), (name, variable)
    # The page says "briefly": the training has begun to explain the digits, and all nodes fire.
    assert names["exported"].report.float_result.by_float.final()["r2"] > 0.1
    assert all(runs["reference"][f"node{n}.z"].any() for n in (1, 2, 3))
