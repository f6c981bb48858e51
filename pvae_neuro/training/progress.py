"""Progress of a training run: a bar, a line per epoch, and TensorBoard event files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pvae_neuro.utils.optional import require


class Metrics(NamedTuple):
    """Metrics of one batch.

    Attributes
    ----------
    loss : float
        What the optimiser minimises, nats per input, scaled to 256 pixels.
    nll, kl : float
        Its terms, nats per input and iteration.
    mse : float
        Squared error at the last iteration, summed over pixels, squared units of the input.
    zeros : float
        Fraction of zeros among the latents at the last iteration.
    """

    loss: float
    nll: float
    kl: float
    mse: float
    zeros: float


Reporter = Callable[[int, Metrics], None]
"""Takes a number of batches and the metrics of the last one."""

_READINGS = (
    "loss {task.fields[loss]:.2f}  mse {task.fields[mse]:.3f}  zeros {task.fields[zeros]:.3f}"
)


@contextmanager
def progress_bar(console: Console, done: int, total: int, per_epoch: int) -> Iterator[Reporter]:
    """Show a bar, and print one line per epoch.

    ``done``, ``total`` and ``per_epoch`` count batches: done so far, of the whole run, of an epoch.
    The reporter takes the number of batches done.
    """
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(_READINGS), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        unknown = Metrics(*[float("nan")] * len(Metrics._fields))
        task = progress.add_task("training", total=total, completed=done, **unknown._asdict())
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
    """Write metrics for TensorBoard into a folder, or nothing if it is None.

    The reporter takes the index of a batch; its first call makes the file. If TensorBoard is not
    installed, entering raises MissingDependencyError.
    """
    if folder is None:
        yield lambda batch, metrics: None
        return
    tensorboard = require("torch.utils.tensorboard", "train", "metrics for TensorBoard")
    with ExitStack() as stack:

        @cache
        def opened() -> Any:
            return stack.enter_context(tensorboard.SummaryWriter(str(folder)))

        def report(batch: int, metrics: Metrics) -> None:
            for name, value in metrics._asdict().items():
                opened().add_scalar(f"train/{name}", value, batch)

        yield report
