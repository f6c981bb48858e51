"""A classifier with a softmax in its middle, on few digits."""

from __future__ import annotations

from functools import partial
from typing import Any

from pvae_neuro.data import Images
from pvae_neuro.evaluation.tasks import score
from pvae_neuro.experiments.generalized.part import (
    BACKPROP,
    CROSS_ENTROPY,
    GAUSSIAN,
    OWN,
    SWEEP,
    Part,
    best_of_rates,
    halves,
)
from pvae_neuro.experiments.shared.claims import Claim, at_least, at_most
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.result import Row
from pvae_neuro.models.generalized.classifier import LABEL
from pvae_neuro.saved.model_file import SavedModel

_WAYS: dict[str, dict[str, Any]] = {
    BACKPROP: {"inference": "backprop"},
    OWN: {"inference": "together", "trust": 1.0, "step_size": 0.3},
    SWEEP: {"inference": "sweep", "trust": 1.0},
    GAUSSIAN: {"inference": "together", "step_size": 0.3, "families": {"*": "squared"}},
    CROSS_ENTROPY: {
        "inference": "together", "step_size": 0.3,
        "families": {"*": "squared", LABEL: "categorical"},
    },
}  # fmt: skip
_BEST_GAUSSIAN = "toy, the better Gaussian PC: accuracy"
_SAME_RATE = "toy, the better Gaussian PC at the rate of backpropagation: accuracy"
_GUESS = 0.1
"""Accuracy where no training stayed finite: one digit in ten."""

_PROTOCOL = (
    "784–128 tanh–128 softmax–128 tanh–10, MNIST, 5,000 digits, 8 epochs of batches of 100, 12 "
    "steps of rate .3, λ = 1; learning rate by 5,000 digits more, accuracy on the test digits"
)
CLAIMS = (
    Claim(
        "toy",
        "generalized",
        "With a softmax inside the network, generalized predictive coding classifies as "
        "backpropagation does",
        "a figure without numbers that we could read",
        _PROTOCOL,
        at_least(f"toy, {OWN}: accuracy", f"toy, {BACKPROP}: accuracy", slack=0.02),
        "hour",
    ),
    Claim(
        "toy-Gaussian",
        "generalized",
        "There standard predictive coding fails",
        "a figure without numbers that we could read",
        f"{_PROTOCOL}; Gaussian nodes about the same means, the output squared or cross entropy, "
        f"the better of both",
        at_most(_BEST_GAUSSIAN, f"toy, {BACKPROP}: accuracy", slack=-0.08),
        "hour",
    ),
    Claim(
        "toy-Gaussian-rate",
        "generalized",
        "There standard predictive coding fails at the learning rate that suits backpropagation",
        "a figure without numbers that we could read",
        f"{_PROTOCOL} of backpropagation; Gaussian nodes as above",
        at_most(_SAME_RATE, f"toy, {BACKPROP}: accuracy", slack=-0.08),
        "hour",
    ),
)


def run(context: Context) -> Part:
    """Train by each way on the same digits, and classify the test digits."""
    train, held_out = halves(context.images("mnist", "train", context.pick(2_000, hour=10_000)))
    test = context.images("mnist", "test", context.pick(500, hour=None))
    rates = context.pick((0.01,), hour=(0.003, 0.01, 0.03, 0.1))
    epochs = context.pick(2, hour=8)
    rows, notes, all_found = [], [], {}
    for way, architecture in _WAYS.items():
        settings = {"epochs": epochs, "steps": 12, "latents": 128, "architecture": architecture}
        chosen = best_of_rates(
            context, f"toy, {way}", "gpc-classifier", train, rates, settings,
            partial(_accuracy, held_out),
        )  # fmt: skip
        all_found[way] = chosen
        figures = {"accuracy": chosen.figure(partial(_accuracy, test), _GUESS)}
        rows.append(Row(f"toy, {way}", figures, budget=chosen.budget))
        by_rate = chosen.by_rate(".3f")
        notes.append(f"toy, {way}, accuracy on held out digits by learning rate: {by_rate}")
    gaussian = [all_found[way] for way in (GAUSSIAN, CROSS_ENTROPY)]
    same = all_found[BACKPROP].rate
    best = max(chosen.figure(partial(_accuracy, test), _GUESS) for chosen in gaussian)
    beside = [_accuracy(test, c.models[same]) for c in gaussian if same in c.models]
    return Part(
        "a softmax of 128 inside",
        "accuracy",
        "accuracy",
        rows,
        {_BEST_GAUSSIAN: best, _SAME_RATE: max(beside, default=_GUESS)},
        notes,
    )


def _accuracy(images: Images, model: SavedModel) -> float:
    return score(model, images).figures["accuracy"]
