"""The verb that proves engines and float model equal: verify."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pvae_neuro.cli.shared.data_options import DataOptions, reads_images
from pvae_neuro.cli.shared.endings import EXIT_FAILED, say_line
from pvae_neuro.cli.shared.options import (
    Clip,
    Hold,
    Input,
    Json,
    LavaBatch,
    Processor,
    Quiet,
    Reset,
    Samples,
    Scheduler,
    Seed,
    Steps,
    Timeout,
    iterations,
)
from pvae_neuro.cli.shared.paths import WRITES
from pvae_neuro.cli.shared.support import (
    check_run,
    console,
    guarded,
    say,
    write_json,
)

if TYPE_CHECKING:
    from pvae_neuro.verification.parity import ParityReport


@guarded
@reads_images
def verify(
    artifact: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Exported network.")],
    input: Input,
    data: DataOptions,
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
    hold: Hold = None,
    reset: Reset = False,
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
    mse_percent: Annotated[
        float,
        typer.Option("--mse-percent", help="Tolerance: percent of MSE above the float model."),
    ] = 1.0,
    zeros_points: Annotated[
        float,
        typer.Option(
            "--zeros-points", help="Tolerance: points by which the share of zeros may differ."
        ),
    ] = 0.3,
    accept_declared: Annotated[
        bool,
        typer.Option(
            "--accept-declared",
            help="Exit 0 where the distance from float is beyond the tolerances, and within what "
            "the file declares of itself.",
        ),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write the report as a page.", show_default=False),
        WRITES,
    ] = None,
    clip: Clip = False,
    timeout: Timeout = None,
    lava_batch: LavaBatch = None,
    processor: Processor = None,
    scheduler: Scheduler = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Prove engines equal, and near the float model; exit 1 where they are not.

    Seeds are added until the distance from float is known to within half of its tolerance.
    """
    steps = iterations(steps, hold, reset)
    check_run(steps, seed)
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.cli.shared.engines import choose_engines
    from pvae_neuro.cli.shared.inputs import check_pair, read_inputs, read_model
    from pvae_neuro.cli.shared.progress import stages
    from pvae_neuro.cli.shared.tables import engine_table, parity_table
    from pvae_neuro.saved.shipped import model_path
    from pvae_neuro.verification.against_float import Tolerances
    from pvae_neuro.verification.provenance import provenance
    from pvae_neuro.verification.report import require_report, write_report
    from pvae_neuro.verification.verify import verify as prove

    tolerances = Tolerances(mse_percent, zeros_points)
    if html is not None:
        require_report()
    choice = choose_engines(
        engines, scheduler, timeout=timeout, batch=lava_batch, processor=processor
    )
    exported = load_artifact(artifact)
    network = exported.network
    saved = None if model is None else read_model(model, quiet)
    if saved is not None:
        check_pair(network, saved)
    images = read_inputs(
        input, network.input, data, hold, reset, clip=clip, samples=samples, quiet=quiet
    )
    runners = choice.engines(network)
    with stages("verify: ", quiet) as progress:
        report = prove(
            network, saved, images, steps=steps, seed=seed, engines=runners,
            tolerances=tolerances, reset=reset, progress=progress,
        )  # fmt: skip
    origin = {
        "artifact": str(artifact),
        "sha256": exported.sha256,
        "program_hash": exported.program_hash,
    }
    write_json(json, {**origin, **report.to_dict()})
    if html is not None:
        files: dict[str, str | Path] = {"artifact": artifact, "images": input}
        if model is not None:
            files["model"] = model_path(model)
        write_report(html, report, origin=provenance(report.seconds, command=typed(), files=files))
    out = console(json, quiet)
    out.print(parity_table(report))
    out.print(engine_table(report))
    say(out, f"{artifact}: sha256 {exported.sha256}, program_hash {exported.program_hash}")
    conclude([report], accept_declared)


def conclude(reports: Sequence[ParityReport], accept_declared: bool = False) -> None:
    """Say on stderr what did not pass and what asks for a look; leave with 1 unless all is well."""
    from pvae_neuro.verification.outcomes import PASSED, WITHIN_DECLARED

    accepted = (PASSED, WITHIN_DECLARED) if accept_declared else (PASSED,)
    for report in reports:
        words = "accepted" if report.outcome in accepted else report.outcome.upper()
        for line in report.failures:
            say_line(f"{words}: {report.topology}: {line}")
        for line in report.warnings:
            say_line(f"warning: {report.topology}: {line}")
    if any(report.outcome not in accepted for report in reports):
        raise typer.Exit(EXIT_FAILED)


def typed() -> str:
    """The command as it was typed."""
    return shlex.join(["pvae-neuro", *sys.argv[1:]])
