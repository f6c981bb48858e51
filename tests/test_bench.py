"""Benchmarks: contenders run, figures are sound, activity is what was asked for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from pvae_neuro.bench.cases import (
    artifact_cases,
    available_cores,
    measured_activity,
    synthetic_cases,
)
from pvae_neuro.bench.contenders import COMPILED, CONTENDERS, Contender
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
    assert {m.engine for m in beside.measurements} == {"reference", "pytorch", "pytorch-bare"}
    linear = tmp_path / "linear.safetensors"
    save_model(pinned_float_model(12, 20, 0.3), linear)
    with pytest.raises(InputError, match=r"expected family ipvae-mlp .*got ipvae-linear"):
        artifact_cases(tmp_path / "mlp.onnx", (3,), (1,), float_model=linear)


def run_script(name, *arguments):
    words = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)


def test_the_page_of_figures_is_written_from_json(tmp_path):
    result = run_bench(tiny_cases("lateral"), REFERENCE, RULES)
    machine = {"processor": "a processor", "cores": 1, "instruction_sets": ["avx2"]}
    known = {"machine": machine, "versions": {"python": "3"}}
    timed = {"this_s": 0.001, "other_s": 0.002, "ratio_of_best": 0.5, "median_ratio": 0.5}
    case = {"network": "draws", "batch": 64, "record": "last", "threads": 1}
    files = {
        "bench": result.to_dict(),
        "revision": {
            **known,
            "limit": "avx2",
            "cases": [{**case, **timed, "bar": 0.4}, {**case, **timed, "bar": 0.6}],
            "integers": [{"differing": 2}],
        },
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    out = tmp_path / "figures.md"
    words = [w for name in files for w in (f"--{name}", tmp_path / f"{name}.json")]
    done = run_script("performance_figures.py", *words, "--out", out)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert "| lateral | 24 | 2 |" in text
    assert "instruction sets: avx2" in text
    # Nothing of size 512 was measured, and nothing is made up.
    assert "not measured" in text
    verdicts = [line for line in text.splitlines() if "avx2 alone |" in line]
    assert ["missed" in line for line in verdicts] == [True, False, True]
    assert run_script("performance_figures.py", "--out", out).returncode != 0


@pytest.fixture
def benchmarks(monkeypatch):
    """Lets a test import scripts."""
    pytest.importorskip("llvmlite", reason="needs llvmlite")
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.usefixtures("benchmarks")
def test_the_roofline_counts_what_activity_and_size_say():
    import roofline_counts as counts

    def phases(topology, activity):
        network = pinned_network(topology, 64, 40, activity)
        images = random_images(network, 4)
        found = counts.measured(network, images, 32, get_engine("reference"))
        return {p.name: p for p in counts.phases(network, found, 4, summary=True)}

    def work(phase, form, kind):
        return next(f for f in phase.forms if f.name == f"{form}, {kind}").work[kind]

    quiet, busy = phases("predictive", 0.1), phases("predictive", 0.4)
    # Dense products are the same whatever fires; messages of 11 bits are two planes of bytes.
    for found in (quiet, busy):
        assert work(found["prediction: products"], "dense", "byte_macs") == 64 * 40
        assert work(found["feedback: products"], "dense", "byte_macs") == 2 * 64 * 40
        assert work(found["feedback: products"], "dense", "word_macs") == 64 * 40
        assert "readout" not in found
    # Rows of active neurons grow with them.
    rows = [work(found["prediction: products"], "events", "byte_rows") for found in (quiet, busy)]
    assert rows[1] == pytest.approx(4 * rows[0], rel=0.2)
    assert quiet["latents: noise"].forms[0].work == {"philox": 64 / 16}
    lateral = phases("lateral", 0.2)
    # Weights of 16 bits by counts of one byte.
    assert work(lateral["readout"], "dense", "byte_macs") == 2 * 64 * 40
    for phase in (*busy.values(), *lateral.values()):
        assert all(units > 0 for form in phase.forms for units in form.work.values())


@pytest.mark.usefixtures("benchmarks")
def test_the_limit_takes_the_lesser_of_two_forms():
    from types import SimpleNamespace

    from roofline import phase_limit
    from roofline_counts import Form, Phase

    machine = SimpleNamespace(
        rates={"rows": 1e9, "macs": 4e9, "bytes": 1e9}, bandwidth=lambda size: 1e9
    )
    forms = (
        Form("events", {"rows": 2000}),
        Form("dense", {"macs": 4000}, ((500, 8),)),
        Form("absent", {"tiles": 1}),
    )
    found = phase_limit(Phase("p", forms, local=200), machine)
    assert (found["form"], found["bound_by"]) == ("dense", "operations")
    assert found["limit_us"] == pytest.approx(1.0)
    assert set(found["forms"]) == {"events", "dense"}
    slow = SimpleNamespace(**{**vars(machine), "bandwidth": lambda size: 1e8})
    # Five microseconds of reading weights are more than two of rows.
    assert phase_limit(Phase("p", forms, local=200), slow)["form"] == "events"


@pytest.mark.usefixtures("benchmarks")
def test_loops_of_peaks_hold_the_work_that_they_count():
    import peaks
    from roofline_machine import Machine

    # What each is made of on x86, and how often at least; the compiler may take better ones.
    expected = {
        "tdpbusd": ("tdpbusd", 16), "vpdpbusd": ("vpdpbusd", 12), "vpdpwssd": ("vpdpwssd", 12),
        "pmaddubsw": ("pmaddubsw", 12), "pmaddwd": ("pmaddwd|vpdpwssd", 12),
        "pmuludq": ("pmuludq", 160), "gather": ("pgatherdd", 4),
    }  # fmt: skip
    if peaks.allowed():
        for peak in peaks.peaks():
            known = expected.get(peak.instructions.split()[0])
            if known is not None:
                pattern, least = known
                assert len(re.findall(pattern, peaks.assembly(peak))) >= least, peak.instructions
    found = Machine(1, repeats=1, seconds=1e-4)
    assert {"word_macs", "byte_rows", "word_rows", "ops32", "lookups", "philox"} <= set(found.rates)
    assert all(rate > 0 for rate in found.loops.values())
    assert found.bandwidth(1 << 20) > 0


@pytest.mark.usefixtures("benchmarks")
def test_curves_state_slopes_and_where_fast_is_not_first():
    import curves

    def case(latents, costs):
        place = {**asdict(curves.Place()), "latents": latents}
        times = {name: {"median": cost} for name, cost in costs.items()}
        limit = {"fast-bare": latents / 100, "fast": 1.0}
        return {"circuit": "lateral", "place": place, "microseconds": times, "limit": limit}

    cases = [
        case(n, {"fast-bare": n * n / 1e4, "pytorch-bare": 10.0 * n, "fast": 3.0, "onnx": 2.0})
        for n in (256, 512, 1024)
    ]
    found = {row["contender"]: row for row in curves.slopes(cases, ["latents", "batch"])}
    assert found["fast-bare"]["slope"] == pytest.approx(2.0)
    assert found["pytorch-bare"]["at_the_end"] == pytest.approx(1.0)
    assert found["limit of fast-bare"]["slope"] == pytest.approx(1.0)
    assert {row["axis"] for row in found.values()} == {"latents"}
    behind = curves.behind(cases)
    assert {(row["contender"], row["first"], row["ratio"]) for row in behind} == {
        ("fast", "onnx", 1.5)
    }
    assert len(behind) == 3
    keys = [point.key for point in curves.points(curves.AXES)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("family", "lateral"),
    [("ipvae-linear", True), ("ipvae-linear", False), ("ipvae-mlp", False), ("ipvae-conv", False)],
)
def test_updates_written_by_hand_are_those_of_the_model(family, lateral):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    from models import family_model

    from pvae_neuro.bench.float_updates import float_update
    from pvae_neuro.models.registry import model_from_saved

    saved = family_model(family)
    for name, array in saved.arrays.items():
        # Quarters and whole numbers: products and sums of a few such are exact in any order.
        array[...] = np.clip(np.rint(4 * array), -2, 2) / 4
        if name.endswith(("log_sigma", "log_step_size")):
            array[...] = 0.0
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 5, (6, saved.config.pixels)).astype(np.float32) / 4)
    z = torch.from_numpy(rng.integers(0, 4, (6, saved.config.latents)).astype(np.float32))
    model = model_from_saved(saved)
    level = getattr(model, "potentials", model)
    start, change, update = float_update(saved, x, lateral)
    with torch.no_grad():
        back = model.pull_back(x, z) if family == "ipvae-linear" else model._pull_back_once(x, z)
        # The leak alone is rounded, once on either side.
        wanted = back - torch.exp(level.log_bias)
        assert torch.allclose(change(z), wanted, rtol=2**-22, atol=2**-22)
        torch.manual_seed(0)
        after = update(start)
        torch.manual_seed(0)
        z = torch.poisson(torch.exp(level.initial_state(6)))
        residual = (
            model.pull_back(x, z) if family == "ipvae-linear" else model._pull_back_once(x, z)
        )
        wanted = level.advance(level.initial_state(6), residual)
    assert torch.allclose(after, wanted, rtol=2**-21, atol=2**-21)


def test_a_family_without_an_update_by_hand_says_so():
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    from models import family_model

    from pvae_neuro.bench.float_updates import float_update

    saved = family_model("ipvae-hierarchical")
    with pytest.raises(EngineError, match=r"no hand-written .*'ipvae-hierarchical'; expected"):
        float_update(saved, torch.zeros(2, saved.config.pixels), False)


def test_without_a_compiler_compiled_contenders_say_so(monkeypatch):
    skip_if_missing("pytorch")
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = run_bench(tiny_cases("lateral"), {**REFERENCE, **COMPILED}, RULES)
    assert set(result.skipped) == set(COMPILED)
    assert all("no-such-compiler is not installed" in why for why in result.skipped.values())


def test_another_revision_is_timed_in_turns(tmp_path):
    pytest.importorskip("llvmlite", reason="needs llvmlite")
    out = tmp_path / "revision.json"
    words = ["--turns", "1", "--networks", "draws-settled", "--cpu", "--skip-starts"]
    done = run_script("fast_against_revision.py", sys.executable, *words, "--json", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    # A revision beside itself has the same integers and draws the same counts.
    network = found["networks"]["draws-settled"]
    assert (network["compared"], network["differing"]) == (["latents.leak"], [])
    assert network["active"]["this"] == network["active"]["other"] > 0
    (case,) = found["cases"]
    assert case["median_ratio"] == case["this_s"] / case["other_s"] > 0
