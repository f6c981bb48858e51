"""The verb that times engines side by side: bench."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from pvae_neuro.cli.shared.options import Json, Quiet
from pvae_neuro.cli.shared.support import console, guarded, say, write_json
from pvae_neuro.errors import InputError


@guarded
def bench(
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="Time this .onnx export too.", show_default=False),
    ] = None,
    float_model: Annotated[
        Path | None,
        typer.Option(
            "--float-model",
            help="Float model of --model, for PyTorch beside families that are not linear.",
            show_default=False,
        ),
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
    from pvae_neuro.bench.cases import artifact_cases, available_cores, synthetic_cases
    from pvae_neuro.bench.contenders import CONTENDERS
    from pvae_neuro.bench.networks import TOPOLOGIES
    from pvae_neuro.bench.run import choose_contenders, run_bench
    from pvae_neuro.bench.timing import Rules
    from pvae_neuro.cli.shared.progress import stages
    from pvae_neuro.cli.shared.tables import bench_table

    cores = available_cores()
    if threads is not None and not 1 <= threads <= cores:
        raise InputError(
            f"--threads: expected 1 to {cores}, the cores of this machine; got {threads}"
        )
    names = CONTENDERS if engines is None else [name.strip() for name in engines.split(",")]
    contenders, counts = choose_contenders(names), (threads or cores,)
    batches = (1, 64, 256) if full else (64,)
    # Read first: a file that does not fit is refused before any timing.
    if float_model is not None and model is None:
        raise InputError("--float-model: expected --model, the export that it belongs to")
    real = [] if model is None else artifact_cases(model, batches, counts, float_model=float_model)
    synthetic = synthetic_cases(
        tuple(TOPOLOGIES) if full else ("lateral",),
        (128, 512, 2048) if full else (128, 512),
        batches,
        (0.02, 0.12, 0.5),
        counts,
    )
    rules = Rules(steps=64) if full else Rules(repeats=3, limit_seconds=3.0)
    with stages("bench: ", quiet) as progress:
        result = run_bench(chain(real, synthetic), contenders, rules, progress=progress)
    write_json(json, result.to_dict())
    screen = console(json, quiet)
    screen.print(bench_table(result))
    for name, why in result.skipped.items():
        say(screen, f"left out: {name}: {why}")
