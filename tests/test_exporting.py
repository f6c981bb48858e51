"""Export: what is tried, what is measured, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from models import random_images, random_model

from pvae_neuro.artifact import load_artifact
from pvae_neuro.errors import CertificateError, EngineUnavailableError
from pvae_neuro.export import export_model, unsupported_engines
from pvae_neuro.exporters.certify import certify
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.sim import engine
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification import stability

MODEL = random_model()
IMAGES = random_images(MODEL, 16)


def export(path, topology="lateral", **options):
    config = QuantizeConfig(topology=topology)
    return export_model(MODEL, path, IMAGES, config, stability_steps=60, **options)


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_export_measures_and_reads_back(tmp_path, topology, monkeypatch):
    # Sixty iterations of sixteen small images: the trial's mean is noisy, its working is not.
    monkeypatch.setattr(stability, "EXCESS_PERCENT", 50.0)
    told = []
    result = export(tmp_path / "m.onnx", topology, progress=lambda *a: told.append(a))
    assert load_artifact(result.path).network == result.network
    measured = result.network.measurements
    assert 0 <= measured.mse_percent < 20 and 0.9 < measured.agreement <= 1
    assert (measured.images, measured.iterations) == (16, 32)
    assert (measured.stability_iterations == 60) == (topology == "lateral")
    assert (measured.excess_percent is None) == (topology == "predictive")
    stages = {stage: (done, of) for stage, done, of in told}
    assert stages["float"] == (16 * 32, 16 * 32)
    assert ("stability" in stages) == (topology == "lateral")
    assert result.certificate.to_dict() == certify(result.network).to_dict()


class Small(ReferenceEngine):
    name = "small"
    connection_kinds = frozenset({"one_to_one"})


class Absent(ReferenceEngine):
    name = "absent"

    def __init__(self):
        raise EngineUnavailableError("engine absent: not installed here")


def test_engines_that_will_not_run_the_network_are_told(monkeypatch):
    engines = {
        "reference": engine.ENGINES["reference"],
        "small": f"{__name__}:Small",
        "absent": f"{__name__}:Absent",
    }
    monkeypatch.setattr(engine, "ENGINES", engines)
    network = quantize(MODEL, IMAGES, QuantizeConfig("lateral"))
    found = unsupported_engines(network)
    assert found == {"small": ["engine small does not have the connection kind 'dense'"]}


def test_every_engine_runs_the_circuits_of_the_linear_model():
    for topology in ("lateral", "predictive"):
        assert unsupported_engines(quantize(MODEL, IMAGES, QuantizeConfig(topology))) == {}


def test_an_unstable_network_is_refused_and_nothing_is_written(tmp_path):
    model = random_model(latents=60)
    config = QuantizeConfig("lateral", 2)
    images = random_images(model, 16)
    with pytest.raises(CertificateError, match="it is unstable, whatever its diagonal") as caught:
        export_model(model, tmp_path / "m.onnx", images, config, stability_steps=120)
    assert caught.value.remedy == "predictive"
    assert "--" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_smallest_share_of_the_diagonal_that_is_stable_is_taken(monkeypatch):
    network = quantize(MODEL, IMAGES, QuantizeConfig("lateral", 3))
    tried = []

    def evaluated(subject, images, **options):
        tried.append(subject)
        # Float first, then the network: unstable until its diagonal is raised in full.
        error = {1: 1.0, 2: 9.0, 3: 2.0, 4: 1.02}[len(tried)]
        return type("Evaluation", (), {"mse": np.full(60, error)})

    monkeypatch.setattr(stability, "evaluate", evaluated)
    kept = stability.stabilize(network, MODEL, IMAGES, 60)
    assert tried[0] is MODEL and tried[1] == network and len(tried) == 4
    assert kept.population_of["latents"].constants[-1].name == "diagonal"
    assert kept.measurements.excess_percent == pytest.approx(2.0)
    assert kept.measurements.smallest_eigenvalue >= 0
    tried.clear()
    monkeypatch.setattr(stability, "EXCESS_PERCENT", 1.0)
    with pytest.raises(CertificateError, match=r"MSE is \+2\.0 % of float's"):
        stability.stabilize(network, MODEL, IMAGES, 60)
