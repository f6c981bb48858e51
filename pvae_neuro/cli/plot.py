"""The verb that draws a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pvae_neuro.cli.shared.data_options import DataOptions, reads_images
from pvae_neuro.cli.shared.options import Clip, Json, OptionalInput, Quiet, Seed, Steps
from pvae_neuro.cli.shared.paths import WRITES
from pvae_neuro.cli.shared.support import (
    check_run,
    console,
    guarded,
    say,
    write_json,
)
from pvae_neuro.errors import InputError

FORMATS = (".svg", ".png", ".pdf")


@guarded
@reads_images
def plot(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.safetensors", help="Float model of any family.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Figure: .svg, .png or .pdf.", show_default=False),
        WRITES,
    ],
    data: DataOptions,
    input: OptionalInput = None,
    samples: Annotated[int, typer.Option("--samples", "-n", help="Use the first N images.")] = 100,
    steps: Steps = 128,
    seed: Seed = 0,
    clip: Clip = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Draw reconstructions, figures by iteration, and decoder elements of a model (needs torch)."""
    check_run(steps, seed)
    if output.suffix not in FORMATS:
        raise InputError(f"{output}: expected a name ending in one of {', '.join(FORMATS)}")
    from pvae_neuro.cli.shared.inputs import read_known, read_model
    from pvae_neuro.cli.shared.progress import single
    from pvae_neuro.plots.model import plot_model
    from pvae_neuro.utils.files import atomic_path

    saved = read_model(model, quiet)
    images = read_known("--input", input, saved, data, clip=clip, samples=samples, quiet=quiet)
    with single("plot", steps * len(images), quiet) as advance:
        figure = plot_model(saved, images, steps, seed, advance)
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=150)
    write_json(json, {"path": str(output), "family": saved.config.family, "samples": len(images)})
    say(console(json, quiet), f"{output}: {saved.config.family}, {len(images)} images")
