"""The verb that times engines side by side: bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pvae_neuro.cli.shared.options import Json, Quiet
from pvae_neuro.cli.shared.support import check_outputs, console, guarded, say, write_json
from pvae_neuro.errors import InputError


@guarded
def bench(
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="Time this .onnx export too.", show_default=False),
    ] = None,
    engines: Annotated[
        str | None,
        typer.Option("--engines", "-e", help="Comma-separated contenders.", show_default=False),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Every size, batch and activity; takes a while.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads of each.", show_default=False)
    ] = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Time engines and the PyTorch step side by side, as ratios within one run."""
    check_outputs(json)
    if threads is not None and threads < 1:
        raise InputError(f"--threads: expected at least 1, got {threads}")
    from pvae_neuro.bench.config import BenchConfig
    from pvae_neuro.bench.run import run_bench
    from pvae_neuro.cli.shared.progress import stages
    from pvae_neuro.cli.shared.tables import bench_table

    changes: dict[str, object] = {}
    if model is not None:
        changes["models"] = (str(model),)
    if engines is not None:
        changes["engines"] = tuple(name.strip() for name in engines.split(",") if name.strip())
    if threads is not None:
        changes["threads"] = (threads,)
    config = (BenchConfig.full if full else BenchConfig.quick)(**changes)
    with stages("bench: ", quiet) as progress:
        result = run_bench(config, progress)
    write_json(json, result.to_dict())
    screen = console(json, quiet)
    screen.print(bench_table(result))
    for name, why in result.skipped.items():
        say(screen, f"left out: {name}: {why}")
