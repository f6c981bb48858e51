"""``evaluate``: how well a model reconstructs, by iteration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.data_options import DataOptions, reads_images
from pvae_neuro.cli.shared.endings import say_line
from pvae_neuro.cli.shared.options import (
    Clip,
    EngineName,
    Explain,
    Hold,
    Input,
    Json,
    LavaBatch,
    Products,
    Quiet,
    Reset,
    Samples,
    Scheduler,
    Seed,
    Steps,
    Timeout,
    given_beside,
    iterations,
)
from pvae_neuro.cli.shared.support import check_run, console, guarded, say, write_json
from pvae_neuro.errors import InputError

if TYPE_CHECKING:
    from pvae_neuro.data import Images
    from pvae_neuro.network import IntegerNetwork
    from pvae_neuro.saved.model_file import SavedModel

# Options of a task other than to reconstruct, beside those of the data: what its figures depend on,
# and how they are told.
_SCORED = ("model", "input", "samples", "json", "quiet")


@guarded
@reads_images
def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="model.safetensors or model.onnx.")
    ],
    input: Input,
    data: DataOptions,
    samples: Samples = None,
    steps: Steps = 128,
    hold: Hold = None,
    reset: Reset = False,
    seed: Seed = 0,
    engine: EngineName = "auto",
    clip: Clip = False,
    timeout: Timeout = None,
    lava_batch: LavaBatch = None,
    products: Products = None,
    explain: Explain = False,
    scheduler: Scheduler = None,
    measures: Annotated[
        bool,
        typer.Option("--measures", help="Also the measures of the papers, after the iterations."),
    ] = False,
    fit: Annotated[
        int | None,
        typer.Option(
            "--fit",
            help="With --measures: fit classifiers to the first N training images.",
            show_default=False,
        ),
    ] = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Squared error summed over pixels, R2 and zeros, by iteration.

    Of a model that predicts labels, their accuracy; of one that predicts symbols, its perplexity.
    """
    given = {**locals()}
    steps = iterations(steps, hold, reset)
    check_run(steps, seed)
    _check_measures(measures, fit, hold, scheduler)
    from pvae_neuro.cli.shared.engines import AUTO, choose_engine
    from pvae_neuro.cli.shared.inputs import read_inputs, read_labelled, read_subject
    from pvae_neuro.cli.shared.progress import single
    from pvae_neuro.cli.shared.tables import evaluation_table, measures_table
    from pvae_neuro.evaluation.evaluate import evaluate as by_iteration
    from pvae_neuro.evaluation.saturation import remarks
    from pvae_neuro.models.registry import RECONSTRUCT, model_entry
    from pvae_neuro.saved.model_file import SavedModel

    choice = choose_engine(engine, scheduler, timeout=timeout, batch=lava_batch, products=products)
    read = read_subject(model, quiet)
    subject: SavedModel | IntegerNetwork = read if isinstance(read, SavedModel) else read.network
    if isinstance(subject, SavedModel):
        if engine != AUTO:
            raise InputError(
                f"--engine: a float model runs on no engine, got {engine!r}; export it first"
            )
        if model_entry(subject.config.family).task != RECONSTRUCT:
            _score(subject, given)
            return
        runner = choice.workers()
        declared = subject.config.declared_input
    else:
        runner = choice.engine(subject)
        declared = subject.input
    images = read_inputs(
        input, declared, data, hold, reset, clip=clip, samples=samples, quiet=quiet, stream=True
    )
    read_as = partial(read_labelled, input, declared, data, clip=clip)
    labelled, train = _parts(read_as, samples, fit) if measures else (None, None)
    with single("evaluate", steps * math.prod(images.shape[:-1]), quiet) as advance:
        result = by_iteration(
            subject, images, steps=steps, seed=seed, engine=runner, reset=reset, progress=advance
        )
    measured = None
    if labelled is not None:
        from pvae_neuro.evaluation.measures.measured import measure

        count = len(labelled.pixels) + (0 if train is None else len(train.pixels))
        with single("measure", steps * count, quiet) as advance:
            measured = measure(
                subject, labelled, train, steps=steps, seed=seed, engine=runner, progress=advance
            )
    explained = (
        runner.explain(subject)
        if explain and runner is not None and not isinstance(subject, SavedModel)
        else []
    )
    further: dict[str, object] = {"explained": explained} if explained else {}
    if measured is not None:
        further["measures"] = measured.to_dict()
    write_json(json, result.to_dict() | further)
    out = console(json, quiet)
    out.print(evaluation_table(result))
    if measured is not None:
        out.print(measures_table(measured))
    for line in explained:
        say_line(line)
    for each in result.saturations:
        say(out, f"{each}")
    for line in remarks(result.saturations):
        say_line(f"warning: {line}")


def _score(model: SavedModel, given: Mapping[str, Any]) -> None:
    """Score a model whose task is another than to reconstruct, by the arguments of the verb."""
    from pvae_neuro.cli.shared.inputs import check_samples
    from pvae_neuro.cli.shared.progress import single
    from pvae_neuro.evaluation.tasks import score

    others = given_beside(_SCORED, evaluate, given)
    if others:
        raise InputError(
            f"{given['model']}: leave out {', '.join(others)}: a model of this task is scored on "
            f"its inputs as they are"
        )
    samples, json, quiet = given["samples"], given["json"], given["quiet"]
    check_samples(samples)
    declared = model.config.declared_input
    images = given["data"].load(given["input"], "test", samples, declared, quiet)
    if not quiet:
        say_line(f"images: {images.about}")
    with single("score", len(images.pixels), quiet) as advance:
        found = score(model, images, progress=advance)
    write_json(json, found.to_dict())
    say(console(json, quiet), f"{found.family}, {found.samples:,} inputs: {found.in_words()}")


def _check_measures(
    measures: bool, fit: int | None, hold: int | None, scheduler: str | None
) -> None:
    """Refuse options that measures of still images, taken here, do not go with."""
    if fit is not None and not measures:
        raise InputError(f"--fit {fit}: expected --measures beside it")
    if fit is not None and fit < 1:
        raise InputError(f"--fit: expected at least 1, got {fit}")
    for option, value in (("--hold", hold), ("--scheduler", scheduler)):
        if measures and value is not None:
            raise InputError(f"--measures: expected still images, measured here, got {option}")


def _parts(
    read: Callable[..., Images], samples: int | None, fit: int | None
) -> tuple[Images, Images | None]:
    """Images to measure on, and ``fit`` others that classifiers are fitted to."""
    scored = read(samples=samples)
    train = None if fit is None else read(samples=fit, split="train")
    if train is not None and (train.part, scored.part) != ("train", "test"):
        raise InputError(
            f"--fit: expected classifiers that are fitted to the training part of {scored.name} "
            f"and scored on its test part, got {train.part!r} and {scored.part!r}; give --split "
            f"test and no --key, of data that have these parts"
        )
    return scored, train
