"""Verbs that use a model: inspect, run, evaluate."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.commands.options import (
    Clip,
    DataRoot,
    Dataset,
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
from pvae_neuro.commands.support import check_outputs, check_run, console, guarded, say, write_json
from pvae_neuro.errors import InputError

if TYPE_CHECKING:
    from pvae_neuro.artifact import Artifact
    from pvae_neuro.network import IntegerNetwork
    from pvae_neuro.sim.engine import Recording

EngineName = Annotated[
    str,
    typer.Option(
        "--engine", "-e", help="auto, reference, fast, onnx or lava; all give the same integers."
    ),
]
ArtifactFile = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Exported network.")]


@guarded
def inspect(model: ArtifactFile, json: Json = None, quiet: Quiet = False) -> None:
    """Show layers, widths, scales, certificate and hash of an export."""
    check_outputs(json)
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.commands.tables import certificate_table, choices_table, network_table
    from pvae_neuro.exporters.certify import examine

    artifact = load_artifact(model)
    certificate = examine(artifact.network)
    write_json(json, {**_description(artifact), "certificate": certificate.to_dict()})
    out = console(json, quiet)
    out.print(network_table(artifact.network))
    out.print(certificate_table(certificate))
    out.print(
        f"  sampler: total variation {certificate.total_variation:.1e} from Poisson, exact, "
        f"largest over every rate"
    )
    out.print(choices_table(artifact.network))
    say(out, f"{model}: sha256 {artifact.sha256}")


def _description(artifact: Artifact) -> dict[str, Any]:
    network = artifact.network
    latents, source = network.latents, network.input
    return {
        "sha256": artifact.sha256,
        "topology": network.topology,
        "input": {
            "pixels": source.pixels, "low": source.low, "high": source.high,
            "frac_bits": source.frac_bits, "image_shape": source.image_shape,
        },
        "potential": {
            "frac_bits": latents.frac_bits, "u_min": latents.u_min, "u_max": latents.u_max,
            "max_count": latents.table.max_count, "table_bytes": latents.table.size_bytes,
        },
        "populations": [{"name": p.name, "neurons": p.size} for p in network.populations],
        "connections": [
            {
                "name": c.name, "source": c.source, "target": c.target,
                "shape": list(c.weight.shape), "bits": c.bits, "exponent": c.exponent,
            }
            for c in network.connections
        ],
        "choices": [{"name": c.name, "value": c.value, "why": c.why} for c in network.choices],
    }  # fmt: skip


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
    from pvae_neuro.commands.engines import make_engine
    from pvae_neuro.commands.inputs import read_images
    from pvae_neuro.commands.progress import single

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

    from pvae_neuro.files import atomic_path

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


@guarded
def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="model.safetensors or model.onnx.")
    ],
    dataset: Dataset = None,
    data_root: DataRoot = None,
    input: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="Images instead of a data set.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="test or train.")] = "test",
    samples: Samples = None,
    steps: Steps = 128,
    seed: Seed = 0,
    engine: EngineName = "auto",
    clip: Clip = False,
    timeout: Timeout = None,
    lava_batch: LavaBatch = 1,
    scheduler: Scheduler = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Squared error summed over pixels, R2 and zeros, by iteration."""
    check_outputs(json)
    check_run(steps, seed)
    if (dataset is None) == (input is None):
        raise InputError("expected either --dataset, with --data-root, or --input")
    from pvae_neuro.checkpoints import SavedModel
    from pvae_neuro.commands.engines import make_engine
    from pvae_neuro.commands.inputs import declared_input, read_images, read_subject
    from pvae_neuro.commands.progress import single
    from pvae_neuro.commands.tables import evaluation_table
    from pvae_neuro.evaluation import evaluate as measure

    runner = make_engine(engine, timeout, batch=lava_batch, scheduler=scheduler)
    read = read_subject(model)
    subject: SavedModel | IntegerNetwork = read if isinstance(read, SavedModel) else read.network
    declared = declared_input(subject.config) if isinstance(subject, SavedModel) else subject.input
    images = read_images(
        dataset or str(input), declared, data_root=data_root, split=split, clip=clip,
        samples=samples,
    )  # fmt: skip
    # A family that runs in PyTorch takes no engine; one that was asked for is refused.
    chosen = None if (engine, scheduler) == ("auto", None) else runner
    with single("evaluate", steps * len(images), quiet) as advance:
        result = measure(subject, images, steps=steps, seed=seed, engine=chosen, progress=advance)
    write_json(json, result.to_dict())
    console(json, quiet).print(evaluation_table(result))
