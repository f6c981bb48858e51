"""Benchmarks: contenders run, figures are sound, activity is what was asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pvae_neuro.bench.cases import (
    artifact_cases,
    available_cores,
    measured_activity,
    synthetic_cases,
)
from pvae_neuro.bench.contenders import CONTENDERS, Contender
from pvae_neuro.bench.networks import (
    pinned_float_model,
    pinned_network,
    pinned_potentials,
    random_images,
)
from pvae_neuro.bench.run import choose_contenders, run_bench
from pvae_neuro.bench.timing import Entry, Rules, Spread, TooSlowError, calibrate, interleave
from pvae_neuro.errors import EngineError, InputError, MissingDependencyError
from pvae_neuro.sim.engine import get_engine

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RULES = Rules(repeats=2, min_seconds=1e-4, limit_seconds=60.0)
REFERENCE = choose_contenders(["reference"])


def tiny_cases(*topologies):
    return synthetic_cases(
        topologies or ("lateral", "predictive"), (24,), (2,), (0.2,), (1,), pixels=16
    )


def skip_if_missing(*names):
    for name in names:
        try:
            CONTENDERS[name].require()
        except MissingDependencyError as error:
            pytest.skip(str(error))


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_runs_alone(name):
    skip_if_missing(name)
    result = run_bench(tiny_cases(), choose_contenders([name]), RULES)
    assert result.baseline == name
    for case in result.cases:
        (measurement,) = case.measurements
        assert measurement.engine == name
        assert measurement.images == 2
        assert measurement.turns == RULES.repeats
        assert 0 < measurement.microseconds.q25 <= measurement.microseconds.median
        assert measurement.ratio == Spread(1.0, 1.0, 1.0)
        assert not case.skipped


def test_the_result_is_json_with_everything_a_reader_needs():
    result = run_bench(tiny_cases(), {**REFERENCE, "absent": ABSENT}, RULES)
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["machine"]["cores"] == available_cores()
    assert content["versions"]["numpy"] == np.__version__
    assert content["rules"]["repeats"] == 2
    assert content["baseline"] == "reference"
    assert set(content["engines"]) == {"reference"}
    assert content["skipped"] == {"absent": "absent: not installed"}
    assert [case["topology"] for case in content["cases"]] == ["lateral", "predictive"]
    for case in content["cases"]:
        assert (case["latents"], case["batch"], case["activity_target"]) == (24, 2, 0.2)
        (m,) = case["measurements"]
        assert 0 < m["ratio"]["q25"] <= m["ratio"]["median"] <= m["ratio"]["q75"]
        assert m["steps"] >= 1


def not_installed():
    raise MissingDependencyError("absent: not installed")


ABSENT = Contender("absent", not_installed, lambda case, stack: None)


def test_nothing_that_can_run_is_an_error():
    with pytest.raises(InputError, match="no contender can run here: absent: not installed"):
        run_bench(tiny_cases(), {"absent": ABSENT}, RULES)
    with pytest.raises(InputError, match="baseline: expected one of reference; got 'onnx'"):
        run_bench(tiny_cases(), REFERENCE, RULES, baseline="onnx")
    with pytest.raises(InputError, match=r"contender: expected one of .*'warp'"):
        choose_contenders(["warp"])
    with pytest.raises(InputError, match="at least one"):
        choose_contenders([])
    with pytest.raises(InputError, match=r"topology: expected one of .*'ring'"):
        run_bench(tiny_cases("ring"), REFERENCE, RULES)


def test_progress_counts_the_measurements_of_each_case():
    seen = []
    run_bench(tiny_cases(), REFERENCE, RULES, progress=lambda *step: seen.append(step))
    assert [(done, total) for _, done, total in seen] == [(1, 2), (2, 2)] * 2
    assert len({case for case, _, _ in seen}) == 2


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
@pytest.mark.parametrize("activity", [0.02, 0.12, 0.5])
def test_activity_is_attained_and_does_not_drift(topology, activity):
    network = pinned_network(topology, 128, 36, activity)
    images = random_images(network, 8)
    recording = get_engine("reference").run(network, images, 64, 3, record="full")
    assert (recording["latents.u"] == network.latents.variable("u").initial).all()
    # 65,536 draws: three standard errors are below 0.006 at every activity.
    assert recording.active.mean() / 128 == pytest.approx(activity, abs=0.01)
    assert measured_activity(network, images, 3) == pytest.approx(activity, abs=0.015)


def test_potentials_have_the_wanted_mean_probability_to_fire():
    for activity in (1e-3, 0.02, 0.5, 0.9):
        u = pinned_potentials(512, activity)
        assert np.mean(-np.expm1(-np.exp(u))) == pytest.approx(activity, rel=1e-3)


def test_the_float_model_is_pinned_too():
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    from pvae_neuro.models.poisson.ipvae import IPVAE

    model = IPVAE.from_saved(pinned_float_model(64, 16, 0.12))
    u = start = model.initial_state(4)
    with torch.no_grad():
        for _ in range(50):
            u = model.step(u, torch.rand(4, 16)).u
    assert torch.allclose(u, start, atol=1e-4)


def test_a_contender_that_cannot_run_a_case_does_not_stop_it():
    def prepare(case, stack):
        raise EngineError("other: not today")

    contenders = {**REFERENCE, "other": Contender("other", lambda: None, prepare)}
    (case,) = run_bench(tiny_cases("lateral"), contenders, RULES).cases
    assert case.skipped == {"other": "other: not today"}
    assert case.measurement("other") is None
    assert case.measurement("reference") is not None


def test_calibration_reaches_the_shortest_time_and_keeps_the_limit():
    def run(steps):
        time.sleep(1e-4 * steps)

    entry = Entry("x", 1, run)
    calibrate(entry, replace(RULES, min_seconds=0.01, repeats=5))
    assert entry.turns == 5
    # Sleeping never takes less than was asked for.
    assert entry.steps * entry.calls * 1e-4 <= entry.measure()
    fixed = Entry("x", 1, run)
    calibrate(fixed, replace(RULES, min_seconds=0.01, steps=2))
    assert fixed.steps == 2
    assert fixed.calls > 1
    with pytest.raises(TooSlowError, match="more than the limit"):
        calibrate(Entry("x", 1, run), replace(RULES, limit_seconds=1e-4))


def test_a_contender_that_fails_in_its_turn_leaves():
    def fail(steps):
        raise EngineError("gone")

    good, bad = Entry("good", 1, lambda steps: None, turns=3), Entry("bad", 1, fail, turns=3)
    assert interleave([good, bad], 0, lambda count: None) == {"bad": "gone"}
    assert len(good.seconds) == 3
    assert bad.seconds == []


def test_a_real_artifact_runs_on_its_golden_inputs(tmp_path):
    from pvae_neuro.artifact import save_artifact
    from pvae_neuro.saved.model_file import save_model

    network = pinned_network("lateral", 12, 20, 0.3)
    path = tmp_path / "toy.onnx"
    save_artifact(network, random_images(network, 2), path)
    result = run_bench(artifact_cases(path, (3,), (1,)), REFERENCE, replace(RULES, steps=3))
    (case,) = result.to_dict()["cases"]
    assert (case["model"], case["latents"], case["pixels"]) == ("toy.onnx", 12, 20)
    assert (case["batch"], case["activity_target"]) == (3, None)
    assert 0 < case["activity"] <= 1
    assert case["measurements"][0]["steps"] == 3
    save_model(pinned_float_model(13, 20, 0.3), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="expected 12 latents and 20 pixels"):
        artifact_cases(path, (3,), (1,), float_model=tmp_path / "other.safetensors")


def test_other_families_are_timed_against_their_own_model(tmp_path):
    from models import family_images, family_model

    from pvae_neuro.artifact import save_artifact
    from pvae_neuro.exporters.quantize import quantize
    from pvae_neuro.saved.model_file import save_model

    skip_if_missing("pytorch")
    model, images = family_model("ipvae-mlp"), family_images(8)
    save_artifact(quantize(model, images), images[:2], tmp_path / "mlp.onnx")
    save_model(model, tmp_path / "mlp.safetensors")
    names = choose_contenders(["reference", "pytorch", "pytorch-bare"])
    alone, beside = (
        run_bench(
            artifact_cases(tmp_path / "mlp.onnx", (3,), (1,), float_model=given), names, RULES
        ).cases[0]
        for given in (None, tmp_path / "mlp.safetensors")
    )
    assert {m.engine for m in alone.measurements} == {"reference"}
    assert "that mlp.onnx was exported from" in alone.skipped["pytorch"]
    assert {m.engine for m in beside.measurements} == {"reference", "pytorch"}
    assert "short form" in beside.skipped["pytorch-bare"]
    linear = tmp_path / "linear.safetensors"
    save_model(pinned_float_model(12, 20, 0.3), linear)
    with pytest.raises(InputError, match=r"expected family ipvae-mlp .*got ipvae-linear"):
        artifact_cases(tmp_path / "mlp.onnx", (3,), (1,), float_model=linear)


def run_script(name, *arguments):
    words = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)


def test_the_page_of_figures_is_written_from_json(tmp_path):
    result = run_bench(tiny_cases("lateral"), REFERENCE, RULES)
    (tmp_path / "bench.json").write_text(json.dumps(result.to_dict()))
    out = tmp_path / "figures.md"
    done = run_script("performance_figures.py", "--bench", tmp_path / "bench.json", "--out", out)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert "| lateral | 24 | 2 |" in text
    # Nothing of size 512 was measured, and nothing is made up.
    assert "not measured" in text
    assert "reached |" not in text


def test_the_roofline_counts_what_activity_and_size_say(monkeypatch):
    pytest.importorskip("numba", reason="needs numba")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import roofline_counts as counts

    def phases(topology, activity):
        network = pinned_network(topology, 64, 40, activity)
        images = random_images(network, 4)
        recording = get_engine("reference").run(network, images, 32, 0, record="full")
        return {p.name: p for p in counts.phases(network, recording, summary=True)}

    quiet, busy = phases("predictive", 0.1), phases("predictive", 0.4)
    # Products with error neurons, nearly all of which send, hardly depend on what fires; rows of
    # active neurons grow with them.
    assert busy["feedback: products"].pair_ops == pytest.approx(
        quiet["feedback: products"].pair_ops, rel=0.05
    )
    assert busy["prediction: rows"].byte_ops == pytest.approx(
        4 * quiet["prediction: rows"].byte_ops, rel=0.2
    )
    assert quiet["latents: noise"].wide == 64 / 16 * 10 * 2
    for phase in (*busy.values(), *phases("lateral", 0.2).values()):
        assert counts.operations(phase) > 0
