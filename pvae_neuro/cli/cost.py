"""``cost``: what an export would cost on a chip, counted from a run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pvae_neuro.cli.shared.boards import Limit, Limits, given_limits
from pvae_neuro.cli.shared.data_options import DataOptions, reads_images
from pvae_neuro.cli.shared.options import (
    ArtifactFile,
    Clip,
    EngineName,
    Input,
    Json,
    Quiet,
    Samples,
    Seed,
    Steps,
)
from pvae_neuro.cli.shared.paths import READS
from pvae_neuro.cli.shared.support import check_run, console, guarded, say, write_json
from pvae_neuro.errors import InputError


@guarded
@reads_images
def cost(
    model: ArtifactFile,
    input: Input,
    data: DataOptions,
    samples: Samples = None,
    steps: Steps = 128,
    seed: Seed = 0,
    engine: EngineName = "auto",
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            "-b",
            help="Place it, and count by core: a name such as oheo-gulch, or a JSON file.",
            show_default=False,
        ),
        READS,
    ] = None,
    limits: Limits = "cautious",
    limit: Limit = None,
    until: Annotated[
        bool,
        typer.Option(
            "--until",
            help="Stop each image once its error has fallen by less than 1 % over 16 iterations.",
        ),
    ] = False,
    dead_zone: Annotated[
        str | None,
        typer.Option(
            "--dead-zone",
            help="Comma-separated: error neurons send only magnitudes above N.",
            show_default=False,
        ),
    ] = None,
    activity: Annotated[
        str | None,
        typer.Option(
            "--activity",
            help="Comma-separated shares of latents that fire: their leak is scaled to reach them.",
            show_default=False,
        ),
    ] = None,
    clip: Clip = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Count what an export does on images: messages, synapses, operations; time and energy."""
    check_run(steps, seed)
    zones = _numbers("--dead-zone", dead_zone, int, "whole numbers such as 64,128")
    shares = _numbers("--activity", activity, float, "shares such as 0.05,0.1")
    given = given_limits(limit)
    if board is None and (given or limits != "cautious"):
        raise InputError("--limit and --limits: expected --board too, which they belong to")
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.cli.shared.cost_tables import cost_tables, lever_table
    from pvae_neuro.cli.shared.engines import choose_engine
    from pvae_neuro.cli.shared.inputs import read_images
    from pvae_neuro.cost.cost import cost_of
    from pvae_neuro.cost.levers import Levers
    from pvae_neuro.placement import place

    choice = choose_engine(engine)
    network = load_artifact(model).network
    levers = Levers(network, steps, until, zones, shares)
    placement = None if board is None else place(network, board, limits, given)
    images = read_images(input, network.input, data, clip=clip, samples=samples, quiet=quiet)
    runner, shown = choice.engine(network), not quiet
    found = cost_of(
        network, images, steps=steps, seed=seed, engine=runner, cores=placement, progress=shown
    )
    pulled = levers.pull(found, images, runner, shown)
    placed = None if placement is None else placement.board
    result = {
        **found.to_dict(),
        "board": placed and {"name": placed.name, "limits": placed.choice, "given": placed.given},
        "levers": [lever.to_dict() for lever in pulled],
    }
    write_json(json, result)
    screen = console(json, quiet)
    for table in cost_tables(result):
        screen.print(table)
    if pulled:
        screen.print(lever_table(result))
    say(screen, "counted in a simulation; nothing here was measured on a chip")


def _numbers(option: str, text: str | None, kind: type, expected: str) -> list[Any]:
    """Numbers of a comma-separated list."""
    try:
        found = [] if text is None else [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option}: expected {expected}, got {text!r}") from error
    if len(found) != len(set(found)):
        raise InputError(f"{option}: expected each number once, got {text!r}")
    return found
