"""Benchmarks: every contender runs, figures are sound, activity is what was asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy

from pvae_neuro.artifact import save_artifact
from pvae_neuro.bench.config import ENGINES, LAVA_ENGINES, Case, available_cores
from pvae_neuro.bench.contenders import CONTENDERS, missing
from pvae_neuro.bench.machine import thread_settings, use_threads
from pvae_neuro.bench.networks import (
    measured_activity,
    pinned_float_model,
    pinned_network,
    pinned_potentials,
    random_images,
)
from pvae_neuro.bench.run import (
    BenchConfig,
    Spread,
    bench_table,
    figure,
    run_bench,
    save_figure,
)
from pvae_neuro.bench.timing import Entry, TooSlowError, calibrate, interleave
from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.fast.team import threads_asked_for

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = BenchConfig(
    latents=(24,),
    batches=(2,),
    activities=(0.2,),
    topologies=("lateral", "predictive"),
    threads=(1,),
    pixels=16,
    repeats=2,
    min_seconds=1e-4,
    limit_seconds=60.0,
)


def runs_here(name):
    return missing(name) is None


@pytest.mark.parametrize("name", ENGINES)
def test_every_contender_runs_alone(name):
    if not runs_here(name):
        pytest.skip(missing(name))
    result = run_bench(replace(TINY, engines=(name,)))
    assert result.baseline == name
    for case in result.cases:
        (measurement,) = case.measurements
        assert measurement.engine == name
        assert measurement.images == case.batch
        assert measurement.turns == TINY.repeats
        assert 0 < measurement.microseconds.q25 <= measurement.microseconds.median
        assert measurement.ratio == Spread(1.0, 1.0, 1.0)
        assert not case.skipped


@pytest.mark.parametrize("name", LAVA_ENGINES)
def test_every_lava_contender_runs_alone(name):
    if not runs_here(name):
        pytest.skip(missing(name))
    result = run_bench(replace(TINY, engines=(name,), topologies=("lateral",)))
    (case,) = result.cases
    assert not case.skipped
    assert case.measurements[0].images == (2 if name == "lava-batch" else 1)
    assert case.measurements[0].microseconds.median > 0


def test_the_result_is_json_with_everything_a_reader_needs():
    result = run_bench(replace(TINY, engines=("reference", "onnx", "norse", "fast")))
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["schema_version"] == 1
    assert content["machine"]["cores"] == available_cores()
    assert content["versions"]["numpy"] == np.__version__
    assert content["config"]["latents"] == [24]
    assert content["baseline"] == "reference"
    assert set(content["engines"]) | set(content["skipped"]) == set(TINY_ENGINES)
    assert content["threads"]["1"]["fast"] == 1
    assert len(content["cases"]) == 2
    for case in content["cases"]:
        assert {m["engine"] for m in case["measurements"]} == set(content["engines"])
        for m in case["measurements"]:
            assert m["ratio"]["q25"] > 0
            assert m["ratio"]["q25"] <= m["ratio"]["median"] <= m["ratio"]["q75"]
            assert m["steps"] >= 1


TINY_ENGINES = ("reference", "onnx", "norse", "fast")


def test_progress_rises_to_one():
    told = []
    run_bench(replace(TINY, engines=("reference",)), lambda share, what: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
@pytest.mark.parametrize("activity", [0.02, 0.12, 0.5])
def test_activity_is_attained_and_does_not_drift(topology, activity):
    network = pinned_network(topology, 128, 36, activity)
    images = random_images(network, 8)
    recording = get_engine("reference").run(network, images, 64, 3, record="full")
    assert (recording.potentials == network.latents.initial).all()
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


@pytest.mark.parametrize("kind", ["lateral", "predictive"])
def test_engines_agree_on_pinned_networks(kind):
    network = pinned_network(kind, 24, 16, 0.3)
    images = random_images(network, 3)
    names = [name for name in ("reference", "fast", "onnx") if runs_here(name)]
    found = [get_engine(name).run(network, images, 6, 0, record="full") for name in names]
    for recording in found[1:]:
        assert np.array_equal(recording.counts, found[0].counts)
        assert np.array_equal(recording.squared_error, found[0].squared_error)


def test_a_real_artifact_runs_on_its_golden_inputs(tmp_path):
    network = toy.lateral()
    path = tmp_path / "toy.onnx"
    save_artifact(network, toy.images(network, 2), path)
    engines = ("reference", *(("torch",) if runs_here("torch") else ()))
    config = replace(TINY, latents=(), models=(str(path),), engines=engines, steps=3)
    (case,) = run_bench(config).cases
    assert (case.model, case.latents, case.pixels) == ("toy.onnx", 12, 20)
    assert case.activity_target is None
    assert 0 < case.activity <= 1
    assert case.measurements[0].steps == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engines": ("fast", "warp")}, "engines: expected one of .*'warp'"),
        ({"topologies": ("ring",)}, "topologies: expected one of .*'ring'"),
        ({"engines": ()}, "engines: expected at least one"),
        ({"baseline": "onnx", "engines": ("fast",)}, "baseline: expected one of fast"),
        ({"threads": (0,)}, "threads: .*at least 1"),
        ({"threads": (10_000,)}, "threads: expected at most"),
        ({"latents": ()}, "nothing to run"),
        ({"activities": (0.0,)}, "activities: expected shares"),
        ({"batches": (0,)}, "batches: .*at least 1"),
        ({"repeats": 0}, "repeats: expected at least 1"),
        ({"steps": 0}, "steps: expected at least 1"),
        ({"min_seconds": 0.0}, "min_seconds"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        replace(TINY, **changes)


def test_presets_and_defaults():
    assert BenchConfig().threads == (available_cores(),)
    assert len(BenchConfig.full().cases()) == 54
    assert set(BenchConfig.headline().engines) == {*ENGINES, *LAVA_ENGINES} == set(CONTENDERS)
    assert BenchConfig.quick(repeats=1).repeats == 1
    assert str(Case("lateral", 8, 2, 0.5, 1)) == "lateral, K 8, 50 %, batch 2, 1 thread"


def test_what_is_not_installed_is_left_out_with_its_reason(monkeypatch):
    monkeypatch.setattr("pvae_neuro.bench.contenders.installed", lambda module: False)
    result = run_bench(replace(TINY, engines=("reference", "norse"), topologies=("lateral",)))
    assert "norse not installed; pip install norse" in result.skipped["norse"]
    with pytest.raises(InputError, match="no contender can run here"):
        run_bench(replace(TINY, engines=("norse",)))


def test_a_contender_that_cannot_run_a_case_does_not_stop_it(monkeypatch):
    def prepare(name, setting):
        if name == "onnx":
            raise EngineUnavailableError("onnx: not today")
        return original(name, setting)

    from pvae_neuro.bench import run as bench

    original = bench.prepare
    monkeypatch.setattr(bench, "prepare", prepare)
    monkeypatch.setattr(bench, "missing", lambda name: None)
    config = replace(TINY, engines=("reference", "onnx"), topologies=("lateral",))
    (case,) = run_bench(config).cases
    assert case.skipped == {"onnx": "onnx: not today"}
    assert case.measurement("onnx") is None
    assert case.measurement("reference") is not None


def test_calibration_reaches_the_shortest_time_and_keeps_the_limit():
    def run(steps):
        import time

        time.sleep(1e-4 * steps)

    entry = Entry("x", 1, run)
    calibrate(entry, replace(TINY, min_seconds=0.01, repeats=5))
    assert entry.turns == 5
    assert entry.measure() >= 0.009
    fixed = Entry("x", 1, run)
    calibrate(fixed, replace(TINY, min_seconds=0.01, steps=2))
    assert fixed.steps == 2
    assert fixed.calls > 1
    with pytest.raises(TooSlowError, match="limit_seconds"):
        calibrate(Entry("x", 1, run), replace(TINY, limit_seconds=1e-4))


def test_a_contender_that_fails_in_its_turn_leaves():
    def fail(steps):
        raise EngineError("gone")

    good, bad = Entry("good", 1, lambda steps: None, turns=3), Entry("bad", 1, fail, turns=3)
    assert interleave([good, bad], 0, lambda: None) == {"bad": "gone"}
    assert len(good.seconds) == 3
    assert bad.seconds == []


def test_threads_are_set_and_set_back():
    before = threads_asked_for()
    with use_threads(1, ()):
        assert thread_settings()["fast"] == 1
    assert threads_asked_for() == before


@pytest.fixture(scope="module")
def small_result():
    config = replace(TINY, latents=(8, 16), activities=(0.1, 0.5), engines=("reference",))
    return run_bench(config)


def test_table_and_figure(small_result, tmp_path):
    pytest.importorskip("matplotlib")
    table = bench_table(small_result)
    assert table.row_count == 8
    drawn = figure(small_result)
    assert len(drawn.axes) == 4
    save_figure(small_result, tmp_path / "bench.svg")
    assert (tmp_path / "bench.svg").stat().st_size > 1000
    with pytest.raises(InputError, match=r"nope|format"):
        save_figure(small_result, tmp_path / "bench.nope")
    assert [p.name for p in tmp_path.iterdir()] == ["bench.svg"]
    with pytest.raises(InputError, match="batch 7"):
        figure(small_result, batch=7)


def run_script(name, *arguments):
    words = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)


def test_the_page_of_figures_is_written_from_json(small_result, tmp_path):
    (tmp_path / "bench.json").write_text(json.dumps(small_result.to_dict()))
    out = tmp_path / "figures.md"
    done = run_script(
        "performance_figures.py", "--bench", tmp_path / "bench.json", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert "| lateral | 8 | 2 |" in text
    # Nothing of size 512 was measured, and nothing is made up.
    assert text.count("not measured") == 11


def test_roofline_counts_follow_the_size(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import roofline_counts as counts

    work = counts.Work(512, 784, 60.0, 70.0, 16.0, 300.0, 127.0, 2, True)
    phases = {p.name: p for p in counts.lateral(work)}
    assert phases["noise"].wide == 32 * 20
    assert phases["lateral rows"].shared == 60 * 512
    assert phases["lateral rows"].byte_ops == 2 * 60 * 512
    assert phases["readout rows"].reads == (
        (2 * 300 * 784 / 16, 2 * 512 * 784),
        (2 * 60 * 784, 2 * 512 * 16),
    )
    assert phases["readout rows"].word_ops == 2 * 60 * 784
    bare = counts.lateral(replace(work, summary=False))
    assert "readout rows" not in {p.name for p in bare}
    phases = {p.name: p for p in counts.predictive(work)}
    assert phases["prediction rows"].reads == ((60 * 896, 512 * 896),)
    assert phases["dense feedback"].reads == ((2 * 512 * 784, 512 * 784),)
    assert phases["dense feedback"].pair_ops == 2 * 2 * 512 * 784


def test_roofline_counts_further_cuts_of_a_list(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import roofline_counts as counts

    few = counts.Work(512, 784, 60.0, 70.0, 0.0, 300.0, 127.0, 0, False)
    many = replace(few, spikes=2 * counts.INT16_MAX / 127.0)
    once, twice = (
        next(p for p in counts.lateral(w) if p.name == "lateral rows") for w in (few, many)
    )
    assert twice.local - once.local == pytest.approx(16 * 512)
    assert twice.ops32 - once.ops32 == pytest.approx(2 * 512)


def test_roofline_takes_activity_from_counts(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import roofline

    counts = np.zeros((1, 32, 3), np.uint8)
    counts[0, 3, 0] = counts[0, 9, 0] = 3
    counts[0, 20, 1], counts[0, 21, 2] = 4, 20
    assert roofline.touched(counts) == (1 + 2) / 2
    assert roofline.compares(counts, 32) == (16 + 32) / 32
    assert roofline.compares(counts, 16) == (16 + 16) / 32


def test_the_roofline_runs(tmp_path):
    pytest.importorskip("numba")
    path = tmp_path / "roofline.json"
    done = run_script(
        "roofline.py", "--latents", 32, "--activities", 0.2, "--threads", 1, "--batch", 4,
        "--pixels", 16, "--repeats", 1, "--seconds", 0.001, "--json", path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    content = json.loads(path.read_text())
    assert len(content["cases"]) == 4
    assert all(case["limit_us"] > 0 for case in content["cases"])
    assert all(value > 0 for value in content["limits"]["1"]["bandwidth"].values() if value)
