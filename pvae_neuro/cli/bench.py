"""The verb that times engines side by side: bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pvae_neuro.cli.shared.options import Json, Quiet
from pvae_neuro.cli.shared.support import check_outputs, console, guarded, write_json
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
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Draw cost against size and activity.", show_default=False),
    ] = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Time engines and float frameworks side by side, as ratios within one run."""
    check_outputs(json, figure)
    if threads is not None and threads < 1:
        raise InputError(f"--threads: expected at least 1, got {threads}")
    from pvae_neuro.bench.run import BenchConfig, bench_table, run_bench, save_figure
    from pvae_neuro.cli.shared.progress import stages

    changes: dict[str, object] = {}
    if model is not None:
        changes["models"] = (str(model),)
    if engines is not None:
        changes["engines"] = tuple(name.strip() for name in engines.split(",") if name.strip())
    if threads is not None:
        changes["threads"] = (threads,)
    config = (BenchConfig.full if full else BenchConfig.quick)(**changes)
    with stages("bench: ", quiet) as progress:
        result = run_bench(config, lambda share, case: progress("bench", int(1000 * share), 1000))
    write_json(json, result.to_dict())
    if figure is not None:
        save_figure(result, figure)
    console(json, quiet).print(bench_table(result))
