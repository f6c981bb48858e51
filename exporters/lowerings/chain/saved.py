"""A saved chain in parts, and whether all of it has neurons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.lowerings.chain.kinds import NODES, REASONS, Kind, Variance
from pvae_neuro.exporters.lowerings.chain.pixels import PIXELS, Pixels
from pvae_neuro.network.program import Program
from pvae_neuro.saved.chain import ChainSettings
from pvae_neuro.saved.model_file import SavedModel

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SavedChain:
    """A saved chain in parts. Nodes are counted from 0 here, upwards; lists begin at the pixels.

    Attributes
    ----------
    model : SavedModel
    settings : ChainSettings
    kinds : list of Kind
    weights : list of float64 [below, above]
    biases : list of float64 [n]
        Of the pixels and of each node; the last is the prior.
    """

    model: SavedModel
    settings: ChainSettings
    kinds: list[Kind]
    weights: list[Reals]
    biases: list[Reals]

    @staticmethod
    def of(model: SavedModel) -> SavedChain:
        """Parts of a model that :func:`without_neurons` lets pass."""
        settings = settings_of(model)
        arrays = {name: array.astype(np.float64) for name, array in model.arrays.items()}
        depth = range(len(settings.families))
        return SavedChain(
            model,
            settings,
            [NODES[family] for family in settings.families],
            [arrays[f"maps.{n}.weight"] for n in depth],
            [*(arrays[f"maps.{n}.bias"] for n in depth), arrays["prior"]],
        )

    @property
    def pixels(self) -> Pixels:
        """Family of the pixels."""
        return PIXELS[self.settings.pixels]

    def is_predicted(self, n: int) -> bool:
        """Whether a node stands above node n; the last one has a prior."""
        return n + 1 < len(self.weights)

    def fire(self, n: int) -> Program:
        """What a node hands on."""
        return self.kinds[n].compare if self.is_predicted(n) else self.kinds[n].fire

    def settle(self, n: int) -> Program:
        """How a node moves."""
        paid = self._paid(n)
        return self.kinds[n].settle if paid is None else paid.settle

    def costs(self, n: int) -> dict[str, Reals]:
        """What the variance of a node's draws costs the pixels per step; empty where nothing.

        ``leak`` at no spike, and ``own`` less for each.
        """
        paid = self._paid(n)
        if paid is None:
            return {}
        curvature = self.pixels.curvature(self.model.arrays)
        half = 0.5 * self.settings.step_size * curvature * np.square(self.weights[0]).sum(axis=0)
        return {"leak": paid.constant * half, "own": paid.slope * half}

    def _paid(self, n: int) -> Variance | None:
        """The variance that a node pays for: that over the pixels."""
        return None if n else self.kinds[n].variance

    def stream(self, n: int) -> int:
        """Of the random words of a node: those that draw are counted upwards."""
        return sum(kind.draws for kind in self.kinds[:n])

    def log_sums(self, start: Reals) -> Reals:
        """Log-sums of a node's groups where its parameters are these."""
        groups = start.reshape(self.settings.groups, -1)
        return np.array([np.logaddexp.reduce(each) for each in groups])

    def log_sum_ends(self, n: int) -> tuple[float, float]:
        """Bounds of the log-sums: the logarithm of a number of neurons is below its bits."""
        each = len(self.biases[n + 1]) // self.settings.groups
        config = self.model.config
        return float(config.floor_u), float(config.clamp_u) + each.bit_length()


def settings_of(model: SavedModel) -> ChainSettings:
    """Settings of a model, checked."""
    return ChainSettings.model_validate(model.config.architecture)


def sizes_of(model: SavedModel, settings: ChainSettings) -> tuple[int, ...]:
    """Neurons of all nodes; ValueError if groups do not divide one."""
    grouped = [NODES[family].grouped for family in settings.families]
    return settings.sizes(model.config.latents, grouped)


def without_neurons(model: SavedModel, settings: ChainSettings) -> str | None:
    """What in a model has no neurons, and why; None where all have."""
    for number, family in enumerate(settings.families, 1):
        if family not in NODES:
            return _refusal(f"node {number}", family, NODES)
    try:
        sizes_of(model, settings)
    except ValueError as error:
        return f"architecture: {error}"
    if settings.pixels not in PIXELS:
        return _refusal("pixels", settings.pixels, PIXELS)
    unfit = settings.unfit_inputs(model.config)
    if unfit is not None:
        return unfit
    if settings.normalizer is None and any(NODES[f].grouped for f in settings.families):
        return (
            "normalizer: expected the rate of normalizer neurons, got None, the exact softmax, "
            "whose division no word operation computes; train the model with a rate, such as 0.02"
        )
    return None


def _refusal(what: str, family: str, known: Mapping[str, Any]) -> str:
    reason = REASONS.get(family, "its neurons have no rule of word operations")
    return f"{what}: the family {family!r} has no integers: {reason}; take {' or '.join(known)}"
