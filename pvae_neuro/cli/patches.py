"""Verb that cuts patches out of a folder of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.options import Json, MaxMemory, Output, Quiet, memory_of
from pvae_neuro.cli.shared.support import (
    console,
    guarded,
    plain_table,
    say,
    write_json,
)
from pvae_neuro.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from pvae_neuro.data.patches import PatchSet


@guarded
def patches(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Photographs: png, jpg, tif, gif, webp, iml, ...; train/ and test/ if there.",
        ),
    ],
    output: Output,
    size: Annotated[int, typer.Option("--size", help="Height and width in pixels.")] = 16,
    train: Annotated[int, typer.Option("--train", help="Patches to train on.")] = 40_000,
    test: Annotated[
        int, typer.Option("--test", help="Held-out patches, from other photographs.")
    ] = 5_000,
    whiten: Annotated[
        bool, typer.Option("--whiten/--no-whiten", help="Filter f exp(-(f/f0)^4).")
    ] = True,
    cutoff: Annotated[
        float, typer.Option("--cutoff", help="f0 of that filter, relative to Nyquist.")
    ] = 0.78125,
    contrast: Annotated[
        str,
        typer.Option("--contrast", help="none, image (unit variance for each) or local."),
    ] = "none",
    radius: Annotated[
        float, typer.Option("--radius", help="Of the window of --contrast local, in pixels.")
    ] = 16.0,
    standardize: Annotated[
        bool, typer.Option("--standardize", help="Zero mean and unit variance for each patch.")
    ] = False,
    minimum_contrast: Annotated[
        float,
        typer.Option(
            "--minimum-contrast", help="Leave out patches below this part of a photograph's SD."
        ),
    ] = 0.0,
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", help="Share of photographs that is held out.")
    ] = 0.1,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype", help="float16, float32, or auto: float16 where its range is wide enough."
        ),
    ] = "auto",
    seed: Annotated[
        int, typer.Option("--seed", "-s", help="Of division, positions and order.")
    ] = 0,
    max_memory: MaxMemory = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Cut whitened patches out of a folder of photographs, into a .npz (needs Pillow)."""
    if output.suffix != ".npz":
        raise InputError(f"--output: expected a name that ends in .npz, got {str(output)!r}")
    from pvae_neuro.cli.shared.endings import say_line
    from pvae_neuro.cli.shared.progress import stages
    from pvae_neuro.data.patches import PatchConfig, extract_patches, save_patches
    from pvae_neuro.utils.memory import memory_limit

    config = PatchConfig(
        size, train, test, whiten, cutoff, contrast,  # type: ignore[arg-type]
        radius, standardize, minimum_contrast, test_fraction, dtype, seed,  # type: ignore[arg-type]
    )  # fmt: skip
    with memory_limit(memory_of(max_memory)), stages("patches: ", quiet) as progress:
        result = extract_patches(folder, config, progress)
    if not quiet:
        say_line(f"{folder}: {result.about}")
    save_patches(result, output)
    summary = _summary(result)
    write_json(json, {"path": str(output), **summary})
    out = console(json, quiet)
    out.print(_table(summary["parts"]))
    low, high = result.value_range
    say(out, f"{output}: {size}x{size} pixels in [{low:.4g}, {high:.4g}], {result.dtype}")


def _summary(result: PatchSet) -> dict[str, Any]:
    from dataclasses import asdict

    parts = {
        "train": (result.train, result.train_photograph),
        "test": (result.test, result.test_photograph),
    }
    return {
        "config": asdict(result.config),
        "scale": result.scale,
        "range": list(result.value_range),
        "dtype": result.dtype,
        "about": result.about,
        "parts": {
            name: {
                "patches": len(values),
                "photographs": sorted(result.photographs[place] for place in set(source.tolist())),
                "mean": float(values.mean()),
                "sd": float(values.std()),
            }
            for name, (values, source) in parts.items()
        },
    }


def _table(parts: dict[str, Any]) -> Table:
    table = plain_table(
        "patches", "part", "patches", "photographs", "mean", "SD", right=(1, 2, 3, 4)
    )
    for name, part in parts.items():
        table.add_row(
            name, f"{part['patches']:,}", f"{len(part['photographs']):,}",
            f"{part['mean']:.3f}", f"{part['sd']:.3f}",
        )  # fmt: skip
    return table
