"""``run``: an exported network on images, its spikes and potentials in a file."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.data_options import DataOptions, reads_images
from pvae_neuro.cli.shared.options import (
    ArtifactFile,
    Clip,
    EngineName,
    Input,
    Json,
    LavaBatch,
    Output,
    Quiet,
    Samples,
    Scheduler,
    Seed,
    Steps,
    Timeout,
)
from pvae_neuro.cli.shared.support import (
    check_run,
    console,
    guarded,
    say,
    write_json,
)

if TYPE_CHECKING:
    from pvae_neuro.network import IntegerNetwork
    from pvae_neuro.sim.recording import Recording


# Names in the file of what the linear model records.
COUNTS, POTENTIALS = "counts", "potentials"


@guarded
@reads_images
def run(
    model: ArtifactFile,
    input: Input,
    output: Output,
    data: DataOptions,
    samples: Samples = None,
    steps: Steps = 32,
    seed: Seed = 0,
    engine: EngineName = "auto",
    record: Annotated[
        str | None,
        typer.Option(
            "--record",
            help="Further variables to write, such as errors.m, comma-separated; or full.",
            show_default=False,
        ),
    ] = None,
    clip: Clip = False,
    timeout: Timeout = None,
    lava_batch: LavaBatch = None,
    scheduler: Scheduler = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Run an export on images; write counts, potentials and reconstructions."""
    check_run(steps, seed)
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.cli.shared.engines import choose_engine
    from pvae_neuro.cli.shared.inputs import read_images
    from pvae_neuro.cli.shared.progress import single

    choice = choose_engine(engine, scheduler, timeout=timeout, batch=lava_batch)
    network = load_artifact(model).network
    images = read_images(input, network.input, data, clip=clip, samples=samples, quiet=quiet)
    named = _named_variables(network)
    further = _further_variables(network, record, named)
    runner = choice.engine(network)
    started = time.perf_counter()
    with single(runner.name, steps * len(images), quiet) as advance:
        recording = runner.run(
            network, images, steps, seed, record=[*named.values(), *further], progress=advance
        )
    seconds = time.perf_counter() - started
    _save(output, recording, named, further)
    summary: dict[str, Any] = {
        "path": str(output), "engine": runner.name, "samples": len(images), "steps": steps,
        "seed": seed, "seconds": seconds, **_figures(recording),
    }  # fmt: skip
    write_json(json, summary)
    say(
        console(json, quiet),
        f"{output}: {len(images)} samples, {steps} iterations, engine {runner.name}, "
        f"{seconds:.2f} s; mse {summary['mse']:.3f}, zeros {100 * summary['zeros']:.2f} %",
    )


def _named_variables(network: IntegerNetwork) -> dict[str, str]:
    """Variables that have a name of their own in the file: counts, and the potentials below."""
    latents = network.latents
    if latents is None or network.code is None:
        return {}
    named = {COUNTS: network.code}
    if f"{latents.name}.u" in network.variables:
        named[POTENTIALS] = f"{latents.name}.u"
    return named


def _further_variables(
    network: IntegerNetwork, record: str | None, named: dict[str, str]
) -> list[str]:
    if record is None:
        wanted = () if named else network.variables
    elif record == "full":
        wanted = network.variables
    else:
        wanted = tuple(name.strip() for name in record.split(",") if name.strip())
    return [name for name in wanted if name not in named.values()]


def _save(path: Path, recording: Recording, named: dict[str, str], further: list[str]) -> None:
    """Write one array a variable.

    Counts and potentials are those of the T iterations; other variables have T + 1 steps, the last
    one after ``final``.
    """
    import numpy as np

    from pvae_neuro.utils.files import atomic_path

    arrays = {name: recording[variable][:, :-1] for name, variable in named.items()}
    arrays.update({name: recording[name] for name in further})
    if recording.reconstruction is not None:
        arrays["reconstruction"] = recording.reconstruction
    write_array: Any = np.lib.format.write_array
    # Array by array and piece by piece: a trajectory may be larger than the memory.
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                write_array(entry, array, allow_pickle=False)


def _figures(recording: Recording) -> dict[str, float]:
    """Mean squared error and zeros after the last iteration; not a number without a readout."""
    error, unknown = recording.squared_error, float("nan")
    mse = unknown if error is None else float(error[:, -1].mean() * recording.error_unit)
    zeros = unknown if recording.code is None else float((recording.inferred == 0).mean())
    return {"mse": mse, "zeros": zeros}
