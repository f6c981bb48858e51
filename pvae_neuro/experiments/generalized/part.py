"""What a part found, and how it chooses settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    def rate(self) -> float:
        """The best learning rate; a training that left the numbers is none."""
        return max(self.qualities, key=self.qualities.__getitem__)

    @property
    def model(self) -> SavedModel:
        """The model of the best rate."""
        return self.models[self.rate]

    @property
    def budget(self) -> str:
        """What its training cost, and its learning rate."""
        return f"{budget_of(self.model)}, rate {self.rate:g}"


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
