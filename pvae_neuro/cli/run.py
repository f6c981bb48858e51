"""``run``: an exported network on images, its spikes and potentials in a file."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.data_options import DataOptions, reads_images
from pvae_neuro.cli.shared.endings import say_line
from pvae_neuro.cli.shared.options import (
    ArtifactFile,
    Clip,
    EngineName,
    Explain,
    Hold,
    Input,
    Json,
    LavaBatch,
    Output,
    Processor,
    Products,
    Quiet,
    Reset,
    Samples,
    Scheduler,
    Seed,
    Steps,
    Timeout,
    iterations,
)
from pvae_neuro.cli.shared.support import (
    check_run,
    guarded,
    say_alone,
    write_json,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    hold: Hold = None,
    reset: Reset = False,
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
    processor: Processor = None,
    products: Products = None,
    explain: Explain = False,
    scheduler: Scheduler = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Run an export on images; write counts, potentials and reconstructions."""
    steps = iterations(steps, hold, reset)
    check_run(steps, seed)
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.cli.shared.engines import choose_engine
    from pvae_neuro.cli.shared.inputs import read_inputs
    from pvae_neuro.cli.shared.progress import single
    from pvae_neuro.cli.shared.tables import shown_samples

    choice = choose_engine(
        engine, scheduler, timeout=timeout, batch=lava_batch, products=products, processor=processor
    )
    network = load_artifact(model).network
    images = read_inputs(
        input, network.input, data, hold, reset, clip=clip, samples=samples, quiet=quiet
    )
    named = _named_variables(network)
    further = _further_variables(network, record, named)
    runner = choice.engine(network)
    started = time.perf_counter()
    with single(runner.name, steps * images[..., 0].size, quiet) as advance:
        recording = runner.run(
            network, images, steps, seed,
            record=[*named.values(), *further], reset=reset, progress=advance,
        )  # fmt: skip
    seconds = time.perf_counter() - started
    by_frame = {} if hold is None else _by_frame(recording)
    _save(output, recording, named, further, by_frame)
    summary: dict[str, Any] = {
        "path": str(output), "engine": runner.name, "samples": len(images), "steps": steps,
        "seed": seed, "seconds": seconds, **_figures(recording),
    }  # fmt: skip
    if hold is not None:
        means = {name: values.mean(axis=0).tolist() for name, values in by_frame.items()}
        summary |= {"frames": recording.frames, "reset": reset, "by_frame": means}
    if explain:
        summary["explained"] = runner.explain(network)
    write_json(json, summary)
    for line in summary.get("explained", ()):
        say_line(line)
    say_alone(
        json,
        quiet,
        f"{output}: {shown_samples(len(images), recording.frames)}, {steps} iterations, "
        f"engine {runner.name}, {seconds:.2f} s; mse {summary['mse']:.3f}, "
        f"zeros {100 * summary['zeros']:.2f} %",
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


def _by_frame(recording: Recording) -> dict[str, NDArray[Any]]:
    """Of each frame: error after each iteration [N, F, n], iterations to settle, spikes [N, F]."""
    found: dict[str, NDArray[Any]] = {}
    if recording.squared_error is not None:
        errors = recording.squared_error * recording.error_unit
        found["error"] = recording.held.by_frame(errors)
        found["settling"] = recording.settling
    if recording.spikes is not None and recording.code is not None:
        found["spikes"] = recording.frame_spikes
    return found


def _save(
    path: Path,
    recording: Recording,
    named: dict[str, str],
    further: list[str],
    by_frame: dict[str, NDArray[Any]],
) -> None:
    """Write one array a variable.

    Counts and potentials are those of the T iterations; other variables have T + 1 steps, the last
    one after ``final``; with a run a frame, so for each.
    """
    import numpy as np

    from pvae_neuro.utils.files import atomic_path

    without_finals = recording.held.without_finals
    arrays = {name: without_finals(recording[variable]) for name, variable in named.items()}
    arrays.update({name: recording[name] for name in further})
    if recording.reconstruction is not None:
        arrays["reconstruction"] = recording.reconstruction
    arrays.update(by_frame)
    write_array: Any = np.lib.format.write_array
    # Array by array and piece by piece: a trajectory may be larger than the memory.
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                write_array(entry, array, allow_pickle=False)


def _figures(recording: Recording) -> dict[str, float]:
    """Mean squared error after the last iteration (on each frame), and zeros in the end.

    Not a number without a readout.
    """
    unknown = float("nan")
    mse = unknown if recording.squared_error is None else float(recording.frame_mse.mean())
    zeros = unknown if recording.code is None else float((recording.inferred == 0).mean())
    return {"mse": mse, "zeros": zeros}
