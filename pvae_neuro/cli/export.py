"""``export``: a float model as one executable file of integers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.data_options import DataOptions, reads_images
from pvae_neuro.cli.shared.endings import say_line
from pvae_neuro.cli.shared.options import (
    Clip,
    FracBits,
    Json,
    LatentUnits,
    MaxCount,
    OptionalOutput,
    Quiet,
    given_beside,
)
from pvae_neuro.cli.shared.paths import FOLDER, READS, check_apart
from pvae_neuro.cli.shared.support import console, guarded, say, write_json
from pvae_neuro.errors import InputError, QualityError

if TYPE_CHECKING:
    from rich.console import Console

    from pvae_neuro.export import ExportResult

AUTO, TOLERANCE = "auto", "1%"


@guarded
@reads_images
def export(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.safetensors",
            help="Float model; or an .onnx file, with --c or --listing.",
        ),
    ],
    data: DataOptions,
    output: OptionalOutput = None,
    c: Annotated[
        Path | None,
        typer.Option(
            "--c",
            metavar="FOLDER",
            help="Write the network as a C99 library too.",
            show_default=False,
        ),
        FOLDER,
    ] = None,
    topology: Annotated[
        str | None,
        typer.Option(
            "--topology",
            help="Circuit, such as lateral or predictive; the verb models names those of a "
            "family.  [default: the family's first]",
            show_default=False,
        ),
    ] = None,
    weight_bits: Annotated[
        str,
        typer.Option(
            "--weight-bits",
            help="2 to 16, where beyond 8 a weight takes two synapses; or auto: the narrowest "
            "weights and potentials within --tolerance.",
        ),
    ] = "8",
    tolerance: Annotated[
        str | None,
        typer.Option(
            "--tolerance",
            help="With --weight-bits auto: most that the MSE of held-out inputs may lie above "
            "float's.  [default: 1%]",
            show_default=False,
        ),
    ] = None,
    frac_bits: FracBits = 14,
    max_count: MaxCount = None,
    message_loss: Annotated[
        float | None,
        typer.Option(
            "--message-loss",
            help="Narrow graded spikes as long as the MSE on the calibration inputs rises by at "
            "most this many percent.  [default: the widest that can be proved]",
            show_default=False,
        ),
    ] = None,
    latent_units: LatentUnits = False,
    compensate: Annotated[
        bool,
        typer.Option(
            "--compensate",
            help="Round weights together, so that their errors cancel on the calibration inputs.",
        ),
    ] = False,
    search: Annotated[
        bool,
        typer.Option(
            "--search", help="Take the exponents with the least MSE on the calibration inputs."
        ),
    ] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(
            "--calibrate",
            help="Training inputs: a file, a folder, or a data set by name; 64 set the scales, "
            "the next 64 check them, and "
            "192 more are for --compensate.  "
            "[default: the shipped digits]",
            show_default=False,
        ),
        READS,
    ] = None,
    stability_steps: Annotated[
        int,
        typer.Option(
            "--stability-steps", help="Iterations of the trial of a network with lateral weights."
        ),
    ] = 1000,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept",
            help="Write a network that is far from the float model, or explains nothing, too; "
            "verify of it still fails.",
        ),
    ] = False,
    listing: Annotated[
        Path | None,
        typer.Option(
            "--listing",
            help="Folder to write the word operations into, with the width of every register and "
            "golden vectors of each operation.",
            show_default=False,
        ),
        FOLDER,
    ] = None,
    clip: Clip = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Quantize, certify, measure against float, and write one executable .onnx file.

    Nothing is written, and the exit code is 1, where MSE is more than 5 % above the float model's,
    zeros differ by more than 1 point, R2 about the mean image is below .05, or nothing is within
    the tolerance of --weight-bits auto.

    With --c the network is written as a C99 library too, with --listing as word operations; an
    .onnx file takes these two alone.
    """
    given = {**locals(), **vars(data)}
    from pvae_neuro.artifact import write_c
    from pvae_neuro.cli.shared.inputs import read_known, read_model
    from pvae_neuro.cli.shared.progress import stages
    from pvae_neuro.cli.shared.tables import parity_table
    from pvae_neuro.export import HELD_OUT_IMAGES, export_model
    from pvae_neuro.exporters.calibrate import MAX_CALIBRATION_IMAGES
    from pvae_neuro.exporters.lowerings import lowering_of
    from pvae_neuro.exporters.onnx import read_onnx
    from pvae_neuro.exporters.quantize import QuantizeConfig
    from pvae_neuro.narrow.narrowest import SCALED_BY, WANTED_IMAGES, narrowest
    from pvae_neuro.sim.engine import MOST_ITERATIONS
    from pvae_neuro.sim.noise import check_whole
    from pvae_neuro.verification.vectors import write_listing

    _check_folders(c, listing, output, json)
    if model.suffix.lower() == ".onnx":
        _refuse_others(given)
        _write_exported(model, c, listing, json, quiet)
        return
    if output is None:
        raise InputError("--output: expected the name of an .onnx file to write")
    percent = _percent(weight_bits, tolerance)
    config = QuantizeConfig(
        topology, _bits(weight_bits), frac_bits, max_count, message_loss, latent_units, compensate,
        search,
    )  # fmt: skip
    check_whole("--stability-steps", stability_steps, 1, MOST_ITERATIONS)
    saved = read_model(model, quiet)
    # Before inputs are asked for.
    lowering_of(topology, saved.config.family).check(saved)
    wanted = SCALED_BY if compensate else MAX_CALIBRATION_IMAGES + HELD_OUT_IMAGES
    inputs = read_known(
        "--calibrate", calibrate, saved, data, split="train", clip=clip,
        samples=wanted if percent is None else WANTED_IMAGES, quiet=quiet,
    )  # fmt: skip
    out, measured = console(json, quiet), "on the calibration inputs"
    found = None
    if percent is not None:
        found = narrowest(
            saved, inputs, percent, config, stability_steps=stability_steps, progress=not quiet
        )
        config, inputs = found.config, inputs[: found.scaled_by]
        say(out, f"on {found.judged_on} held-out inputs: {found.judged}")
        few = (
            f"; few: --calibrate with at least {WANTED_IMAGES:,} training inputs gives a surer "
            f"answer"
            if found.few_inputs
            else ""
        )
        say(out, f"images that chose the widths: {found.chosen_on}, judged: {found.judged_on}{few}")
    try:
        with stages("export: ", quiet) as progress:
            result = export_model(
                saved, output, inputs, config, stability_steps=stability_steps, accept=accept,
                progress=progress,
            )  # fmt: skip
    except QualityError as error:
        if error.report is not None:
            out.print(parity_table(error.report, measured))
        raise
    if listing is not None:
        write_listing(result.network, listing, inputs)
    if c is not None:
        write_c(result.network, c, read_onnx(output).golden)
    write_json(
        json,
        {
            "path": str(output), "sha256": result.sha256, "topology": result.network.name,
            "program_hash": result.program_hash, "listing": listing and str(listing),
            "c": c and str(c),
            "measured": result.report.to_dict(), "accepted": list(result.accepted),
            "warnings": list(result.warnings), "certificate": result.certificate.to_dict(),
            "unsupported_engines": result.unsupported, "held_out": result.held_out,
            "saturations": [each.to_dict() for each in result.saturations],
            "narrowest": None if found is None else found.to_dict(),
        },
    )  # fmt: skip
    _say_result(out, measured, result, listing, c)


