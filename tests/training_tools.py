"""Training inside a test: quiet options, and runs that are killed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from rich.console import Console

from pvae_neuro.training.run import TrainingRun
from pvae_neuro.training.train import TrainOptions


class Killed(BaseException):
    """Stands for a kill between two batches."""


def options(**changes: Any) -> TrainOptions:
    """Of a training on the CPU that says nothing."""
    return TrainOptions(**{"device": "cpu", "console": Console(file=io.StringIO()), **changes})


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, batch: int) -> Iterator[None]:
    """Training is killed before a batch; what ends without that fails the test."""
    plain = TrainingRun.train_batch

    def dying(run: Any, index: int) -> Any:
        if index == batch:
            raise Killed
        return plain(run, index)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrainingRun, "train_batch", dying)
        yield
