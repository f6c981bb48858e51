"""Export: what is tried, what is measured, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cli_tools import run_cli
from models import random_images, random_model, sound_images, sound_model

from pvae_neuro.artifact import load_artifact
from pvae_neuro.errors import EngineUnavailableError, InputError, QualityError
from pvae_neuro.export import MEASURING_SEED, export_model, unsupported_engines
from pvae_neuro.exporters.certify import certify
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim import engine
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification import stability
from pvae_neuro.verification.verify import verify
from pvae_neuro.zoo import sample_digits

MODEL = sound_model()
IMAGES = sound_images(64)


def export(path, topology="lateral", **options):
    config = QuantizeConfig(topology=topology)
    return export_model(MODEL, path, IMAGES, config, stability_steps=60, **options)


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_export_measures_and_reads_back(tmp_path, topology):
    told = []
    result = export(tmp_path / "m.onnx", topology, progress=lambda *a: told.append(a))
    assert load_artifact(result.path).network == result.network
    measured, found = result.network.measurements, result.report.float_result
    # As far from float as it may be by what was measured.
    assert measured.mse_percent == abs(found.mse.value) + found.mse.margin < 1.5
    assert measured.zeros_points == abs(found.zeros.value) + found.zeros.margin
    assert measured.agreement == found.agreement > 0.98
    assert (measured.images, measured.iterations) == (64, 32)
    assert result.report.seed == MEASURING_SEED and result.report.outcome == "passed"
    assert result.accepted == result.warnings == ()
    assert (measured.stability_iterations == 60) == (topology == "lateral")
    assert (measured.excess_percent is None) == (topology == "predictive")
    stages = {stage: (done, of) for stage, done, of in told}
    assert stages["float"] == (64 * 32, 64 * 32)
    assert ("stability" in stages) == (topology == "lateral")
    assert result.certificate.to_dict() == certify(result.network).to_dict()


def test_a_model_is_measured_for_as_many_iterations_as_it_was_trained_for(tmp_path, monkeypatch):
    monkeypatch.setattr("pvae_neuro.export.MEASURED_ITERATIONS", (10, 20))
    for steps, expected in ((8, 10), (15, 15), (1000, 20)):
        model = SavedModel(MODEL.config.model_copy(update={"steps": steps}), MODEL.arrays)
        result = export_model(model, tmp_path / "m.onnx", IMAGES, accept=True)
        assert result.report.steps == result.network.measurements.iterations == expected


def test_two_bits_are_refused_and_verify_fails_what_was_accepted(tmp_path, capsys):
    """The shipped model at 2 bits has six times the squared error of float."""
    path = tmp_path / "m.onnx"
    arguments = "export", "mnist", "-o", path, "--weight-bits", 2, "--stability-steps", 20
    code, out, err = run_cli(capsys, *arguments)
    assert code == 1 and not list(tmp_path.iterdir())
    assert "on the calibration inputs" in out and "FAILED" in out
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    percent = float(re.search(r"MSE \+(\S+) ± ", line).group(1))
    assert 300 < percent < 900 and "expected at most 5 %" in line and "--accept" in line
    code, out, err = run_cli(capsys, *arguments, "--accept")
    assert code == 0 and path.is_file()
    assert "accepted: integer against float: MSE +" in err
    assert (
        "by the default tolerances of verify: integer against float: MSE +" in err
        and "on the calibration inputs" in out
    )
    assert load_artifact(path).network.measurements.mse_percent > 300
    digits = tmp_path / "x.npy"
    np.save(digits, sample_digits()[0][:64])
    verify = "verify", path, "-i", digits, "--model", "mnist", "--engines", "fast"
    code, out, err = run_cli(capsys, *verify)
    assert code == 1 and "FAILED" in out
    assert "WITHIN-DECLARED: predictive: integer against float: MSE +" in err
    code, _, err = run_cli(capsys, *verify, "--accept-declared")
    assert code == 0 and "accepted: predictive: integer against float: MSE +" in err
    wide = "-n", 8, "--mse-percent", 1e4, "--zeros-points", 100
    code, _, _ = run_cli(capsys, *verify, *wide)
    assert code == 0


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_a_model_that_explains_nothing_is_written_only_if_accepted(tmp_path, topology):
    dead = SavedModel(
        MODEL.config, {**MODEL.arrays, "dictionary": MODEL.arrays["dictionary"] * 1e-3}
    )
    config, path = QuantizeConfig(topology), tmp_path / "m.onnx"
    with pytest.raises(QualityError, match=r"explains nothing of these images.*nothing is written"):
        export_model(dead, path, IMAGES, config, stability_steps=60)
    assert not list(tmp_path.iterdir())
    result = export_model(dead, path, IMAGES, config, stability_steps=60, accept=True)
    assert "explains nothing" in result.accepted[0] and path.is_file()
    report = verify(load_artifact(path).network, dead, IMAGES, engines=["reference"])
    assert report.outcome == "failed"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((64, 30), np.float32), "each of the 64 images is of one value"),
        (
            np.linspace(0, 1, 4, dtype=np.float32)[:, None].repeat(30, 1),
            "each of the 4 images is of one value",
        ),
        (np.repeat(IMAGES[:1], 9, axis=0), "all 9 images are the same"),
    ],
)
def test_calibration_without_content_is_refused(tmp_path, images, message):
    with pytest.raises(InputError, match=f"calibration inputs: {message}, so they do not show"):
        export_model(MODEL, tmp_path / "m.onnx", images)
    assert not list(tmp_path.iterdir())


def test_calibration_that_may_not_represent_is_warned_of(tmp_path):
    dim = export_model(MODEL, tmp_path / "m.onnx", IMAGES * 0.2, accept=True)
    assert "calibration inputs reach 0.2 of a declared range of [0, 1]" in dim.warnings[0]
    one = export_model(MODEL, tmp_path / "m.onnx", IMAGES[:1])
    assert "a single calibration input tells neither" in one.warnings[0]
    assert one.network.measurements.mse_percent is None


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
    with pytest.raises(QualityError, match="it is unstable, whatever its diagonal") as caught:
        export_model(model, tmp_path / "m.onnx", images, config, stability_steps=120)
    assert "take 8-bit weights, or a circuit without recurrent connections" in str(caught.value)
    assert caught.value.remedy == "accept" and "--" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    kept = export_model(
        model, tmp_path / "m.onnx", images, config, stability_steps=120, accept=True
    )
    assert "it is unstable" in kept.accepted[0]
    assert stability.instability(load_artifact(kept.path).network) == kept.accepted[0]


def test_the_smallest_share_of_the_diagonal_that_is_stable_is_taken(monkeypatch):
    network = quantize(MODEL, IMAGES, QuantizeConfig("lateral", 3))
    tried = []

    def evaluated(subject, images, **options):
        tried.append(subject)
        # Unstable until the diagonal is raised in full; float's error is 1.
        error = {1: 9.0, 2: 2.0, 3: 1.02}[len(tried)]
        return type("Evaluation", (), {"mse": np.full(60, error)})

    monkeypatch.setattr(stability, "evaluate", evaluated)
    monkeypatch.setattr(stability, "_errors", lambda circuit, images, steps, tell: np.ones(steps))
    kept = stability.stabilize(network, MODEL, IMAGES, 60)
    assert tried[0] == network and len(tried) == 3
    assert kept.population_of["latents"].constants[-1].name == "diagonal"
    assert kept.measurements.excess_percent == pytest.approx(2.0)
    assert kept.measurements.smallest_eigenvalue >= 0
    assert stability.instability(kept) is None
    tried.clear()
    monkeypatch.setattr(stability, "EXCESS_PERCENT", 1.0)
    worst = stability.stabilize(network, MODEL, IMAGES, 60)
    assert "MSE is +2.0 % of float's" in stability.instability(worst)
