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
from pvae_neuro.network import same_network
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.reference import ReferenceEngine


@pytest.mark.parametrize("network", [toy.lateral(), toy.predictive()], ids=lambda n: n.topology)
def test_what_is_saved_loads(network, tmp_path):
    sha256 = save_artifact(network, toy.images(network, 2), tmp_path / "model.onnx")
    artifact = load_artifact(tmp_path / "model.onnx")
    assert artifact.sha256 == sha256
    assert artifact.golden.steps == 8
    assert same_network(artifact.network, network)


def faulty(golden: Golden, field: str, place: tuple[int, int, int]) -> Golden:
    values = getattr(golden, field).copy()
    values[place] += 1
    return replace(golden, **{field: values})


@pytest.mark.parametrize("field", ["counts", "potentials"])
def test_a_golden_fault_is_named(field, tmp_path):
    network = toy.predictive()
    golden = make_golden(network, toy.images(network, 2))
    wrong = faulty(golden, field, (1, 5, 3))
    write_onnx(network, wrong, tmp_path / "model.onnx")
    values = f"{getattr(wrong, field)[1, 5, 3]}, got {getattr(golden, field)[1, 5, 3]}"
    message = f"step 5, neuron 3 of sample 1: expected {field[:-1]} {values}"
    with pytest.raises(ArtifactError, match=message):
        load_artifact(tmp_path / "model.onnx")


def test_the_earliest_divergence_is_named():
    network = toy.lateral()
    golden = make_golden(network, toy.images(network, 2))
    wrong = faulty(faulty(golden, "counts", (0, 6, 1)), "potentials", (1, 5, 3))
    assert "step 5, neuron 3 of sample 1" in replay(network, wrong, ReferenceEngine())
    wrong = faulty(faulty(golden, "counts", (1, 5, 7)), "potentials", (0, 5, 3))
    assert "step 5, neuron 7 of sample 1: expected count" in first_divergence(
        wrong, golden.counts, golden.potentials
    )


@pytest.mark.parametrize("network", [toy.lateral(), toy.predictive()], ids=lambda n: n.topology)
def test_onnx_runtime_replays_the_golden_vector(network):
    pytest.importorskip("onnxruntime")
    golden = make_golden(network, toy.images(network, 2), steps=5, seed=9)
    assert replay(network, golden, get_engine("onnx")) is None


@pytest.mark.parametrize("images", [np.zeros(20), np.zeros((0, 20)), np.full((1, 20), np.nan)])
def test_unfit_golden_inputs_are_refused(images):
    with pytest.raises(InputError, match="golden inputs"):
        make_golden(toy.lateral(), images)
