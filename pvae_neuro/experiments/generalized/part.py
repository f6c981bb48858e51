"""What a part found, and how it chooses settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pvae_neuro.data import Images
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.result import Row
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.training.train import recipe

BACKPROP = "backpropagation"
OWN = "generalized PC"
SWEEP = "generalized PC, one sweep"
GAUSSIAN = "Gaussian PC"
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
    """A model, and the learning rate at which it was best on data held out from training."""

    model: SavedModel
    rate: float

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
    """Train at each learning rate; the model of the highest quality on data held out.

    A training that leaves the numbers has no quality.
    """
    found: dict[float, tuple[float, SavedModel]] = {}
    for number, rate in enumerate(rates):
        context.progress(f"train {key}, rate {rate:g}", number, len(rates))
        config = recipe(family, learning_rate=rate, seed=context.seed, **settings)
        model = context.trained(key.replace(" ", "-").replace(",", ""), images, config)
        found[rate] = quality(model), model
    rate = max(found, key=lambda each: found[each][0])
    return Chosen(found[rate][1], rate)


def halves(images: Images) -> tuple[Images, Images]:
    """The first half of the images, and the second."""
    middle = len(images.pixels) // 2
    return images.select(slice(middle)), images.select(slice(middle, None))