def _say_result(
    out: Console, measured: str, result: ExportResult, listing: Path | None, c: Path | None
) -> None:
    """Print the certificate, what was measured, and what was written."""
    from pvae_neuro.cli.shared.tables import certificate_table, parity_table

    out.print(certificate_table(result.certificate))
    out.print(parity_table(result.report, measured))
    say(out, _held_out(result))
    for engine, reasons in result.unsupported.items():
        say(out, f"engine {engine} does not run this network: {'; '.join(reasons)}")
    for line in result.warnings:
        say_line(f"warning: {line}")
    for line in result.accepted:
        say_line(f"accepted: {line}")
    for line in result.report.failures:
        say_line(f"by the default tolerances of verify: {line}")
    name = result.network.name
    say(out, f"{result.path}: {name}, sha256 {result.sha256}, program_hash {result.program_hash}")
    _say_folders(out, c, listing)


def _check_folders(
    c: Path | None, listing: Path | None, output: Path | None, json: Path | None
) -> None:
    """Refuse folders that hold anything else, or would once all outputs are written."""
    from pvae_neuro.exporters.c import check_library_folder
    from pvae_neuro.utils.folders import check_folder_target
    from pvae_neuro.verification.vectors import FILES

    if c is not None:
        check_library_folder(c)
    if listing is not None:
        check_folder_target(listing, FILES)
    check_apart({"--c": c, "--listing": listing}, {"--output": output, "--json": json})


