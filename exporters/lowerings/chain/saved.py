"""A saved chain in parts, and whether all of it has neurons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.lowerings.chain.kinds import NODES, REASONS, Spiking
from pvae_neuro.exporters.lowerings.chain.pixels import PIXELS, Pixels
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
    kinds : list of Spiking
    weights : list of float64 [below, above]
    biases : list of float64 [n]
        Of the pixels and of each node; the last is the prior.
    """

    model: SavedModel
    settings: ChainSettings
    kinds: list[Spiking]
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

    def costs(self, n: int) -> dict[str, Reals]:
        """What the variance of a node's draws costs the pixels per step; empty where nothing.

        ``leak`` at no spike, and ``own`` less for each.
        """
        variance = self.kinds[n].variance
        if n or variance is None:
            return {}
        curvature = self.pixels.curvature(self.model.arrays)
        half = 0.5 * self.settings.step_size * curvature * np.square(self.weights[0]).sum(axis=0)
        return {"leak": variance[0] * half, "own": variance[1] * half}

    def stream(self, n: int) -> int:
        """Of the random words of a node: those that draw are counted upwards."""
        return sum(kind.draws for kind in self.kinds[:n])

    def log_sums(self, n: int, start: Reals) -> Reals:
        """Log-sums of a node's groups where its parameters are these; none for other kinds."""
        if not self.kinds[n].grouped:
            return np.zeros(0)
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


def sizes_of(model: SavedModel) -> tuple[int, ...]:
    """Neurons of all nodes; ValueError if groups do not divide one."""
    settings = settings_of(model)
    grouped = [NODES[family].grouped for family in settings.families]
    return settings.sizes(model.config.latents, grouped)


def without_neurons(model: SavedModel, settings: ChainSettings) -> str | None:
    """What in a model has no neurons, and why; None where all have."""
    for number, family in enumerate(settings.families, 1):
        if family not in NODES:
            return _refusal(f"node {number}", family, NODES)
    try:
        sizes_of(model)
    except ValueError as error:
        return f"architecture: {error}"
    if settings.pixels not in PIXELS:
        return _refusal("pixels", settings.pixels, PIXELS)
    low, high = PIXELS[settings.pixels].range()
    given = float(model.config.input_low), float(model.config.input_high)
    if given[0] < low or given[1] > high:
        return (
            f"pixels: expected inputs within [{low:g}, {high:g}] for the family "
            f"{settings.pixels!r}, got [{given[0]:g}, {given[1]:g}]; scale the inputs"
        )
    if settings.normalizer is None and any(NODES[f].grouped for f in settings.families):
        return (
            "normalizer: expected the rate of normalizer neurons, got None, the exact softmax, "
            "whose division no word operation computes; train the model with a rate, such as 0.02"
        )
    return None


def _refusal(what: str, family: str, known: Mapping[str, Any]) -> str:
    reason = REASONS.get(family, "its neurons have no rule of word operations")
    return f"{what}: the family {family!r} has no integers: {reason}; take {' or '.join(known)}"
