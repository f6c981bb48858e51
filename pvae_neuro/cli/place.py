"""The verb that places an export on a board: place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.boards import Limit, Limits, given_limits
from pvae_neuro.cli.shared.endings import EXIT_FAILED, say_line
from pvae_neuro.cli.shared.options import ArtifactFile, Json, Quiet
from pvae_neuro.cli.shared.paths import FOLDER, READS, WRITES, check_apart
from pvae_neuro.cli.shared.remedies import with_flags
from pvae_neuro.cli.shared.support import console, guarded, plain_table, say, write_json
from pvae_neuro.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from pvae_neuro.artifact import Artifact
    from pvae_neuro.placement import Board, Placement

FORMATS = (".svg", ".png", ".pdf")
# Chips, and free cores of each, that the terminal shows.
_MOST_CHIPS, _MOST_CORES = 8, 256


@guarded
def place(
    model: ArtifactFile,
    board: Annotated[
        str,
        typer.Option(
            "--board",
            "-b",
            help="oheo-gulch, kapoho-point, spinnaker2, or a JSON file of your own.",
        ),
        READS,
    ] = "oheo-gulch",
    limits: Limits = "cautious",
    limit: Limit = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Picture of the cores: .svg, .png or .pdf.", show_default=False
        ),
        WRITES,
    ] = None,
    placed: Annotated[
        Path | None,
        typer.Option(
            "--placed",
            help="Write the network with a population for each core, as .onnx.",
            show_default=False,
        ),
        WRITES,
    ] = None,
    package: Annotated[
        Path | None,
        typer.Option(
            "--package",
            help="Folder to write a C program into for each core, for boards whose cores run C: "
            "spinnaker2.",
            show_default=False,
        ),
        FOLDER,
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Run the parts on the golden vector of the file."),
    ] = False,
    sources: Annotated[
        bool, typer.Option("--sources", help="Show the source of every limit.")
    ] = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Cut a network into the cores of a board, and say what is used; exit 1 if it does not fit."""
    given = given_limits(limit)
    if output is not None and output.suffix not in FORMATS:
        raise InputError(f"{output}: expected a name ending in one of {', '.join(FORMATS)}")
    check_apart({"--package": package}, {"--output": output, "--placed": placed, "--json": json})
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.errors import PlacementError
    from pvae_neuro.placement import load_board
    from pvae_neuro.placement import place as place_network

    chosen = load_board(board, limits, given)
    core_bytes = 0 if package is None else _core_bytes(chosen, package)
    if output is not None:
        from pvae_neuro.plots.style import require_matplotlib

        require_matplotlib()
    artifact = load_artifact(model)
    origin = {"artifact": str(model), "sha256": artifact.sha256}
    try:
        placement = place_network(artifact.network, chosen)
        if package is not None:
            _write_package(artifact, placement, package, core_bytes)
    except PlacementError as error:
        content = {"fits": False, "network": artifact.network.name, "board": chosen.to_dict()}
        said = {"reasons": list(error.reasons), "remedies": list(error.remedies)}
        write_json(json, {**origin, **content, **said})
        say_line(f"FAILED: {with_flags(error)}")
        raise typer.Exit(EXIT_FAILED) from None
    difference = _difference(artifact, placement) if check else None
    checked = {"equal": difference is None, "difference": difference} if check else None
    write_json(json, {**origin, **placement.to_dict(), "check": checked})
    if output is not None:
        _draw(placement, output)
    if placed is not None:
        _write(artifact, placement, placed)
    out = console(json, quiet)
    say(out, _summary(placement))
    out.print(_population_table(placement))
    for line in picture(placement):
        say(out, line)
    out.print(_traffic_table(placement))
    if sources:
        out.print(_source_table(placement.board))
    say(out, _verified(placement.board))
    if package is not None:
        say(out, f"{package}: a C program for each core")
    if check and difference is None:
        golden = artifact.golden
        say(out, f"the parts give the same integers: {golden.iterations} iterations, all variables")
    if difference is not None:
        say_line(f"FAILED: the parts give other integers: {difference}")
        raise typer.Exit(EXIT_FAILED)


def _write_package(
    artifact: Artifact, placement: Placement, package: Path, core_bytes: int
) -> None:
    from pvae_neuro.exporters.cores import write_cores
    from pvae_neuro.sim.c_kernel.cores import golden_run

    golden = artifact.golden
    run = golden_run(placement.network, golden.pixels[0], golden.iterations, golden.seed)
    write_cores(placement.network, package, core_bytes=core_bytes, golden=run)


