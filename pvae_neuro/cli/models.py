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
    """List the shipped models, and the families: circuits of integers, parameters, paper."""
    if side < 1 or (latents is not None and latents < 1):
        raise InputError(f"--latents, --side: expected integers >= 1, got {latents}, {side}")
    from pvae_neuro.models.registry import model_names

    rows, lacking = [_family(name, latents, side) for name in model_names()], list[str]()
    try:
        lacking += _count(rows, side)
    except MissingDependencyError as error:
        lacking.append(str(error))
    shipped = _shipped()
    write_json(json, {"shipped": shipped, "families": rows})
    screen = console(json, quiet)
    table = plain_table(
        "shipped models, trained on digits (MNIST); mse and zeros of 500 test digits after 128 "
        "iterations", "name", "family", "what", "MB", "mse", "zeros %", right=(3, 4, 5),
    )  # fmt: skip
    for model in shipped:
        figures = _cell(model["bytes"], 1e-6), _cell(model["mse"]), _cell(model["zeros"], 100)
        table.add_row(model["name"], model["family"], model["summary"], *figures)
    screen.print(table)
    table = plain_table(
        f"families, {side} x {side} pixels",
        "model", "what", "circuits of integers", "K", "parameters", "published", "paper",
        right=(3, 4, 5),
    )  # fmt: skip
    for row in rows:
        numbers = (f"{n:,}" if n else "–" for n in (row["parameters"], row["published_parameters"]))
        circuits = ", ".join(row["circuits"]) or "float only"
        table.add_row(
            row["name"], row["summary"], circuits, str(row["latents"]), *numbers, row["paper"]
        )
    screen.print(table)
    for reason in lacking:
        say(screen, f"– in the column parameters: {reason}")


def _cell(value: float | None, scale: float = 1.0) -> str:
    return "–" if value is None else f"{scale * value:.2f}"


def _shipped() -> list[dict[str, Any]]:
    """A row for each shipped model; no size where this installation lacks its file."""
    from pvae_neuro.saved.shipped import FOLDER, SHIPPED, shipped_figures

    rows = []
    for name, model in SHIPPED.items():
        path, figures = FOLDER / model.file, shipped_figures().get(name, {})
        rows.append({
            "name": name, "family": model.family, "summary": model.summary,
            "bytes": path.stat().st_size if path.is_file() else None,
            "mse": figures.get("mse"), "zeros": figures.get("zeros"),
        })  # fmt: skip
    return rows


def _family(name: str, latents: int | None, side: int) -> dict[str, Any]:
    from pvae_neuro.exporters.lowerings import topologies
    from pvae_neuro.models.registry import model_entry

    entry = model_entry(name)
    size = latents or entry.published_latents
    same = (size, side) == (entry.published_latents, 28)
    return {
        "name": name, "summary": entry.summary, "paper": entry.paper, "latents": size,
        "circuits": list(topologies(name)),
        "parameters": None, "published_parameters": entry.published_parameters if same else None,
    }  # fmt: skip


def _count(rows: list[dict[str, Any]], side: int) -> list[str]:
    """Count parameters, and say why some families have no such size; InputError if none has it."""
    from pvae_neuro.models.sizes import count_parameters

    failed: dict[str, InputError] = {}
    for row in rows:
        try:
            row["parameters"] = count_parameters(row["name"], row["latents"], (side, side))
        except InputError as error:
            failed[row["name"]] = error
    if len(failed) == len(rows):
        raise failed[rows[0]["name"]]
    return [f"{name}: {error}" for name, error in failed.items()]
