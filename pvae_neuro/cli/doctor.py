"""The verb that says what this machine has for each engine and device, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pvae_neuro.cli.shared.endings import EXIT_FAILED, say_line
from pvae_neuro.cli.shared.options import Json, Quiet
from pvae_neuro.cli.shared.support import console, guarded, plain_table, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from pvae_neuro.verification.doctor import Diagnosis


@guarded
def doctor(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET]...",
            help="An engine, loihi2, spinnaker2; all by default.",
            show_default=False,
        ),
    ] = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Say what is installed for an engine or a device, what is missing, and whether it computes.

    Exit 1 where something that was asked for by name is missing, or an engine computes wrongly.
    """
    from pvae_neuro.verification.doctor import diagnose

    found = diagnose(targets or (), None if quiet else lambda name: say_line(f"doctor: {name}"))
    write_json(json, {"targets": [each.to_dict() for each in found]})
    screen = console(json, quiet)
    for each in found:
        screen.print(_table(each))
    # Nobody has everything: without a name, what is not installed is no failure.
    wrong = [d for d in found if not d.passed and (targets or d.checks[-1].name == "ping")]
    if wrong:
        raise typer.Exit(EXIT_FAILED)


def _table(diagnosis: Diagnosis) -> Table:
    title = f"{diagnosis.target}: {'ready' if diagnosis.passed else 'not ready'}"
    table = plain_table(title, "what", "", "found", "remedy")
    for check in diagnosis.checks:
        mark = "yes" if check.passed else "NO"
        table.add_row(check.name, mark, check.found, check.remedy)
    return table
