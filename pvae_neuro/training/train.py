"""Train a model of any family, resumable at any moment to bit-identical weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from pvae_neuro.data.images import Images
from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.saved.model_file import SavedModel, save_model
from pvae_neuro.training.config import TrainConfig

try:
    import torch
except ImportError as error:
    raise EngineUnavailableError("training needs torch: pip install 'pvae-neuro[train]'") from error

from pvae_neuro.models.poisson.window import is_compiled
from pvae_neuro.models.registry import model_class
from pvae_neuro.training.progress import Reporter, progress_bar, summary_writer
from pvae_neuro.training.ranks import join_ranks
from pvae_neuro.training.run import TrainingRun, TrainOptions, checkpoint_path

__all__ = ["TrainConfig", "TrainOptions", "checkpoint_path", "recipe", "train"]


def recipe(model: str, **settings: Any) -> TrainConfig:
    """Settings of a family's own recipe, with changes.

    Parameters
    ----------
    model : str
        One of :func:`~pvae_neuro.models.registry.model_names`.
    **settings : Any
        Settings of :class:`TrainConfig` that differ from the recipe.

    Returns
    -------
    TrainConfig

    Raises
    ------
    InputError
        If there is no such family; suggests the nearest names.
    pydantic.ValidationError
        If a setting is not allowed.
    """
    return TrainConfig(**{**model_class(model).defaults, **settings, "model": model})


def train(
    images: Images, config: TrainConfig, output: Path, options: TrainOptions | None = None
) -> SavedModel:
    """Train a model and save it.

    A checkpoint stands beside the output until the run is done. A run that was killed, however
    hard, resumes from it and ends, on the same machine with as many threads, with the very bits
    of a run that was not. Under ``torchrun`` every process takes a share of each batch: the run is
    that of one process but for rounding, and the first process alone writes files.

    Parameters
    ----------
    images : Images
        Training data.
    config : TrainConfig
        Settings; with the data they determine the weights.
    output : Path
        Model file to write, ``.safetensors``.
    options : TrainOptions, optional
        How to carry the run out.

    Returns
    -------
    SavedModel
        What was written.

    Raises
    ------
    InputError
        If the family is unknown, there are fewer images than one batch, or fewer in a batch than
        processes, the device is unknown, an unfinished run is in the way, there is none to resume,
        or it differs from this one.
    ModelFileError
        If the checkpoint to resume is damaged.
    PvaeNeuroError
        If the training diverges; the last checkpoint before that stays.
    EngineUnavailableError
        If TensorBoard is asked for and not installed.
    """
    options = options or TrainOptions()
    if options.start is not None:
        config = config.model_copy(update={"start": _weights_digest(options.start)})
    ranks = join_ranks(options.device)
    # The writer comes first: without TensorBoard the run must not even leave its checkpoint.
    with summary_writer(options.tensorboard if ranks.is_first else None) as writer:
        run = TrainingRun(images, config, Path(output), options, ranks)
        _train_all(run, writer)
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
    """One thread for compiled windows: others would wait for work busily, and slow the one down."""
    before = torch.get_num_threads()
    if is_compiled(run.model, run.config.estimator):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weights_digest(model: SavedModel) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(model.arrays.items()):
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()[:32]
