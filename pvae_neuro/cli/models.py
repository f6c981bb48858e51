"""The verb that lists the model families, and the models that come with the package."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pvae_neuro.cli.shared.options import Json, Quiet
from pvae_neuro.cli.shared.support import console, guarded, plain_table, say, write_json
from pvae_neuro.errors import InputError, MissingDependencyError


@guarded
def models(
    latents: Annotated[
        int | None,
        typer.Option("--latents", help="K.", show_default="that of the published figure, or 512"),
    ] = None,
    side: Annotated[int, typer.Option("--side", help="Height and width of the images.")] = 28,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """List the shipped models, and the families: paper, parameters, published parameters."""
    if side < 1 or (latents is not None and latents < 1):
        raise InputError(f"--latents, --side: expected integers >= 1, got {latents}, {side}")
    from pvae_neuro.models.registry import model_names
    from pvae_neuro.saved.shipped import SHIPPED

    rows, lacking = [_family(name, latents, side) for name in model_names()], None
    try:
        _count(rows, side)
    except MissingDependencyError as error:
        lacking = str(error)
    shipped = [{"name": name, "summary": model.summary} for name, model in SHIPPED.items()]
    write_json(json, {"shipped": shipped, "families": rows})
    screen = console(json, quiet)
    table = plain_table("shipped models", "name", "what")
    for model in shipped:
        table.add_row(model["name"], model["summary"])
    screen.print(table)
    table = plain_table(
        f"families, {side} x {side} pixels",
        "model", "what", "K", "parameters", "published", "paper", right=(2, 3, 4),
    )  # fmt: skip
    for row in rows:
        numbers = (f"{n:,}" if n else "–" for n in (row["parameters"], row["published_parameters"]))
        table.add_row(row["name"], row["summary"], str(row["latents"]), *numbers, row["paper"])
    screen.print(table)
    if lacking is not None:
        say(screen, f"– in the column parameters: {lacking}")


def _family(name: str, latents: int | None, side: int) -> dict[str, Any]:
    from pvae_neuro.models.registry import model_entry

    entry = model_entry(name)
    size = latents or entry.published_latents
    same = (size, side) == (entry.published_latents, 28)
    return {
        "name": name, "summary": entry.summary, "paper": entry.paper, "latents": size,
        "parameters": None, "published_parameters": entry.published_parameters if same else None,
    }  # fmt: skip


def _count(rows: list[dict[str, Any]], side: int) -> None:
    from pvae_neuro.models.sizes import count_parameters

    for row in rows:
        row["parameters"] = count_parameters(row["name"], row["latents"], (side, side))
