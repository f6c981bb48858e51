"""Verbs that make files: train, import, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.commands.options import Clip, DataRoot, Json, Output, Quiet
from pvae_neuro.commands.support import (
    check_folder,
    check_outputs,
    console,
    guarded,
    say,
    write_json,
)
from pvae_neuro.errors import InputError

if TYPE_CHECKING:
    from pvae_neuro.training_config import TrainConfig


@guarded
def train(
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", help="mnist, fashion-mnist, emnist, omniglot, or a .npy/.npz file."
        ),
    ],
    output: Output,
    data_root: DataRoot = None,
    latents: Annotated[int, typer.Option("--latents", help="Number of neurons K.")] = 512,
    steps: Annotated[int, typer.Option("--steps", help="Time steps per window, T.")] = 16,
    beta: Annotated[float, typer.Option("--beta", help="Weight of the KL term.")] = 16.0,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the data.")] = 10,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that stopped.")
    ] = False,
    kl: Annotated[
        str, typer.Option("--kl", help="exact, or released: that of the authors' code.")
    ] = "exact",
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images per step.")] = 100,
    windows: Annotated[int, typer.Option("--windows", help="Truncated windows per batch.")] = 1,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak.", show_default=False)
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--start", help="Model to go on from, of the same size.", show_default=False),
    ] = None,
    clamp: Annotated[
        str, typer.Option("--clamp", help="soft, as the authors', or hard, as integers clamp.")
    ] = "soft",
    clamp_u: Annotated[
        float, typer.Option("--clamp-u", help="Upper bound of the membrane potential.")
    ] = 10.0,
    clamp_du: Annotated[
        float, typer.Option("--clamp-du", help="Upper bound of its change per update.")
    ] = 10.0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")] = "auto",
    tensorboard: Annotated[
        Path | None,
        typer.Option("--tensorboard", help="Folder for its events.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of weights, order and samples.")] = 0,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Train a model on images (needs torch)."""
    check_outputs(output, json)
    if tensorboard is not None:
        check_folder(tensorboard)
    settings = {
        "latents": latents, "steps": steps, "beta": beta, "epochs": epochs, "kl": kl,
        "batch_size": batch_size, "windows": windows, "seed": seed,
        "clamp": clamp, "clamp_u": clamp_u, "clamp_du": clamp_du,
    }  # fmt: skip
    if learning_rate is not None:
        settings["learning_rate"] = learning_rate
    config = _train_config(settings)
    from rich.console import Console

    from pvae_neuro.checkpoints import load_model
    from pvae_neuro.data import load_images
    from pvae_neuro.training import TrainOptions
    from pvae_neuro.training import train as run

    before = None if start is None else load_model(start)
    images = load_images(dataset, data_root or Path("data"), "train")
    options = TrainOptions(
        resume=resume, device=device, tensorboard=tensorboard, start=before,
        console=Console(stderr=True, quiet=quiet),
    )  # fmt: skip
    model = run(images, config, output, options)
    write_json(json, {"path": str(output), "config": model.config.model_dump(mode="json")})
    say(console(json, quiet), f"{output}: {latents} latents, trained on {images.name}")


def _train_config(settings: dict[str, Any]) -> TrainConfig:
    from pydantic import ValidationError

    from pvae_neuro.training_config import TrainConfig

    try:
        return TrainConfig(**settings)
    except ValidationError as error:
        problems = "; ".join(
            f"--{str(item['loc'][0]).replace('_', '-')}: {item['msg']}, got {item['input']!r}"
            for item in error.errors()
        )
        raise InputError(problems) from error


@guarded
def import_(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT_DIR", help="Folder that IterativeVAE wrote.")
    ],
    output: Output,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Read a checkpoint of the authors' code (needs torch)."""
    check_outputs(output, json)
    from pvae_neuro.checkpoints import save_model
    from pvae_neuro.official import import_official

    model = import_official(checkpoint)
    save_model(model, output)
    config = model.config
    write_json(json, {"path": str(output), "config": config.model_dump(mode="json")})
    say(console(json, quiet), f"{output}: {config.pixels} pixels, {config.latents} latents")


@guarded
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL.safetensors", help="Float model.")],
    output: Output,
    topology: Annotated[
        str, typer.Option("--topology", help="lateral or predictive.")
    ] = "predictive",
    weight_bits: Annotated[int, typer.Option("--weight-bits", help="2 to 8.")] = 8,
    frac_bits: Annotated[int, typer.Option("--frac-bits", help="Of the potential, 4 to 16.")] = 14,
    max_count: Annotated[
        int | None,
        typer.Option(
            "--max-count",
            help="Largest spike count.  [default: by calibration]",
            show_default=False,
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            help="Some tens of inputs: .npy or .npz.  [default: the shipped digits]",
            show_default=False,
        ),
    ] = None,
    stability_steps: Annotated[
        int, typer.Option("--stability-steps", help="Length of a lateral network's trial.")
    ] = 1000,
    clip: Clip = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Quantize, certify and write one executable .onnx file."""
    check_outputs(output, json)
    from pvae_neuro.checkpoints import load_model
    from pvae_neuro.commands.inputs import read_calibration
    from pvae_neuro.commands.progress import stages
    from pvae_neuro.commands.tables import certificate_table
    from pvae_neuro.exporters.quantize import QuantizeConfig
    from pvae_neuro.exporting import export_model
    from pvae_neuro.network import check_steps

    config = QuantizeConfig(topology, weight_bits, frac_bits, max_count)  # type: ignore[arg-type]
    check_steps(stability_steps)
    saved = load_model(model)
    inputs = read_calibration(calibrate, saved, clip)
    with stages("export: ", quiet) as progress:
        result = export_model(
            saved, output, inputs, config, stability_steps=stability_steps, progress=progress
        )
    write_json(
        json,
        {
            "path": str(output), "sha256": result.sha256, "topology": topology,
            "certificate": result.certificate.to_dict(),
        },
    )  # fmt: skip
    out = console(json, quiet)
    out.print(certificate_table(result.certificate))
    say(out, f"{output}: {topology}, sha256 {result.sha256}")
