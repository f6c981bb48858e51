"""The parity suite lets a sound engine pass and stops a faulty one, at the first wrong integer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toy
from models import sound_images, sound_model

from pvae_neuro.artifact import save_artifact
from pvae_neuro.export import export_model
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.exporters.quantize import QuantizeConfig
from pvae_neuro.saved.model_file import save_model
from pvae_neuro.saved.shipped import SHIPPED

TESTS = Path(__file__).parent
ROOT = TESTS.parent
FAULTS = ("weight_off_by_one", "noise_word_changed", "one_step_late")


@pytest.fixture(scope="module", params=["lateral", "predictive"])
def export(request, tmp_path_factory):
    network = getattr(toy, request.param)()
    path = tmp_path_factory.mktemp("toy") / f"{request.param}.onnx"
    save_artifact(network, toy.images(network, 2), path)
    return path


def run_suite(export, *targets, options=()):
    command = [sys.executable, "-m", "pytest", "hw_tests", "-p", "faulty_engines"]
    command += ["-p", "no:xdist", "-p", "no:cacheprovider", "--model", str(export)]
    command += ["--samples", "3", "--steps", "12"]
    command += map(str, options)
    for target in targets:
        command += ["--target", target]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_sound_engine_passes_and_loihi2_is_skipped_with_the_reason(export, tmp_path):
    result = tmp_path / "result.json"
    done = run_suite(export, "fast", "loihi2", options=("--result", result))
    assert done.returncode == 0, done.stdout
    assert "loihi2: cannot run on hardware" in done.stdout
    assert " parity " in done.stdout
    checks = json.loads(result.read_text())["checks"]
    arrays = next(c["arrays"] for c in checks if c["check"].startswith("every integer"))
    assert {"latents.u", "latents.z"} <= arrays.keys()
    assert all(a["differing"] == 0 < a["compared"] for a in arrays.values())


def test_each_fault_is_found_and_its_place_named(export):
    done = run_suite(export, *FAULTS)
    assert done.returncode == 1, done.stdout
    for fault in FAULTS:
        found = [line for line in done.stdout.splitlines() if f"{fault} against reference" in line]
        assert found, f"{fault} passed"
        place = re.compile(
            r"(latents|errors)\.[uzm] differs first "
            r"(in iteration \d+|after the last iteration), neuron \d+"
        )
        assert all(place.search(line) for line in found), found


@pytest.mark.parametrize(("bits", "code"), [(8, 0), (2, 1)])
def test_an_export_of_ones_own_is_held_to_the_tolerances_of_verify(tmp_path, bits, code):
    model, images = sound_model(), sound_images(128)
    path, options = tmp_path / "own.onnx", ["-k", "float", "--steps", 20]
    export_model(model, path, images, QuantizeConfig("predictive", bits), accept=True)
    save_model(model, tmp_path / "own.safetensors")
    np.save(tmp_path / "x.npy", images)
    options += ["--float-model", tmp_path / "own.safetensors", "--images", tmp_path / "x.npy"]
    done = run_suite(path, "reference", options=options)
    assert done.returncode == code, done.stdout
    assert "float, 128 images, " in done.stdout
    assert ("integer against float: MSE +" in done.stdout) == (bits == 2)


@pytest.mark.parametrize("name", [None, "mnist-mlp"])
def test_every_circuit_of_every_shipped_model_or_of_one_is_checked(name):
    command = [sys.executable, "-m", "pytest", "hw_tests", "--collect-only", "-q"]
    command += ["-p", "no:cacheprovider", "--target", "fast", *(["--model", name] if name else [])]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = set(re.findall(r"test_the_samplers_are_poisson\[(.*)\]", listed))
    names = [name] if name else SHIPPED
    assert found == {f"{n}:{c}" for n in names for c in topologies(SHIPPED[n].family)}


def test_an_unknown_target_is_a_usage_error(export):
    done = run_suite(export, "loihi3")
    assert done.returncode == 4
    assert "--target: expected one of" in done.stderr


def test_a_file_of_results_is_not_replaced(export, tmp_path):
    result = tmp_path / "result.json"
    result.write_text("{}")
    done = run_suite(export, "fast", options=("--result", result))
    assert done.returncode == 4
    assert "--result:" in done.stderr and "exists; name another file" in done.stderr
    assert result.read_text() == "{}"


@pytest.mark.parametrize(
    "options",
    [
        ("--stage", "S9"),
        ("--noise", "chip"),
        ("--latency", "x"),
        ("--latency", "3,9999"),
        ("--cost-steps", -1),
        ("--samples", 0),
        ("--steps", -1),
    ],
)
def test_an_option_that_cannot_be_is_a_usage_error(options):
    done = run_suite("mnist", "loihi2", options=("--fake-board", *options))
    assert done.returncode == 4, done.stdout
    assert f"{options[0]}: expected" in done.stderr
