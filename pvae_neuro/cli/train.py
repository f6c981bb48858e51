"""The verb that trains a model."""

from __future__ import annotations

import json as json_module
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.data_options import DataOptions, reads_images
from pvae_neuro.cli.shared.endings import say_line
from pvae_neuro.cli.shared.options import Input, Json, Output, Quiet
from pvae_neuro.cli.shared.paths import FOLDER, check_outputs
from pvae_neuro.cli.shared.support import (
    console,
    guarded,
    say,
    write_json,
)
from pvae_neuro.errors import InputError
from pvae_neuro.training.recipes import RECIPES

if TYPE_CHECKING:
    from pvae_neuro.training.config import TrainConfig


# The default is what the family's own recipe says.
_setting = partial(typer.Option, show_default="the recipe's")


@guarded
@reads_images
def train(
    input: Input,
    output: Output,
    data: DataOptions,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Family; `pvae-neuro models` lists them.")
    ] = "ipvae-linear",
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help=f"Named settings in place of the family's own: {', '.join(RECIPES)}.",
            show_default=False,
        ),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            "--architecture", help="The family's own settings, as JSON.", show_default=False
        ),
    ] = None,
    latents: Annotated[int | None, _setting("--latents", help="Number of neurons K.")] = None,
    steps: Annotated[int | None, _setting("--steps", help="Time steps per window, T.")] = None,
    beta: Annotated[float | None, _setting("--beta", help="Weight of the KL term.")] = None,
    epochs: Annotated[int | None, _setting("--epochs", help="Passes over the data.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that stopped.")
    ] = False,
    kl: Annotated[
        str | None, _setting("--kl", help="exact, or released: that of the authors' code.")
    ] = None,
    estimator: Annotated[
        str | None, _setting("--estimator", help="Of gradients through counts: relaxed or exact.")
    ] = None,
    activity_cost: Annotated[
        float | None, _setting("--activity-cost", help="Weight of the neurons that fire.")
    ] = None,
    target_zeros: Annotated[
        float | None, _setting("--target-zeros", help="Share of zeros to steer that weight to.")
    ] = None,
    isotropic: Annotated[
        bool | None, _setting("--isotropic/--anisotropic", help="One variance for all pixels.")
    ] = None,
    batch_size: Annotated[int | None, _setting("--batch-size", help="Images per step.")] = None,
    windows: Annotated[
        int | None, _setting("--windows", help="Truncated windows per batch.")
    ] = None,
    learning_rate: Annotated[float | None, _setting("--learning-rate", help="Peak.")] = None,
    final_learning_rate: Annotated[
        float | None, _setting("--final-learning-rate", help="At the end.")
    ] = None,
    dictionary_rate: Annotated[
        float | None, _setting("--dictionary-rate", help="The dictionary's share of these rates.")
    ] = None,
    weight_decay: Annotated[float | None, _setting("--weight-decay", help="L2, in Adamax.")] = None,
    start: Annotated[
        Path | None,
        typer.Option("--start", help="Model to go on from, of the same size.", show_default=False),
    ] = None,
    clamp: Annotated[
        str | None, _setting("--clamp", help="soft, as the authors', or hard, as integers clamp.")
    ] = None,
    clamp_u: Annotated[
        float | None, _setting("--clamp-u", help="Upper bound of the membrane potential.")
    ] = None,
    clamp_du: Annotated[
        float | None, _setting("--clamp-du", help="Upper bound of its change per update.")
    ] = None,
    schedule_batches: Annotated[
        int | None,
        typer.Option(
            "--schedule-batches",
            help="Batches that the ramps of beta and of bounds span.",
            show_default="those of the run",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")] = "auto",
    tensorboard: Annotated[
        Path | None,
        typer.Option("--tensorboard", help="Folder for its events.", show_default=False),
        FOLDER,
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of weights, order and samples.")] = 0,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Train a model of any family on images (needs torch)."""
    from pvae_neuro.training.config import checkpoint_path

    check_outputs(
        checkpoint_path(output), json, inputs=[input, *([] if start is None else [start])]
    )
    settings = {
        "latents": latents, "steps": steps, "beta": beta, "epochs": epochs, "kl": kl,
        "batch_size": batch_size, "windows": windows, "seed": seed, "estimator": estimator,
        "clamp": clamp, "clamp_u": clamp_u, "clamp_du": clamp_du, "learning_rate": learning_rate,
        "activity_cost": activity_cost, "target_zeros": target_zeros, "isotropic": isotropic,
        "final_learning_rate": final_learning_rate, "architecture": _architecture(architecture),
        "dictionary_rate": dictionary_rate, "weight_decay": weight_decay,
        "schedule_batches": schedule_batches,
    }  # fmt: skip
    config = _train_config(model, recipe, {k: v for k, v in settings.items() if v is not None})
    from rich.console import Console

    from pvae_neuro.cli.shared.inputs import read_model
    from pvae_neuro.training.ranks import is_first_process
    from pvae_neuro.training.train import TrainOptions
    from pvae_neuro.training.train import train as run

    before = None if start is None else read_model(start, quiet)
    quiet = quiet or not is_first_process()
    images = data.load(input, "train", quiet=quiet)
    if not quiet:
        say_line(f"images: {images.about}")
    options = TrainOptions(
        resume=resume, device=device, tensorboard=tensorboard, start=before,
        console=Console(stderr=True, quiet=quiet),
    )  # fmt: skip
    saved = run(images, config, output, options)
    if not is_first_process():
        return  # The first process of torchrun speaks for all of them.
    write_json(
        json,
        {
            "path": str(output), "config": saved.config.model_dump(mode="json"),
            "parameters": saved.parameter_count,
        },
    )  # fmt: skip
    say(
        console(json, quiet),
        f"{output}: {model}, {saved.config.latents} latents, trained on {images.name}",
    )


def _architecture(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json_module.loads(text)
    except (json_module.JSONDecodeError, RecursionError) as error:
        raise InputError(
            f"--architecture: expected a JSON object, got {text!r}: {error}"
        ) from error
    if not isinstance(found, dict):
        raise InputError(f"--architecture: expected a JSON object, got {text!r}")
    return found


def _train_config(model: str, name: str | None, settings: dict[str, Any]) -> TrainConfig:
    from pydantic import ValidationError

    from pvae_neuro.training.train import recipe

    try:
        return recipe(model, name, **settings)
    except InputError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        problems = "; ".join(
            f"--{str(item['loc'][0]).replace('_', '-')}: {item['msg']}, got {item['input']!r}"
            if item["loc"]
            else item["msg"].removeprefix("Value error, ")
            for item in error.__cause__.errors()
        )
        raise InputError(problems) from error