def _core_bytes(board: Board, package: Path) -> int:
    """Memory of a core that runs C, where a package may be written into that folder."""
    from pvae_neuro.exporters.cores import check_cores_folder

    memory = board.limits["memory"].maximum if "memory" in board.limits else None
    if memory is None:
        raise InputError(
            f"--package: the cores of {board.name} run no C; expected a board whose cores have a "
            f"memory for code and data, such as spinnaker2"
        )
    check_cores_folder(package)
    return memory


def _difference(artifact: Artifact, placement: Placement) -> str | None:
    from pvae_neuro.artifact import replay

    return replay(artifact.network, artifact.golden, placement.engine())


def _draw(placement: Placement, output: Path) -> None:
    from pvae_neuro.plots.cores import core_grid
    from pvae_neuro.utils.files import atomic_path

    figure: Any = core_grid(placement).figure
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=150)


def _write(artifact: Artifact, placement: Placement, path: Path) -> None:
    from pvae_neuro.artifact import save_artifact

    unit = 2.0**-artifact.network.input.frac_bits
    save_artifact(placement.network, artifact.golden.pixels * unit, path)


def _summary(placement: Placement) -> str:
    board = placement.board
    given = ", ".join(f"{name}={number:,}" for name, number in board.given.items())
    return (
        f"{placement.source.name} on {board.title}: {len(placement.cores):,} of {board.cores:,} "
        f"cores, {board.choice} limits{given and f' but {given}'}"
    )


def _population_table(placement: Placement) -> Table:
    board = placement.board
    populations = placement.by_population
    table = plain_table(
        "",
        "the fullest core",
        *populations,
        "maximum",
        right=tuple(range(1, 2 + len(populations))),
    )
    for name, limit in board.limits.items():
        used = (f"{max(c.used[name] for c in cores):,}" for cores in populations.values())
        heading = f"{name.replace('_', ' ')} {limit.unit}".strip()
        table.add_row(heading, *used, _maximum(limit.maximum))
    table.add_section()
    sizes = (f"{sum(core.size for core in cores):,}" for cores in populations.values())
    table.add_row("neurons in all", *sizes, "")
    numbers = (f"{len(cores):,}" for cores in populations.values())
    table.add_row("cores in all", *numbers, f"{board.cores:,}")
    return table


def _maximum(value: int | None) -> str:
    return "not public" if value is None else f"{value:,}"


def picture(placement: Placement) -> list[str]:
    """Chips as rows of letters, a letter for the population of each core; a dot is a free core."""
    board = placement.board
    letters = letters_of(placement)
    lines: list[str] = []
    used = 1 + placement.cores[-1].chip
    for chip in range(min(used, _MOST_CHIPS)):
        cells = [letters[c.population] for c in placement.cores if c.chip == chip]
        cells += ["."] * (min(board.cores_per_chip, _MOST_CORES) - len(cells))
        lines.append(f"  chip {chip}")
        for first in range(0, len(cells), board.columns):
            lines.append("    " + " ".join(cells[first : first + board.columns]))
    if used > _MOST_CHIPS:
        lines.append(f"  and {used - _MOST_CHIPS:,} more chips")
    lines.append("  " + ", ".join(f"{letter} {name}" for name, letter in letters.items()))
    return lines


def letters_of(placement: Placement) -> dict[str, str]:
    """A letter for each population."""
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return {
        name: alphabet[number] if number < len(alphabet) else "#"
        for number, name in enumerate(placement.slices)
    }


def _traffic_table(placement: Placement) -> Table:
    table = plain_table(
        "an iteration in which every neuron sends", "connection", "from", "to", "messages",
        "packets", "between chips", right=(3, 4, 5),
    )  # fmt: skip
    for t in placement.traffic:
        numbers = (f"{n:,}" for n in (t.messages, t.packets, t.between_chips))
        table.add_row(t.connection, t.source, t.target, *numbers)
    return table


def _source_table(board: Board) -> Table:
    table = plain_table("limits", "name", "value", "verified", "source", right=(1,))
    for row in board.numbers():
        table.add_row(*row)
    return table


def _verified(board: Board) -> str:
    rows: list[tuple[Any, ...]] = board.numbers()
    doubtful = [row[0] for row in rows if row[2] == "no"]
    return (
        f"{len(doubtful)} of {len(rows)} numbers of this board are derived or unconfirmed; "
        f"--sources shows all"
    )
