"""``run``: an exported network on images, its spikes and potentials in a file."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvae_neuro.cli.shared.options import (
    ArtifactFile,
    Clip,
    EngineName,
    Input,
    Json,
    LavaBatch,
    Output,
    Quiet,
    Scheduler,
    Seed,
    Steps,
    Timeout,
)
from pvae_neuro.cli.shared.support import (
    check_outputs,
    check_run,
    console,
    guarded,
    say,
    write_json,
)
from pvae_neuro.errors import InputError

if TYPE_CHECKING:
    from pvae_neuro.sim.engine import Recording


@guarded
def run(
    model: ArtifactFile,
    input: Input,
    output: Output,
    steps: Steps = 32,
    seed: Seed = 0,
    engine: EngineName = "auto",
    clip: Clip = False,
    timeout: Timeout = None,
    lava_batch: LavaBatch = 1,
    scheduler: Scheduler = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Run an export on images; write counts, potentials and reconstructions."""
    check_outputs(output, json)
    check_run(steps, seed)
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.cli.shared.engines import make_engine
    from pvae_neuro.cli.shared.inputs import read_images
    from pvae_neuro.cli.shared.progress import single

    runner = make_engine(engine, timeout, batch=lava_batch, scheduler=scheduler)
    network = load_artifact(model).network
    images = read_images(input, network.input, clip=clip)
    started = time.perf_counter()
    with single(runner.name, steps * len(images), quiet) as advance:
        recording = runner.run(network, images, steps, seed, record="full", progress=advance)
    seconds = time.perf_counter() - started
    _save(output, recording)
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


def _save(path: Path, recording: Recording) -> None:
    import numpy as np

    from pvae_neuro.utils.files import atomic_path

    if recording.counts is None or recording.potentials is None:
        raise InputError("run: the engine kept no trajectory")
    arrays = {
        "counts": recording.counts,
        "potentials": recording.potentials,
        "reconstruction": recording.reconstruction,
    }
    write_array: Any = np.lib.format.write_array
    # Array by array and piece by piece: a trajectory may be larger than the memory.
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                write_array(entry, array, allow_pickle=False)


def _figures(recording: Recording) -> dict[str, float]:
    """Mean squared error and zeros after the last iteration."""
    error = recording.squared_error
    mse = float("nan") if error is None else float(error[:, -1].mean() * recording.error_unit)
    return {"mse": mse, "zeros": float((recording.readout == 0).mean())}
