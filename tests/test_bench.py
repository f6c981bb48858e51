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

from pvae_neuro.bench.config import BenchConfig, available_cores
from pvae_neuro.bench.contenders import CONTENDERS, Contender
from pvae_neuro.bench.networks import (
    pinned_float_model,
    pinned_network,
    pinned_potentials,
    random_images,
)
from pvae_neuro.bench.run import measured_activity, run_bench
from pvae_neuro.bench.timing import Entry, Rules, Spread, TooSlowError, calibrate, interleave
from pvae_neuro.errors import EngineError, InputError, MissingDependencyError
from pvae_neuro.sim.engine import get_engine

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RULES = Rules(repeats=2, min_seconds=1e-4, limit_seconds=60.0)
TINY = BenchConfig(
    latents=(24,),
    batches=(2,),
    activities=(0.2,),
    topologies=("lateral", "predictive"),
    threads=(1,),
    pixels=16,
    rules=RULES,
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
    result = run_bench(replace(TINY, engines=(name,)))
    assert result.baseline == name
    for case in result.cases:
        (measurement,) = case.measurements
        assert measurement.engine == name
        assert measurement.images == case.batch
        assert measurement.turns == RULES.repeats
        assert 0 < measurement.microseconds.q25 <= measurement.microseconds.median
        assert measurement.ratio == Spread(1.0, 1.0, 1.0)
        assert not case.skipped


def test_the_result_is_json_with_everything_a_reader_needs():
    engines = ("reference", "absent")
    result = run_bench(replace(TINY, engines=engines), contenders={**CONTENDERS, "absent": ABSENT})
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["machine"]["cores"] == available_cores()
    assert content["versions"]["numpy"] == np.__version__
    assert content["config"]["latents"] == [24]
    assert content["config"]["rules"]["repeats"] == 2
    assert content["baseline"] == "reference"
    assert set(content["engines"]) == {"reference"}
    assert content["skipped"] == {"absent": "absent: not installed"}
    assert [case["topology"] for case in content["cases"]] == ["lateral", "predictive"]
    for case in content["cases"]:
        (m,) = case["measurements"]
        assert 0 < m["ratio"]["q25"] <= m["ratio"]["median"] <= m["ratio"]["q75"]
        assert m["steps"] >= 1


def not_installed():
    raise MissingDependencyError("absent: not installed")


ABSENT = Contender("absent", not_installed, lambda setting: None)


def test_nothing_that_can_run_is_an_error():
    with pytest.raises(InputError, match="no contender can run here: absent: not installed"):
        run_bench(replace(TINY, engines=("absent",)), contenders={"absent": ABSENT})
    with pytest.raises(InputError, match=r"engines: expected one of .*'warp'"):
        run_bench(replace(TINY, engines=("warp",)))


def test_progress_counts_the_measurements_of_each_case():
    seen = []
    run_bench(replace(TINY, engines=("reference",)), lambda *step: seen.append(step))
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
    torch = pytest.importorskip("torch")
    from pvae_neuro.models.poisson.ipvae import IPVAE

    model = IPVAE.from_saved(pinned_float_model(64, 16, 0.12))
    u = start = model.initial_state(4)
    with torch.no_grad():
        for _ in range(50):
            u = model.step(u, torch.rand(4, 16)).u
    assert torch.allclose(u, start, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topologies": ("ring",)}, "topologies: expected one of .*'ring'"),
        ({"engines": ()}, "engines: expected at least one"),
        ({"baseline": "onnx", "engines": ("fast",)}, "baseline: expected one of fast"),
        ({"threads": (0,)}, "threads: .*at least 1"),
        ({"threads": (10_000,)}, "threads: expected at most"),
        ({"latents": ()}, "nothing to run"),
        ({"activities": (0.0,)}, "activities: expected shares"),
        ({"batches": (0,)}, "batches: .*at least 1"),
        ({"rules": Rules(repeats=0)}, "repeats: expected at least 1"),
        ({"rules": Rules(steps=0)}, "steps: expected at least 1"),
        ({"rules": Rules(min_seconds=0.0)}, "min_seconds"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        replace(TINY, **changes)


def test_a_contender_that_cannot_run_a_case_does_not_stop_it():
    def prepare(setting):
        raise EngineError("other: not today")

    contenders = {**CONTENDERS, "other": Contender("other", lambda: None, prepare)}
    config = replace(TINY, engines=("reference", "other"), topologies=("lateral",))
    (case,) = run_bench(config, contenders=contenders).cases
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

    network = pinned_network("lateral", 12, 20, 0.3)
    path = tmp_path / "toy.onnx"
    save_artifact(network, random_images(network, 2), path)
    config = replace(
        TINY, latents=(), models=(str(path),), engines=("reference",), rules=replace(RULES, steps=3)
    )
    (case,) = run_bench(config).cases
    assert (case.model, case.latents, case.pixels) == ("toy.onnx", 12, 20)
    assert case.activity_target is None
    assert 0 < case.activity <= 1
    assert case.measurements[0].steps == 3


def run_script(name, *arguments):
    words = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)


def test_the_page_of_figures_is_written_from_json(tmp_path):
    result = run_bench(replace(TINY, latents=(8,), topologies=("lateral",), engines=("reference",)))
    (tmp_path / "bench.json").write_text(json.dumps(result.to_dict()))
    out = tmp_path / "figures.md"
    done = run_script("performance_figures.py", "--bench", tmp_path / "bench.json", "--out", out)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert "| lateral | 8 | 2 |" in text
    # Nothing of size 512 was measured, and nothing is made up.
    assert "not measured" in text
    assert "reached |" not in text
