"""What each process of test_distributed_training.py runs: several runs, and what came of them."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from pvae_neuro.data import Images
from pvae_neuro.errors import PvaeNeuroError
from pvae_neuro.training import run as training_run
from pvae_neuro.training.train import TrainConfig, TrainOptions, train

SETTINGS = {
    "latents": 8, "steps": 3, "beta": 1.0, "epochs": 3, "batch_size": 11, "windows": 2,
    "init_scale": 0.2, "gradient_clip": 5.0, "learning_rate": 0.02,
}  # fmt: skip
"""Shares of 5 and 6 samples; a later window, whose loss does not reach every parameter."""
KILLED_AT = 5


class Killed(BaseException):
    """Stands for a kill between two batches."""


def make_images(count: int = 50, seed: int = 0) -> Images:
    random = np.random.default_rng(seed)
    pixels = (random.random((count, 16)) < 0.3).astype(np.float32)
    return Images(pixels, None, (4, 4), 0.0, 1.0, "dots")


def options(console: Console | None = None, **changes: Any) -> TrainOptions:
    console = console or Console(file=io.StringIO())
    return TrainOptions(**{"device": "cpu", "console": console, **changes})


def run(
    output: Path, images: Images | None = None, stop: int | None = None, **changes: Any
) -> list[list[float]]:
    """Train; return the readings of every batch."""
    readings: list[list[float]] = []
    plain = training_run.TrainingRun.train_batch

    def watched(self: Any, batch: int) -> Any:
        if batch == stop:
            raise Killed
        metrics = plain(self, batch)
        readings.append(list(metrics))
        return metrics

    training_run.TrainingRun.train_batch = watched  # type: ignore[method-assign]
    training_run._REPORT_EVERY = 1
    try:
        train(images or make_images(), TrainConfig(**SETTINGS), output, options(**changes))
    finally:
        training_run.TrainingRun.train_batch = plain  # type: ignore[method-assign]
    return readings


def refusal(output: Path, **changes: Any) -> str:
    try:
        run(output, **changes)
    except PvaeNeuroError as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    console = Console(file=io.StringIO(), width=200)
    found["whole"] = run(folder / "whole.st", console=console)
    found["shown"] = console.file.getvalue()  # type: ignore[attr-defined]
    try:
        run(folder / "m.st", stop=KILLED_AT, checkpoint_seconds=0.0)
    except Killed:
        found["left"] = sorted(path.name for path in folder.iterdir())
    found["in the way"] = refusal(folder / "m.st")
    found["resumed"] = run(folder / "m.st", resume=True)
    rank = os.environ["RANK"]
    found["other data"] = refusal(folder / "n.st", images=make_images(seed=int(rank)))
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
