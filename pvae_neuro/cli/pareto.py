"""``pareto``: what narrow integers cost in accuracy, and what they save."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pvae_neuro.cli.shared.data_options import DataOptions, reads_images
from pvae_neuro.cli.shared.options import (
    Clip,
    Input,
    Json,
    LatentUnits,
    OptionalOutput,
    Quiet,
    Seed,
    Steps,
)
from pvae_neuro.cli.shared.paths import READS
from pvae_neuro.cli.shared.support import (
    check_run,
    console,
    guarded,
    plain_table,
    say,
    write_json,
)
from pvae_neuro.errors import InputError

FORMATS = (".svg", ".png", ".pdf")


@guarded
@reads_images
def pareto(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.safetensors", help="Float model, or a shipped one.")
    ],
    input: Input,
    data: DataOptions,
    output: OptionalOutput = None,
    topology: Annotated[
        str | None,
        typer.Option(
            "--topology", help="Comma-separated circuits.  [default: all]", show_default=False
        ),
    ] = None,
    weight_bits: Annotated[
        str, typer.Option("--weight-bits", help="Comma-separated widths of weights.")
    ] = "2,3,4,5,6,8,12,16",
    frac_bits: Annotated[
        str, typer.Option("--frac-bits", help="Comma-separated widths of the potential's fraction.")
    ] = "14",
    latent_units: LatentUnits = False,
    compensate: Annotated[
        bool, typer.Option("--compensate", help="Round weights together, so that errors cancel.")
    ] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(
            "--calibrate",
            help="Training inputs that set the scales.  [default: the shipped digits]",
            show_default=False,
        ),
        READS,
    ] = None,
    samples: Annotated[int, typer.Option("--samples", "-n", help="Use the first N images.")] = 500,
    steps: Steps = 128,
    seed: Seed = 0,
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
    """MSE and zeros of several widths and circuits, with memory and synaptic operations."""
    from pvae_neuro.sim.engine import MOST_ITERATIONS
    from pvae_neuro.sim.noise import check_whole

    check_run(steps, seed)
    check_whole("--stability-steps", stability_steps, 1, MOST_ITERATIONS)
    widths, fractions = _widths("--weight-bits", weight_bits), _widths("--frac-bits", frac_bits)
    if output is not None and output.suffix not in FORMATS:
        raise InputError(f"{output}: expected a name ending in one of {', '.join(FORMATS)}")
    from pvae_neuro.cli.shared.inputs import read_images, read_known, read_model
    from pvae_neuro.narrow.narrowest import SCALED_BY
    from pvae_neuro.narrow.pareto import pareto as measure
    from pvae_neuro.plots.narrow import pareto_figure
    from pvae_neuro.plots.style import require_matplotlib
    from pvae_neuro.utils.files import atomic_path

    if output is not None:
        require_matplotlib()
    saved = read_model(model, quiet)
    scaled_by = read_known(
        "--calibrate", calibrate, saved, data, split="train", clip=clip, samples=SCALED_BY,
        quiet=quiet,
    )  # fmt: skip
    images = read_images(
        input, saved.config.declared_input, data, clip=clip, samples=samples, quiet=quiet
    )
    found = measure(
        saved, scaled_by, images, circuits=None if topology is None else topology.split(","),
        weight_bits=widths, frac_bits=fractions, latent_units=latent_units, compensate=compensate,
        steps=steps, seed=seed, stability_steps=stability_steps, progress=not quiet,
    )  # fmt: skip
    result = found.to_dict()
    if output is not None:
        figure = pareto_figure(result["points"])
        with atomic_path(output) as temporary:
            figure.savefig(temporary, dpi=150)
    write_json(json, {**result, "path": output and str(output)})
    screen = console(json, quiet)
    screen.print(_table(result))
    for trial in found.refused:
        say(screen, f"{trial.topology}, {trial}")
    if output is not None:
        say(screen, f"{output}: {len(found.points)} networks on {found.samples} images")


def _widths(option: str, text: str) -> list[int]:
    """Whole numbers of a comma-separated list."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option}: expected numbers such as 4,6,8, got {text!r}") from error


def _table(result: dict[str, Any]) -> Any:
    columns = (
        *("circuit", "weight bits", "fractional", "MSE", "above float", "zeros"),
        *("memory, kB", "synaptic operations", "best"),
    )
    title = f"{result['samples']} images, {result['steps']} iterations, means of the second half"
    table = plain_table(title, *columns, right=tuple(range(1, 8)))
    for p in result["points"]:
        table.add_row(
            p["topology"], str(p["weight_bits"]), str(p["frac_bits"]), f"{p['mse']:.4g}",
            f"{p['mse_percent']:+.2f} ± {2 * p['error']:.2f} %", f"{p['zeros_points']:+.2f} points",
            f"{p['kilobytes']:,.0f}", f"{p['synops']:,.0f}", "yes" if p["best"] else "",
        )  # fmt: skip
    return table
