"""The front door: what is loaded computes here what it computed where it was written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toy

from pvae_neuro.artifact import (
    Golden,
    first_divergence,
    load_artifact,
    make_golden,
    replay,
    save_artifact,
)
from pvae_neuro.errors import ArtifactError, InputError
from pvae_neuro.exporters.onnx import write_onnx
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.reference import ReferenceEngine

NETWORKS = [toy.lateral(), toy.predictive()]


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_what_is_saved_loads(network, tmp_path):
    sha256 = save_artifact(network, toy.images(network, 2), tmp_path / "model.onnx")
    artifact = load_artifact(tmp_path / "model.onnx")
    assert artifact.sha256 == sha256
    assert artifact.golden.iterations == 8
    assert artifact.network == network


def faulty(golden: Golden, name: str, step: int) -> Golden:
    hashes = list(golden.hashes[name])
    hashes[step] = "0" * 64
    return replace(golden, hashes={**golden.hashes, name: tuple(hashes)})


@pytest.mark.parametrize("name", ["latents.z", "latents.u", "errors.m"])
def test_a_golden_fault_is_named(name, tmp_path):
    network = toy.predictive()
    wrong = faulty(make_golden(network, toy.images(network, 2)), name, 5)
    write_onnx(network, wrong, tmp_path / "model.onnx")
    message = f"{name} in iteration 6: expected values of hash 000000000000, got [0-9a-f]{{12}}"
    with pytest.raises(ArtifactError, match=message):
        load_artifact(tmp_path / "model.onnx")


def test_the_earliest_divergence_is_named():
    network = toy.lateral()
    golden = make_golden(network, toy.images(network, 2))
    wrong = faulty(faulty(golden, "latents.z", 6), "latents.u", 5)
    assert "latents.u in iteration 6" in replay(network, wrong, ReferenceEngine())


def test_a_wrong_engine_is_told_which_neuron():
    network = toy.lateral()
    images = toy.images(network, 2)
    golden = make_golden(network, images)
    expected = ReferenceEngine().run(network, images, 8, 0, record="full")
    wrong = ReferenceEngine().run(network, images, 8, 0, record="full")
    wrong["latents.u"][1, 3, 7] += 1
    value = expected["latents.u"][1, 3, 7]
    message = f"latents.u in iteration 4, neuron 7 of sample 1: expected {value}, got {value + 1}"
    assert first_divergence(golden, wrong, expected) == message


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_onnx_runtime_replays_the_golden_vector(network):
    pytest.importorskip("onnxruntime", reason="runs the graph in ONNX Runtime")
    golden = make_golden(network, toy.images(network, 2), iterations=5, seed=9)
    assert replay(network, golden, get_engine("onnx")) is None


@pytest.mark.parametrize("images", [np.zeros(20), np.zeros((0, 20)), np.full((1, 20), np.nan)])
def test_unfit_golden_inputs_are_refused(images):
    with pytest.raises(InputError, match="golden inputs"):
        make_golden(toy.lateral(), images)
