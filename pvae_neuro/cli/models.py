"""The verb that lists the model families."""

from __future__ import annotations

from typing import Annotated

import typer

from pvae_neuro.cli.shared.options import Json, Quiet
from pvae_neuro.cli.shared.support import console, guarded, plain_table, write_json
from pvae_neuro.errors import InputError


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
    """List the model families: paper, parameters, and the published number of parameters."""
    if side < 1 or (latents is not None and latents < 1):
        raise InputError(f"--latents, --side: expected integers >= 1, got {latents}, {side}")
    from pvae_neuro.models.registry import model_entry, model_names
    from pvae_neuro.models.sizes import count_parameters

    rows = []
    for name in model_names():
        entry = model_entry(name)
        size = latents or entry.published_latents
        same = (size, side) == (entry.published_latents, 28)
        rows.append(
            {
                "name": name, "summary": entry.summary, "paper": entry.paper, "latents": size,
                "parameters": count_parameters(name, size, (side, side)),
                "published_parameters": entry.published_parameters if same else None,
            }
        )  # fmt: skip
    write_json(json, rows)
    table = plain_table(
        f"{side} x {side} pixels", "model", "what", "K", "parameters", "published", "paper",
        right=(2, 3, 4),
    )  # fmt: skip
    for row in rows:
        published = row["published_parameters"]
        table.add_row(
            str(row["name"]), str(row["summary"]), str(row["latents"]), f"{row['parameters']:,}",
            f"{published:,}" if published else "–", str(row["paper"]),
        )  # fmt: skip
    console(json, quiet).print(table)
