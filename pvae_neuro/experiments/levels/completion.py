"""Completion of digits of which pixels are hidden."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.experiments.levels.counts import DRAWS, Subject, drawing, in_integers, steps_of
from pvae_neuro.experiments.shared.context import Context, weights_digest
from pvae_neuro.saved.model_file import Float32
from pvae_neuro.utils.digest import digest

MEAN_IMAGE = "mean image"
_SIDE = 28


@dataclass(frozen=True)
class Case:
    """What completes digits."""

    subject: Subject
    level: str
    """Whose counts are read out."""


@dataclass(frozen=True)
class Completed:
    """Digits under one mask."""

    errors: dict[str, float]
    """Squared error on hidden pixels, summed, by case; of the mean image too."""

    pictures: dict[str, Any]
    """What was given, the digits, and what each case made of them, [N, 784], few."""


def _hidden(seed: int) -> dict[str, NDArray[np.bool_]]:
    """Pixels that are hidden, [784], by the key of the column."""
    random = np.random.default_rng(seed).random(_SIDE * _SIDE)
    lower = np.arange(_SIDE * _SIDE) >= _SIDE * _SIDE // 2
    return {"half": lower, "random": random < 0.5, "most": random < 0.8}


def _blind(context: Context, subject: Subject, hidden: NDArray[np.bool_]) -> Subject:
    """The model with no weight from the hidden pixels, in integers if the subject is."""
    seen = np.where(hidden[:, None], np.float32(0), subject.model.arrays["dictionary"])
    arrays = {**subject.model.arrays, "dictionary": seen}
    blind = replace(subject, model=replace(subject.model, arrays=arrays))
    return blind if subject.network is None else in_integers(context, blind)


def completed(
    context: Context, cases: dict[str, Case], mean: Float32, digits: Float32, shown: int
) -> dict[str, Completed]:
    """Completions of digits [N, 784] by the name of the mask, and some pictures of each."""
    return {
        key: _under(context, key, mask, cases, mean, digits, shown)
        for key, mask in _hidden(context.seed).items()
    }


def _under(
    context: Context,
    key: str,
    mask: NDArray[np.bool_],
    cases: dict[str, Case],
    mean: Float32,
    digits: Float32,
    shown: int,
) -> Completed:
    steps = steps_of(context)

    def compute() -> dict[str, Any]:
        filled = {MEAN_IMAGE: np.broadcast_to(mean, digits.shape)}
        for name, case in cases.items():
            draw = drawing(context, _blind(context, case.subject, mask))
            counts = draw(f"complete, {key}, {name}", digits, steps)[case.level]
            filled[name] = counts.mean(axis=0) @ case.subject.model.arrays["dictionary"].T
        wrong = {
            name: np.square(digits - images, dtype=np.float64)[:, mask].sum(axis=1).mean()
            for name, images in filled.items()
        }
        return {
            "errors": {name: float(value) for name, value in wrong.items()},
            "some": {
                name: np.where(mask, images, digits)[:shown].round(3).tolist()
                for name, images in filled.items()
            },
        }

    subjects = [case.subject for case in cases.values()]
    part = context.cached(
        f"complete {key}", subjects[0].model, compute,
        others=[weights_digest(subject.model) for subject in subjects[1:]],
        networks=[subject.hash for subject in subjects],
        mask=digest(mask), digits=len(digits), steps=steps, draws=DRAWS, shown=shown,
    )  # fmt: skip
    given = np.where(mask, np.float32(0.5), digits)[:shown]
    return Completed(part["errors"], {"given": given, "digit": digits[:shown], **part["some"]})
