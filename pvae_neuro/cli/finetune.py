"""``finetune``: train a model by what its integers compute."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pvae_neuro.cli.shared.data_options import DataOptions, reads_images
from pvae_neuro.cli.shared.endings import say_line
from pvae_neuro.cli.shared.options import (
    FracBits,
    Input,
    Json,
    LatentUnits,
    MaxCount,
    Output,
    Quiet,
    Samples,
)
from pvae_neuro.cli.shared.paths import check_outputs
from pvae_neuro.cli.shared.support import console, guarded, plain_table, say, write_json

if TYPE_CHECKING:
    from pvae_neuro.exporters.quantize import QuantizeConfig


@guarded
@reads_images
def finetune(
    model: Annotated[Path, typer.Argument(metavar="MODEL.safetensors", help="Float model.")],
    input: Input,
    output: Output,
    data: DataOptions,
    topology: Annotated[
        str | None,
        typer.Option(
            "--topology",
            help="Circuit that is tuned for.  [default: the family's first]",
            show_default=False,
        ),
    ] = None,
    weight_bits: Annotated[int, typer.Option("--weight-bits", help="2 to 8.")] = 4,
    frac_bits: FracBits = 14,
    max_count: MaxCount = None,
    latent_units: LatentUnits = False,
    compensate: Annotated[
        bool, typer.Option("--compensate", help="Begin with weights that are rounded together.")
    ] = False,
    updates: Annotated[
        int,
        typer.Option(
            "--updates", help="Steps of the optimiser; on mnist 0 gave as little error as hundreds."
        ),
    ] = 100,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images per update.")] = 100,
    window: Annotated[
        int, typer.Option("--window", help="Iterations that slopes flow back through.")
    ] = 32,
    horizon: Annotated[int, typer.Option("--horizon", help="Iterations on an image.")] = 128,
    fitted_images: Annotated[
        int,
        typer.Option(
            "--fitted-images", help="Images by which the readout of a linear model is fitted."
        ),
    ] = 10_000,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Of weights, in units of a mantissa.")
    ] = 0.01,
    samples: Samples = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that stopped.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the order and of random words.")] = 0,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a model for narrow integers (needs torch).

    The result is a float model; export it with the same options to get the mantissas that were
    trained.
    """
    from pvae_neuro.cli.shared.inputs import check_samples, read_model
    from pvae_neuro.cli.shared.progress import stages
    from pvae_neuro.exporters.quantize import QuantizeConfig
    from pvae_neuro.training.config import checkpoint_path
    from pvae_neuro.training.finetuning.config import FinetuneConfig
    from pvae_neuro.training.finetuning.finetune import finetune as run

    check_samples(samples)
    check_outputs(checkpoint_path(output), json, inputs=[input, model])
    quantization = QuantizeConfig(
        topology, weight_bits, frac_bits, max_count,
        latent_units=latent_units, compensate=compensate,
    )  # fmt: skip
    config = FinetuneConfig(
        updates=updates, batch_size=batch_size, window=window, horizon=horizon,
        learning_rate=learning_rate, fitted_images=fitted_images, seed=seed,
    )  # fmt: skip
    saved = read_model(model, quiet)
    images = data.load(input, "train", quiet=quiet)
    if not quiet:
        say_line(f"images: {images.about}")
    with stages("finetune: ", quiet) as progress:
        result = run(
            saved, images.pixels[:samples], output, quantization, config,
            resume=resume, progress=progress,
        )  # fmt: skip
    rows = {"float": result.real, "integers before": result.before, "after": result.after}
    write_json(
        json,
        {
            "path": str(output), **{name: asdict(each) for name, each in rows.items()},
            "loss_before": result.loss(result.before), "loss_after": result.loss(result.after),
            "images": result.images, "iterations": result.iterations, "seconds": result.seconds,
            "config": config.model_dump(mode="json"), "quantization": asdict(quantization),
        },
    )  # fmt: skip
    out = console(json, quiet)
    title = f"{result.images} images that were not trained on, {result.iterations} iterations"
    table = plain_table(
        title, "", "MSE", "against float", "zeros", "mean count", right=(1, 2, 3, 4)
    )
    for name, each in rows.items():
        against = f"{result.loss(each):+.2f} %"
        table.add_row(name, f"{each.mse:.4f}", against, f"{each.zeros:.4f}", f"{each.mean:.3f}")
    out.print(table)
    say(
        out,
        f"{output}: tuned for {weight_bits}-bit weights in {result.seconds:.0f} s; export it with "
        f"{_options(quantization)}",
    )


def _options(quantization: QuantizeConfig) -> str:
    """What gives an export these integers; rounding together is done already."""
    values = {
        "--topology": quantization.topology, "--weight-bits": quantization.weight_bits,
        "--frac-bits": quantization.frac_bits, "--max-count": quantization.max_count,
    }  # fmt: skip
    given = [f"{option} {value}" for option, value in values.items() if value is not None]
    return " ".join([*given, *(["--latent-units"] if quantization.latent_units else [])])
