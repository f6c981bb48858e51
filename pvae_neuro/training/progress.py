"""What a training run shows while it goes on: a bar, a line per epoch, TensorBoard's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pvae_neuro.errors import EngineUnavailableError


class Metrics(NamedTuple):
    """Readings of one batch.

    Attributes
    ----------
    loss : float
        What the optimiser minimises, nats per input, scaled to 256 pixels.
    nll, kl : float
        Its terms, nats per input and step.
    mse : float
        Squared error at the last step, summed over pixels, squared units of the input.
    zeros : float
        Share of silent neurons at the last step.
    """

    loss: float
    nll: float
    kl: float
    mse: float
    zeros: float


Reporter = Callable[[int, Metrics], None]
"""Takes the number of a batch, or of the batches done, and their metrics."""

_READINGS = (
    "loss {task.fields[loss]:.2f}  mse {task.fields[mse]:.3f}  zeros {task.fields[zeros]:.3f}"
)


@contextmanager
def progress_bar(console: Console, done: int, total: int, per_epoch: int) -> Iterator[Reporter]:
    """Show a bar, and one line per epoch that stays.

    Parameters
    ----------
    console : Console
        Where to.
    done, total, per_epoch : int
        Batches: done so far, of the whole run, of an epoch.

    Yields
    ------
    callable
        Takes the number of batches done and their metrics.
    """
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(_READINGS), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        nothing = Metrics(*[float("nan")] * len(Metrics._fields))
        task = progress.add_task("training", total=total, completed=done, **nothing._asdict())
        epoch = done // per_epoch

        def report(batches: int, metrics: Metrics) -> None:
            nonlocal epoch
            progress.update(task, completed=batches, **metrics._asdict())
            if batches // per_epoch > epoch:
                epoch = batches // per_epoch
                readings = "  ".join(f"{k} {v:.4g}" for k, v in metrics._asdict().items())
                line = f"epoch {epoch}/{total // per_epoch}  {readings}"
                progress.console.print(line, highlight=False, soft_wrap=True)

        yield report


@contextmanager
def summary_writer(folder: Path | None) -> Iterator[Reporter]:
    """Write metrics for TensorBoard, or nothing without a folder.

    Parameters
    ----------
    folder : Path, optional
        Folder for the event files.

    Yields
    ------
    callable
        Takes the number of a batch and its metrics.

    Raises
    ------
    EngineUnavailableError
        If TensorBoard is asked for and not installed.
    """
    if folder is None:
        yield lambda batch, metrics: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise EngineUnavailableError(
            "TensorBoard is not installed: pip install 'pvae-neuro[train]'"
        ) from error
    with SummaryWriter(str(folder)) as writer:

        def report(batch: int, metrics: Metrics) -> None:
            for name, value in metrics._asdict().items():
                writer.add_scalar(f"train/{name}", value, batch)

        yield report
