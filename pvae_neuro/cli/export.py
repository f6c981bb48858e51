"""``export``: a float model as one executable file of integers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pvae_neuro.cli.shared.options import Clip, Json, Output, Quiet
from pvae_neuro.cli.shared.support import (
    check_run,
    console,
    guarded,
    say,
    write_json,
)


@guarded
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL.safetensors", help="Float model.")],
    output: Output,
    topology: Annotated[
        str, typer.Option("--topology", help="lateral or predictive.")
    ] = "predictive",
    weight_bits: Annotated[int, typer.Option("--weight-bits", help="2 to 8.")] = 8,
    frac_bits: Annotated[int, typer.Option("--frac-bits", help="Of the potential, 4 to 16.")] = 14,
    max_count: Annotated[
        int | None,
        typer.Option(
            "--max-count",
            help="Largest spike count.  [default: by calibration]",
            show_default=False,
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            help="Some tens of inputs: .npy or .npz.  [default: the shipped digits]",
            show_default=False,
        ),
    ] = None,
    stability_steps: Annotated[
        int,
        typer.Option(
            "--stability-steps", help="Iterations of the trial of a network with lateral weights."
        ),
    ] = 1000,
    clip: Clip = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Quantize, certify and write one executable .onnx file."""
    from pvae_neuro.cli.shared.inputs import read_calibration
    from pvae_neuro.cli.shared.progress import stages
    from pvae_neuro.cli.shared.tables import certificate_table
    from pvae_neuro.export import export_model
    from pvae_neuro.exporters.quantize import QuantizeConfig
    from pvae_neuro.saved.model_file import load_model

    config = QuantizeConfig(topology, weight_bits, frac_bits, max_count)
    check_run(stability_steps, 0)
    saved = load_model(model)
    inputs = read_calibration(calibrate, saved, clip)
    with stages("export: ", quiet) as progress:
        result = export_model(
            saved, output, inputs, config, stability_steps=stability_steps, progress=progress
        )
    write_json(
        json,
        {
            "path": str(output), "sha256": result.sha256, "topology": topology,
            "certificate": result.certificate.to_dict(),
            "unsupported_engines": result.unsupported,
        },
    )  # fmt: skip
    out = console(json, quiet)
    out.print(certificate_table(result.certificate))
    for engine, reasons in result.unsupported.items():
        say(out, f"engine {engine} does not run this network: {'; '.join(reasons)}")
    say(out, f"{output}: {topology}, sha256 {result.sha256}")
