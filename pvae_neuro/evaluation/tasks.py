"""Models whose task is another than to reconstruct: how well they predict labels or symbols."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp
from typing import Any

import torch

from pvae_neuro.data.images import Images
from pvae_neuro.errors import InputError
from pvae_neuro.models.registry import model_entry, model_from_saved
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import Advance, shown_advance

SAMPLES_PER_BLOCK = 250

Means = Mapping[str, float]


def _of_labels(means: Means) -> dict[str, float]:
    return {"accuracy": means["correct"], "nll": means["nll"]}


def _of_symbols(means: Means) -> dict[str, float]:
    return {"perplexity": exp(min(means["nll"], 700.0)), "nll": means["nll"]}


TASKS: dict[str, Callable[[Means], dict[str, float]]] = {"label": _of_labels, "next": _of_symbols}
"""Figures of each task from the means of a model's scores over all inputs.

``label``: share of inputs whose likeliest label is right, and nats per label. ``next``: perplexity,
the exponential of the nats per symbol."""


@dataclass(frozen=True)
class Score:
    """How well a model does its task.

    Attributes
    ----------
    family, task : str
    samples : int
        Inputs that were scored.
    figures : dict of str to float
        See :data:`TASKS`.
    """

    family: str
    task: str
    samples: int
    figures: dict[str, float]

    def __repr__(self) -> str:
        return f"<Score of {self.family} on {self.samples}: {self.in_words()}>"

    def in_words(self) -> str:
        """The figures, as ``accuracy 0.95, nll 0.2``."""
        return ", ".join(f"{name} {value:.4g}" for name, value in self.figures.items())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"family": self.family, "task": self.task, "samples": self.samples, **self.figures}


@checked
@torch.no_grad()
def score(model: SavedModel, images: Images, *, progress: Advance | bool | None = None) -> Score:
    """Score a model whose task is to predict labels or the next symbols.

    Parameters
    ----------
    model : SavedModel
    images : Images
        Within the range that the model declares, with labels where those are its task.
    progress : callable, True or False, optional
        Told inputs done since the last call; True shows a bar, False nothing. By default a terminal
        shows a bar and a notebook a line now and then.

    Raises
    ------
    InputError
        If the model's task is to reconstruct, or the inputs do not fit.
    """
    task = model_entry(model.config.family).task
    if task not in TASKS:
        raise InputError(
            f"score: the family {model.config.family!r} reconstructs; evaluate its squared error"
        )
    module = model_from_saved(model)
    pixels, targets = model.config.declared_input.floats(images.pixels), module.targets(images)
    sums: dict[str, float] = {}
    with shown_advance(progress, "score", len(pixels)) as tell:
        for start in range(0, len(pixels), SAMPLES_PER_BLOCK):
            block = slice(start, start + SAMPLES_PER_BLOCK)
            x, target = torch.from_numpy(pixels[block]), None if targets is None else targets[block]
            for name, values in module.scores(x, target).items():
                sums[name] = sums.get(name, 0.0) + float(values.double().sum())
            tell(len(x))
    means = {name: total / len(pixels) for name, total in sums.items()}
    return Score(model.config.family, task, len(pixels), TASKS[task](means))
