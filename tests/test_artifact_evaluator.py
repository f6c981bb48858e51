"""The evaluator that was written from docs/artifact.md alone equals the reference engine."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from artifact_evaluator import Evaluator, philox

import pvae_neuro as pn
from pvae_neuro.artifact import load_artifact, save_artifact
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network.random import random_inputs, random_network
from pvae_neuro.sim.reference import ReferenceEngine


def assert_equal(path, images, steps, seed, first_sample=0):
    network = load_artifact(path).network
    frames = images if images.ndim == 3 else images[:, None]
    expected = ReferenceEngine().run(
        network, images, steps, seed, record="full", first_sample=first_sample
    )
    samples = range(first_sample, first_sample + len(images))
    evaluator = Evaluator(path)
    pixels = np.rint(frames * 2.0**network.input.frac_bits).astype(np.int64).swapaxes(0, 1)
    found = evaluator.run(pixels, steps, seed, samples)
    assert sorted(found) == sorted(network.variables)
    for name in network.variables:
        assert np.array_equal(found[name].swapaxes(0, 1), expected[name]), name
    if network.readout is not None:
        source = f"{network.readout.population}.{network.readout.variable}"
        image = evaluator.reconstruction(found[source][-1]) * 2.0**-network.readout.frac_bits
        assert np.array_equal(image.astype(np.float32), expected.reconstruction)


@pytest.mark.parametrize("circuit", topologies("ipvae-linear"))
def test_the_shipped_model_gives_the_same_integers(circuit, tmp_path):
    model, (digits, _) = pn.load_pretrained(), pn.sample_digits()
    network = quantize(model, digits, QuantizeConfig(topology=circuit))
    images = digits.reshape(len(digits), -1)[:2]
    save_artifact(network, images, tmp_path / "model.onnx")
    assert Evaluator(tmp_path / "model.onnx").golden_differences() == []
    assert_equal(tmp_path / "model.onnx", images, 6, (1 << 64) - 1, first_sample=5)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_give_the_same_integers(seed, tmp_path):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    images = random_inputs(network, rng, 2, frames=2 if seed % 2 else None)
    golden = images if images.ndim == 2 else images[:, 0]
    save_artifact(network, golden, tmp_path / "model.onnx")
    assert_equal(tmp_path / "model.onnx", images, 3, seed)


def test_the_evaluator_imports_nothing_of_ours():
    tree = ast.parse((Path(__file__).parent / "artifact_evaluator.py").read_text())
    names = [n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names]
    names += [str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    allowed = {"base64", "hashlib", "json", "zlib", "pathlib", "numpy", "onnx", "__future__"}
    assert set(names) <= allowed
    assert "np.random" not in (Path(__file__).parent / "artifact_evaluator.py").read_text()


def test_its_generator_is_numpys():
    generator = np.random.Philox(key=[9, 0], counter=[3, 5, 7, 2])
    assert generator.random_raw(4).tolist() == list(philox(9, 4, 5, 7, 2))
