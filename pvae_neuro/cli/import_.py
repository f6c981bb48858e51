"""``import``: a checkpoint of the authors' code as one of our model files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pvae_neuro.cli.shared.endings import say_line
from pvae_neuro.cli.shared.options import Json, MaxMemory, Output, Quiet, memory_of
from pvae_neuro.cli.shared.support import console, guarded, say, write_json


@guarded
def import_(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT_DIR", help="Folder that IterativeVAE wrote.")
    ],
    output: Output,
    input_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--input-range",
            metavar="LOW HIGH",
            help="Lowest and highest value of an input; by default that of the data set on which "
            "the model was trained.",
            show_default=False,
        ),
    ] = None,
    max_memory: MaxMemory = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Read a checkpoint of the authors' code (needs torch)."""
    from pvae_neuro.saved.iterative_vae import import_official
    from pvae_neuro.saved.model_file import save_model
    from pvae_neuro.utils.memory import memory_limit

    with memory_limit(memory_of(max_memory)):
        model = import_official(checkpoint, input_range)
    save_model(model, output)
    for note in () if quiet else model.notes:
        say_line(note)
    config = model.config
    write_json(json, {"path": str(output), "config": config.model_dump(mode="json")})
    say(console(json, quiet), f"{output}: {config.pixels} pixels, {config.latents} latents")
