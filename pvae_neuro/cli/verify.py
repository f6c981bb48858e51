"""The verb that proves engines and float model equal: verify."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pvae_neuro.cli.shared.endings import EXIT_FAILED
from pvae_neuro.cli.shared.options import (
    Clip,
    Input,
    Json,
    LavaBatch,
    Quiet,
    Samples,
    Scheduler,
    Seed,
    Steps,
    Timeout,
)
from pvae_neuro.cli.shared.paths import WRITES
from pvae_neuro.cli.shared.support import (
    check_run,
    console,
    guarded,
    write_json,
)


@guarded
def verify(
    artifact: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Exported network.")],
    input: Input,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Its float model; without it integers are compared alone.",
            show_default=False,
        ),
    ] = None,
    steps: Steps = 32,
    seed: Seed = 0,
    engines: Annotated[
        str,
        typer.Option(
            "--engines",
            "-e",
            help="Comma-separated: reference, fast, onnx, lava; auto is every one that works here, "
            "without lava.",
        ),
    ] = "auto",
    samples: Samples = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write the report as a page.", show_default=False),
        WRITES,
    ] = None,
    clip: Clip = False,
    timeout: Timeout = None,
    lava_batch: LavaBatch = None,
    scheduler: Scheduler = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Prove engines equal, and near the float model; exit 1 where they are not."""
    check_run(steps, seed)
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.cli.shared.engines import choose_engines
    from pvae_neuro.cli.shared.inputs import check_pair, read_images
    from pvae_neuro.cli.shared.progress import stages
    from pvae_neuro.cli.shared.tables import engine_table, parity_table
    from pvae_neuro.exporters.certify import examine
    from pvae_neuro.saved.model_file import load_model
    from pvae_neuro.verification.report import ReportPart, require_report, write_report
    from pvae_neuro.verification.verify import verify as prove

    if html is not None:
        require_report()
    choice = choose_engines(engines, scheduler, timeout=timeout, batch=lava_batch)
    exported = load_artifact(artifact)
    network = exported.network
    saved = None if model is None else load_model(model)
    if saved is not None:
        check_pair(network, saved)
    images = read_images(input, network.input, clip=clip, samples=samples)
    runners = choice.engines(network)
    with stages("verify: ", quiet) as progress:
        report = prove(
            network, saved, images, steps=steps, seed=seed, engines=runners, progress=progress
        )
    write_json(json, {"artifact": str(artifact), "sha256": exported.sha256, **report.to_dict()})
    if html is not None:
        write_report(html, ReportPart(report, network, examine(network), exported.sha256))
    out = console(json, quiet)
    out.print(parity_table(report))
    out.print(engine_table(report))
    conclude(report.failures())


def conclude(failures: list[str]) -> None:
    """Say on stderr what failed, and leave with the exit code of a failure; nothing if none."""
    for line in failures:
        print(f"FAILED: {line}", file=sys.stderr)
    if failures:
        raise typer.Exit(EXIT_FAILED)
