"""Budgets, claims and their verdicts, and several seeds of an experiment together."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from cli_tools import run_cli

from pvae_neuro.errors import InputError
from pvae_neuro.experiments.registry import experiment_claims, experiment_names, run_experiment
from pvae_neuro.experiments.shared.budget import BUDGETS
from pvae_neuro.experiments.shared.claims import (
    PAPERS,
    Claim,
    Verdict,
    all_of,
    at_least,
    at_most,
    holds,
    ordered,
    unverifiable,
    within,
)
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row, combined_rows

GOOD, IN_ORDER, BAD = Verdict.REPRODUCED, Verdict.IN_ORDER, Verdict.NOT_REPRODUCED


def context(tmp_path, **settings):
    return Context(tmp_path / "out", tmp_path / "models", tmp_path, **settings)


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [("quick", 1), ("hour", 1), ("night", None), ("published", None)],
)
def test_a_budget_picks_the_largest_that_is_not_above_it(tmp_path, budget, chosen):
    run = context(tmp_path, budget=budget)
    assert run.pick(1, night=None) is chosen
    assert run.pick(quick="q", hour="h", night="n", published="p") == budget[0]
    assert run.quick == (budget == "quick")


def test_an_unknown_budget_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(InputError, match="budget 'nite': no such budget; did you mean 'night'"):
        context(tmp_path, budget="nite")


@pytest.mark.parametrize(
    ("bar", "seeds", "verdict", "ours"),
    [
        (at_least("a", 0.5), [{"a": 0.5}], GOOD, "0.5"),
        (at_least("a", 0.5), [{"a": 0.4}, {"a": 0.5}], BAD, "0.45 ± 0.071"),
        (at_least("a", "b", slack=0.1), [{"a": 0.45, "b": 0.5}], GOOD, "0.45 against 0.5"),
        (at_most("a", "b", factor=0.6), [{"a": 58, "b": 131}], GOOD, "58 against 131"),
        (at_most("a", "b", factor=0.4), [{"a": 58, "b": 131}], BAD, "58 against 131"),
        (within("a", 1.0, 0.2), [{"a": 1.1}], GOOD, "1.1"),
        (within("a", 1.0, 0.2), [{"a": 1.3}], BAD, "1.3"),
        (ordered("a", "b"), [{"a": 1, "b": 2}], GOOD, "1, 2"),
        (ordered("a", "b", levels=[1, 4]), [{"a": 1, "b": 2}], IN_ORDER, "1, 2"),
        (ordered("a", "b", levels=[1, 2]), [{"a": 1.1, "b": 2}], GOOD, "1.1, 2"),
        (ordered("a", "b"), [{"a": 2, "b": 2}], BAD, "2, 2"),
        (holds("a", "yes"), [{"a": 1.0}, {"a": 0.0}], BAD, "holds in 1 of 2 seeds"),
        (unverifiable("no data"), [{}], Verdict.UNVERIFIABLE, "no data"),
        (all_of(at_least("a", 0), ordered("a", "b", levels=[9, 9])), [{"a": 1, "b": 2}],
         IN_ORDER, "1; 1, 2"),
    ],
)  # fmt: skip
def test_bars_judge_the_mean_over_seeds(bar, seeds, verdict, ours):
    found = Claim("k", "ipvae", "s", "p", "how", bar).judge(seeds, "quick")
    assert (found.verdict, found.ours) == (verdict, ours)


def test_within_the_error_means_one_standard_error_of_the_difference():
    strict, lenient = at_least("a", "b"), at_least("a", "b", within_error=True)
    # Differences 0.1 and -0.14: mean -0.02, standard error 0.12.
    seeds = [{"a": 0.6, "b": 0.5}, {"a": 0.46, "b": 0.6}]
    assert (strict.judge(seeds).verdict, lenient.judge(seeds).verdict) == (BAD, GOOD)
    assert lenient.judge(seeds[1:]).verdict is BAD


def test_a_failure_below_the_budget_of_the_claim_decides_nothing():
    claim = Claim("k", "ipvae", "s", "p", "how", at_least("a", 1), decides_from="night")
    verdicts = {budget: claim.judge([{"a": 0.0}], budget).verdict for budget in BUDGETS}
    assert list(verdicts.values()) == [Verdict.UNDECIDED, Verdict.UNDECIDED, BAD, BAD]
    assert claim.judge([{"a": 1.0}], "quick").verdict is GOOD
    missing = claim.judge([{"a": 1.0}, {"a": None}], "published")
    assert (missing.verdict, missing.ours) == (Verdict.UNDECIDED, "not measured: a")


def test_rows_of_several_seeds_are_means_with_their_spread():
    first = [Row("m", {"x": 1.0, "y": 5.0}, {"x": 1.2}), Row("only first", {"x": 2.0})]
    second = [Row("m", {"x": 3.0})]
    rows = {row.name: row for row in combined_rows([first, second])}
    assert rows["m"].figures == {"x": 2.0, "y": 5.0}
    assert rows["m"].spread == {"x": pytest.approx(2**0.5)}
    assert rows["m"].published == {"x": 1.2}
    assert rows["only first"].figures == {"x": 2.0}
    assert combined_rows([first]) == first


def test_several_seeds_are_run_combined_and_written(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    from pvae_neuro.experiments import registry

    drawn, told = [], []

    class Module:
        CLAIMS = (Claim("k", "ipvae", "It grows.", "2", "how", at_least("m: x", 0.5)),)

        @staticmethod
        def run(each):
            each.progress("train", 1, 2)
            return ExperimentResult(
                "toy", "A toy", [Column("x", "X", ".1f")],
                [Row("m", {"x": float(each.seed)}, {"x": 2.0})],
                lambda figure, seeds: drawn.append(seeds), each.seed,
                notes=["Same.", f"Of seed {each.seed}."],
            )  # fmt: skip

    monkeypatch.setattr(registry, "_experiment", lambda name: Module)
    run = context(tmp_path, budget="hour", seed=3, progress=lambda *stage: told.append(stage))
    run.out.mkdir()
    summary = run_experiment("convergence", run, seeds=2)
    assert drawn.pop() == [3, 4]
    assert told == [("seed 3: train", 1, 2), ("seed 4: train", 1, 2)]
    assert summary.notes == ["Same.", "Seed 3: Of seed 3.", "Seed 4: Of seed 4."]
    stored = json.loads((run.out / "result.json").read_text())
    assert (stored["budget"], stored["seeds"]) == ("hour", [3, 4])
    assert [each["figures"] for each in stored["by_seed"]] == [{"m: x": 3.0}, {"m: x": 4.0}]
    assert stored["claims"][0]["ours"] == "3.5 ± 0.71"
    page = (run.out / "result.md").read_text()
    assert "| m | 3.5 ± 0.71 (2.0) |" in page
    assert "| It grows. | 2 | m: x ≥ 0.5 | 3.5 ± 0.71 | **reproduced** |" in page
    (line,) = csv.DictReader((run.out / "result.csv").read_text().splitlines())
    assert (line["x"], float(line["x_sd"]), line["x_published"]) == ("3.5", 0.5**0.5, "2.0")
    assert run_experiment("convergence", run, seeds=1).times[0] > summary.times[0]
    with pytest.raises(InputError, match="seeds: expected at least 1, got 0"):
        run_experiment("convergence", replace(run), seeds=0)


def test_every_experiment_lists_claims_with_names_of_their_own():
    pytest.importorskip("torch", reason="experiments need torch")
    keys = [(name, claim.key) for name in experiment_names() for claim in experiment_claims(name)]
    assert len(keys) == len(set(keys))
    for name in experiment_names():
        claims = experiment_claims(name)
        assert claims, name
        for claim in claims:
            assert claim.paper in PAPERS
            assert claim.decides_from in BUDGETS
            assert claim.statement and claim.published and claim.protocol and claim.bar.text


def test_the_experiment_of_the_guide_runs(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="experiments need torch")
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    from pvae_neuro.experiments import registry

    page = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_SUMMARIES", dict(registry._SUMMARIES))
    monkeypatch.setattr(registry, "_ADDED", {})
    names = {}
    exec(compile(block, "experiments.md", "exec"), names)
    assert experiment_names()[-1] == "contrast"
    assert names["summary"].findings["half"].verdict is GOOD
    assert (tmp_path / "out" / "contrast" / "figure.svg").is_file()


def test_the_command_line_tells_all_verdicts(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch", reason="experiments need torch")
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    from pvae_neuro.experiments import registry

    class Module:
        CLAIMS = (Claim("k", "ipvae", "It grows.", "2", "how", at_least("m: x", 0.5)),)

        @staticmethod
        def run(each):
            rows = [Row("m", {"x": float(each.seed)})]
            return ExperimentResult("toy", "A toy", [], rows, lambda figure, seeds: None)

    monkeypatch.setattr(registry, "_SUMMARIES", {"toy": "a toy", "more": "more"})
    monkeypatch.setattr(registry, "_ADDED", {"toy": Module, "more": Module})

    def told(*options):
        return run_cli(capsys, "experiment", *options, "--out", tmp_path / "out")

    assert "2 claims: 2 not reproduced" in told("all", "--budget", "hour")[1]
    assert "2 claims: 2 reproduced" in told("all", "--quick", "--seed", "1")[1]
    code, _, error = told("all", "--quick", "--budget", "hour")
    assert code == 2 and "--quick, --budget: expected one of them" in error
    code, _, error = told("toy", "--seeds", "0")
    assert code == 2 and "--seeds: expected at least 1, got 0" in error
    code, _, error = run_cli(capsys, "experiment", "--seeds", "2")
    assert code == 2 and "expected a name, or all, beside --seeds" in error
