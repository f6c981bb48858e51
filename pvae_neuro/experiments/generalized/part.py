"""What a part found, and how it chooses settings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pvae_neuro.data import Images
from pvae_neuro.errors import InputError, PvaeNeuroError
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.result import Row
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.training.train import recipe

BACKPROP = "backpropagation"
OWN = "generalized PC"
SWEEP = "generalized PC, one sweep"
GAUSSIAN = "Gaussian PC"
CROSS_ENTROPY = f"{GAUSSIAN}, output of its own"
"""Ways to learn, by the names that rows have."""

Figure = TypeVar("Figure")


@dataclass
class Part:
    """What was found of one network."""

    title: str
    """Of its panel."""

    measure: str
    """What the panel shows of each row: the key of a column, and its title."""

    key: str

    rows: list[Row]

    figures: dict[str, float] = field(default_factory=dict)
    """Figures that claims name, beside those of the rows."""

    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Chosen:
    """Models by learning rate, and the rate that was best on data held out from training."""

    models: dict[float, SavedModel]
    qualities: dict[float, float]
    """On data held out from training, by learning rate."""

    @property
    def rate(self) -> float | None:
        """The best learning rate; None where no training has a finite quality."""
        finite = {rate: found for rate, found in self.qualities.items() if math.isfinite(found)}
        return max(finite, key=finite.__getitem__, default=None)

    @property
    def model(self) -> SavedModel | None:
        """The model of the best rate, if there is one."""
        return None if self.rate is None else self.models[self.rate]

    @property
    def budget(self) -> str:
        """What its training cost, and its learning rate; empty where there is none."""
        return "" if self.model is None else f"{budget_of(self.model)}, rate {self.rate:g}"

    def figure(self, measure: Callable[[SavedModel], Figure], guess: Figure) -> Figure:
        """A measure of the model; where there is none, what a guess gets."""
        return guess if self.model is None else measure(self.model)

    def by_rate(self, form: str, sign: float = 1.0) -> str:
        """Qualities of all rates in words."""
        found = (f"{rate:g}: {sign * each:{form}}" for rate, each in self.qualities.items())
        return ", ".join(found) or "no training stayed finite; the figures are those of a guess"


def best_of_rates(
    context: Context,
    key: str,
    family: str,
    images: Images,
    rates: Sequence[float],
    settings: Mapping[str, Any],
    quality: Callable[[SavedModel], float],
) -> Chosen:
    """Train at each learning rate; those of the highest quality on data held out are chosen."""
    models: dict[float, SavedModel] = {}
    for number, rate in enumerate(rates):
        context.progress(f"train {key}, rate {rate:g}", number, len(rates))
        config = recipe(family, learning_rate=rate, seed=context.seed, **settings)
        try:
            models[rate] = context.trained(re.sub("[ ,]+", "-", key), images, config)
        except InputError:
            raise
        except PvaeNeuroError as error:
            context.console.print(f"{key}, rate {rate:g}: {error}")
    return Chosen(models, {rate: quality(model) for rate, model in models.items()})


def halves(images: Images) -> tuple[Images, Images]:
    """The first half of the images, and the second."""
    middle = len(images.pixels) // 2
    return images.select(slice(middle)), images.select(slice(middle, None))