def _refuse_others(given: dict[str, Any]) -> None:
    """Refuse all options that an exported network has no use for."""
    taken = ("model", "c", "listing", "json", "quiet")
    others = given_beside(taken, export, given)
    if (given["c"] is None and given["listing"] is None) or others:
        raise InputError(
            f"{given['model']}: is exported already; expected --c FOLDER, to write it in C, or "
            f"--listing FOLDER, and nothing else of an export{', got ' if others else ''}"
            f"{', '.join(others)}"
        )


def _write_exported(
    model: Path, c: Path | None, listing: Path | None, json: Path | None, quiet: bool
) -> None:
    """Write an exported network as a C99 library, as word operations, or both."""
    from pvae_neuro.artifact import load_artifact, write_c
    from pvae_neuro.verification.vectors import write_listing

    artifact = load_artifact(model)
    network, golden = artifact.network, artifact.golden
    if c is not None:
        write_c(network, c, golden)
    if listing is not None:
        write_listing(network, listing, golden.pixels * 2.0**-network.input.frac_bits)
    content = {
        "path": str(model), "topology": network.name, "program_hash": artifact.program_hash,
        "c": c and str(c), "listing": listing and str(listing),
    }  # fmt: skip
    write_json(json, content)
    _say_folders(console(json, quiet), c, listing)


def _say_folders(out: Console, c: Path | None, listing: Path | None) -> None:
    if c is not None:
        say(out, f"{c}: a C99 library; make -C {shlex.quote(str(c))} test runs its golden vector")
    if listing is not None:
        say(out, f"{listing}: word operations with their widths, and golden vectors")


def _bits(text: str) -> int:
    """Width of weights; where it is to be found, any does."""
    if text == AUTO:
        return 8
    try:
        return int(text)
    except ValueError as error:
        raise InputError(f"--weight-bits: expected 2 to 16, or {AUTO}; got {text!r}") from error


def _percent(weight_bits: str, tolerance: str | None) -> float | None:
    """Percent of ``--tolerance``; None where no width is to be found."""
    if weight_bits != AUTO:
        if tolerance is not None:
            raise InputError(f"--tolerance: expected --weight-bits {AUTO} with it")
        return None
    text = TOLERANCE if tolerance is None else tolerance
    try:
        return float(text.removesuffix("%"))
    except ValueError as error:
        raise InputError(f"--tolerance: expected percent such as 1%, got {text!r}") from error


def _held_out(result: ExportResult) -> str:
    """What the check on images beyond those of calibration found, in a line."""
    if not result.held_out:
        return "ranges are not checked on other images: none were given beyond those of calibration"
    found = "; ".join(str(each) for each in result.saturations) or "no variable has limits"
    return f"{result.held_out} images beyond those of calibration: {found}"
