"""Samples from the levels of a model and from its rivals, judged as digits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pvae_neuro.data import Images
from pvae_neuro.errors import InputError
from pvae_neuro.experiments.levels.counts import LOWER, ONE, UPPER, Subject
from pvae_neuro.experiments.shared.along import labels_of
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.models.rivals.amortized import AmortizedModel
from pvae_neuro.saved.model_file import Float32, SavedModel
from pvae_neuro.utils.optional import require

DIGITS = "test digits"

_LEAST_RATE = 1e-6


def samples_of(
    context: Context,
    two: Subject,
    one: Subject,
    rates: dict[str, Float32],
    rivals: dict[str, SavedModel],
    count: int,
) -> dict[str, Float32]:
    """So many images from each level at these mean rates, and from the priors of rivals."""
    noise = torch.Generator().manual_seed(context.seed)
    hierarchy: Any = model_from_saved(two.model)
    single = model_from_saved(one.model)

    def counts(of: torch.Tensor) -> torch.Tensor:
        return torch.poisson(of.expand(count, *of.shape[-1:]), generator=noise)

    def at_means(level: str) -> torch.Tensor:
        return counts(torch.from_numpy(rates[level]).clamp(min=_LEAST_RATE))

    def ancestral() -> torch.Tensor:
        return counts(torch.exp(hierarchy.predict(at_means(UPPER)).log_rates))

    samplers: dict[str, Callable[[], torch.Tensor]] = {
        UPPER: lambda: hierarchy.decode(ancestral()),
        LOWER: lambda: hierarchy.decode(at_means(LOWER)),
        ONE: lambda: single.decode(at_means(ONE)),
    }
    for name, saved in rivals.items():
        samplers[name] = partial(_rival(name, saved).generate, count, noise)
    with torch.no_grad():
        return {name: sample().numpy() for name, sample in samplers.items()}


def judged(
    context: Context, samples: dict[str, Float32], test: Images
) -> dict[str, dict[str, float]]:
    """Figures of samples, and of test digits in their place, by name."""
    context.progress("judge samples", 0, 1)
    digits = context.images("mnist", "train", context.pick(quick=1000, hour=20_000))
    classifier = _classifier(digits.take(context.pick(quick=1000, hour=10_000)))
    found = {}
    for name, images in {**samples, DIGITS: test.pixels}.items():
        own = {"nearest": float(_nearest(images, digits.pixels).mean())}
        if name != DIGITS:
            own["covered"] = float(_nearest(test.pixels, images).mean())
        found[name] = own | _as_digits(classifier, images)
    return found


def _rival(name: str, saved: SavedModel) -> AmortizedModel:
    model = model_from_saved(saved)
    if not isinstance(model, AmortizedModel):
        raise InputError(
            f"{name}: expected a model of one pass, of whose prior images are drawn, got the "
            f"family {saved.config.family!r}"
        )
    return model


def _nearest(images: Float32, others: Float32) -> NDArray[np.float64]:
    """Squared distance of each image to the nearest of others, float64 [N]."""
    a, b = images.astype(np.float64), others.astype(np.float64)
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2.0 * a @ b.T
    return np.asarray(squares.min(axis=1))


def _classifier(digits: Images) -> Any:
    models = require("sklearn.linear_model", "experiments", "classification")
    regression = models.LogisticRegression(max_iter=300)
    return regression.fit(digits.pixels, labels_of(digits))


def _as_digits(classifier: Any, images: Float32) -> dict[str, float]:
    """Mean confidence, and exp of the mean divergence of each image's classes from all images'."""
    chances = np.clip(classifier.predict_proba(images), 1e-12, 1.0)
    divergence = (chances * np.log(chances / chances.mean(axis=0))).sum(axis=1)
    return {
        "confidence": float(chances.max(axis=1).mean()),
        "classes": float(np.exp(divergence.mean())),
    }
