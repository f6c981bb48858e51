"""Export: what is tried, what is declared, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from models import random_images, random_model

from pvae_neuro.artifact import load_artifact
from pvae_neuro.errors import CertificateError
from pvae_neuro.export import export_model
from pvae_neuro.exporters.certify import examine
from pvae_neuro.exporters.lateral import load_diagonal
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import same_network
from pvae_neuro.verification import stability
from pvae_neuro.verification.against_float import DECLARED_AGREEMENT, DECLARED_MSE

MODEL = random_model()
IMAGES = random_images(MODEL, 16)


def export(path, topology="lateral", **options):
    config = QuantizeConfig(topology=topology)
    return export_model(MODEL, path, IMAGES, config, stability_steps=60, **options)


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_export_declares_and_reads_back(tmp_path, topology, monkeypatch):
    # Thirty iterations of sixteen small images: the trial's mean is noisy, its working is not.
    monkeypatch.setattr(stability, "EXCESS_PERCENT", 50.0)
    told = []
    result = export(tmp_path / "m.onnx", topology, progress=lambda *a: told.append(a))
    assert same_network(load_artifact(result.path).network, result.network)
    names = [choice.name for choice in result.network.choices]
    assert {DECLARED_MSE, DECLARED_AGREEMENT} <= set(names)
    assert ("stability, percent" in names) == (topology == "lateral")
    assert told


def test_diagonal_load_makes_the_matrix_semidefinite():
    network = quantize(MODEL, IMAGES, QuantizeConfig("lateral", 3))
    assert examine(network).eigenvalue < 0
    loaded = load_diagonal(network, 1.0)
    assert examine(loaded).eigenvalue >= 0
    assert same_network(load_diagonal(network, 0.0), network)
    assert np.ptp(loaded.latents.diagonal - network.latents.diagonal) == 0


def test_an_unstable_network_is_refused_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(stability, "EXCESS_PERCENT", -1000.0)
    with pytest.raises(CertificateError, match="--topology predictive"):
        export(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
