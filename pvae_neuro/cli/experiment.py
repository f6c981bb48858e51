"""The verb that runs the papers' experiments."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from pvae_neuro.cli.shared.options import DataRoot, Json, Quiet, given_beside
from pvae_neuro.cli.shared.paths import FOLDER
from pvae_neuro.cli.shared.support import (
    console,
    guarded,
    plain_table,
    say,
    write_json,
)
from pvae_neuro.errors import InputError

ALL = "all"


@guarded
def experiment(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Which, or all; without one, a list.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for its files.", show_default=False),
        FOLDER,
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", help="quick, hour, night, or published: the papers' own.")
    ] = "published",
    quick: Annotated[
        bool, typer.Option("--quick", help="Minutes on two cores: the same as --budget quick.")
    ] = False,
    seeds: Annotated[
        int, typer.Option("--seeds", help="How many: --seed and those that follow it.")
    ] = 1,
    data_root: DataRoot = None,
    models: Annotated[
        Path | None,
        typer.Option(
            "--models", help="Folder of trained models to share.", show_default="OUT/models"
        ),
        FOLDER,
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of training and inference.")] = 0,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Reproduce an experiment: JSON, CSV, a table and a figure, with a verdict on each claim.

    Stopped runs go on where they stopped: give the same --out.
    """
    given = {**locals()}
    from pvae_neuro.experiments.registry import experiment_names, experiment_summary
    from pvae_neuro.experiments.shared.budget import BUDGETS, check_budget
    from pvae_neuro.sim.noise import check_seed

    if name is None:
        others = given_beside(("json", "quiet"), experiment, given)
        if others:
            raise InputError(
                f"experiment: expected a name, or {ALL}, beside {', '.join(others)}; without any "
                f"option it lists them"
            )
        _list(json, quiet)
        return
    names = experiment_names() if name == ALL else (name,)
    for each in names:
        experiment_summary(each)
    if out is None:
        raise InputError(f"experiment {name}: expected a folder for its files: --out DIR")
    if seeds < 1:
        raise InputError(f"--seeds: expected at least 1, got {seeds}")
    for end in (seed, seed + seeds - 1):
        check_seed(end)
    budget = BUDGETS[0] if quick else budget
    check_budget(budget)
    results = [
        _run(each, out, budget, data_root, models, seed, seeds, json, quiet) for each in names
    ]
    if name == ALL:
        verdicts = Counter(claim["verdict"] for result in results for claim in result["claims"])
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        say(console(json, quiet), f"{sum(verdicts.values())} claims: {counts}")
    write_json(json, results if name == ALL else results[0])


def _run(
    name: str,
    out: Path,
    budget: str,
    data_root: Path | None,
    models: Path | None,
    seed: int,
    seeds: int,
    json: Path | None,
    quiet: bool,
) -> dict[str, Any]:
    from rich.console import Console

    from pvae_neuro.cli.shared.progress import stages
    from pvae_neuro.experiments import Context, run_experiment

    started = time.monotonic()
    with stages(f"{name}: ", quiet) as tell:
        context = Context(
            out / name, models or out / "models", data_root or Path("data"), budget, seed, tell,
            # Two live bars on one screen garble each other.
            Console(stderr=True, quiet=True),
        )  # fmt: skip
        summary = run_experiment(name, context, seeds)
    screen = console(json, quiet)
    say(screen, summary.to_markdown())
    say(screen, f"{context.out}: {(time.monotonic() - started) / 60:.1f} min")
    return summary.to_dict()


def _list(json: Path | None, quiet: bool) -> None:
    from pvae_neuro.experiments.registry import experiment_names, experiment_summary

    summaries = {name: experiment_summary(name) for name in experiment_names()}
    write_json(json, [{"name": name, "summary": text} for name, text in summaries.items()])
    table = plain_table("experiments", "name", "what it shows")
    for name, text in summaries.items():
        table.add_row(name, text)
    console(json, quiet).print(table)
