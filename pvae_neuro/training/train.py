"""Train a model of any family; a stopped run resumes to bit-identical weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pvae_neuro.data.images import Images
from pvae_neuro.errors import InputError
from pvae_neuro.models.registry import model_class
from pvae_neuro.saved.model_file import SavedModel, save_model
from pvae_neuro.training.config import TrainConfig, TrainOptions, checkpoint_path
from pvae_neuro.training.progress import Reporter, progress_bar, summary_writer
from pvae_neuro.training.recipes import named_settings
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.digest import digest
from pvae_neuro.utils.files import check_target
from pvae_neuro.utils.optional import require
from pvae_neuro.utils.paths import user_path

if TYPE_CHECKING:
    from pvae_neuro.training.run import TrainingRun

__all__ = ["TrainConfig", "TrainOptions", "checkpoint_path", "recipe", "train"]


@checked
def recipe(model: str, name: str | None = None, **settings: Any) -> TrainConfig:
    """Settings of a family's own recipe, or of a named one, with changes.

    Parameters
    ----------
    model : str
        One of :func:`~pvae_neuro.models.registry.model_names`.
    name : str, optional
        One of :data:`pvae_neuro.training.recipes.RECIPES`, such as ``published-mnist``.
    **settings : Any
        Settings of :class:`TrainConfig` that differ from the recipe.

    Raises
    ------
    InputError
        If there is no such family or recipe, with the nearest names, the recipe is not for the
        family, or a setting is not allowed.
    MissingDependencyError
        If torch is not installed.

    Examples
    --------
    >>> published = recipe("ipvae-linear", "published-mnist", epochs=4)
    >>> published.steps, published.beta, published.epochs
    (128, 128.0, 4)
    """
    defaults = model_class(model).defaults
    named = {} if name is None else named_settings(name, model)
    return TrainConfig(**{**defaults, **named, **settings, "model": model})


@checked
def train(
    images: Images,
    config: TrainConfig,
    output: str | os.PathLike[str],
    options: TrainOptions | None = None,
) -> SavedModel:
    """Train a model and save it.

    Until the run is done, a checkpoint is kept beside the output. A run that was killed resumes
    from it and, on the same machine with the same number of threads, ends with the same bits as an
    uninterrupted run. Under ``torchrun`` each process computes on a part of every batch; the result
    differs from that of one process by rounding only, and the first process writes the files.

    Parameters
    ----------
    images : Images
        Training data.
    config : TrainConfig
        Settings; with the data they determine the weights.
    output : str or path-like
        Model file to write, ``.safetensors``.
    options : TrainOptions, optional
        How to carry the run out.

    Raises
    ------
    InputError
        If the family is unknown, there are fewer images than one batch or fewer in a batch than
        processes, the device is unknown, an unfinished run is in the way, there is none to resume,
        or it differs from this one.
    ModelFileError
        If the checkpoint to resume is damaged.
    PvaeNeuroError
        If the training diverges; the last checkpoint before that stays.
    MissingDependencyError
        If torch is not installed, or TensorBoard is asked for and not installed.
    """
    require("torch", "train", "training")
    from pvae_neuro.training.ranks import join_ranks
    from pvae_neuro.training.run import TrainingRun

    target = user_path(output)
    check_target(target)
    options = options or TrainOptions()
    if options.start is not None:
        config = config.model_copy(update={"start": _weights_digest(options.start)})
    ranks = join_ranks(options.device)
    # The writer comes first: if TensorBoard is missing, no checkpoint must be left behind.
    with summary_writer(options.tensorboard if ranks.is_first else None) as writer:
        run = TrainingRun(images, config, target, options, ranks)
        run.start()
        try:
            _train_all(run, writer)
        except InputError:
            # What is refused before a batch was trained leaves nothing to resume.
            if run.batches_done == 0 and ranks.is_first:
                run.checkpoint.unlink(missing_ok=True)
            raise
    saved = run.to_saved()
    if ranks.is_first:
        save_model(saved, run.output)
        run.checkpoint.unlink(missing_ok=True)
    return saved


def _train_all(run: TrainingRun, writer: Reporter) -> None:
    console = run.options.console if run.ranks.is_first else Console(quiet=True)
    with (
        _threads(run),
        progress_bar(console, run.batches_done, run.batches, run.batches_per_epoch) as report,
    ):
        for batch in range(run.batches_done, run.batches):
            metrics = run.train_batch(batch)
            if metrics is not None:
                report(batch + 1, metrics)
                writer(batch, metrics)
            run.keep()


@contextmanager
def _threads(run: TrainingRun) -> Iterator[None]:
    """Use one thread for compiled windows: torch's idle threads would busy-wait and slow it."""
    import torch

    before = torch.get_num_threads()
    if run.model.is_compiled(run.config.estimator):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weights_digest(model: SavedModel) -> str:
    parts = (part for item in sorted(model.arrays.items()) for part in item)
    return digest(*parts)[:32]
