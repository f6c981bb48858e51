"""Cost of activity: a loss per active neuron, adjusted to reach a given fraction of zeros."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import Window
from pvae_neuro.training.config import TrainConfig
from pvae_neuro.training.ranks import Ranks

_GAIN = 0.2
"""How fast the cost follows the fraction of zeros."""

_LOWEST = 0.05
"""Lower bound of an adjusted cost, so that it can recover quickly after few neurons fired."""


class ActivityCost:
    """Current cost of an active neuron.

    Attributes
    ----------
    value : float
        Nats per neuron and iteration; part of the run's state.
    """

    def __init__(self, config: TrainConfig, ranks: Ranks, zero_threshold: float) -> None:
        self._config, self._ranks, self._zero_threshold = config, ranks, zero_threshold
        self.value = config.activity_cost

    def term(self, window: Window) -> Tensor | float:
        """Term of a window's loss, nats per input.

        Raises
        ------
        InputError
            If activity has a cost and the family does not compute its activity.
        """
        if not self._config.activity_cost:
            return 0.0
        if window.activity is None:
            raise InputError(
                f"activity cost: the family {self._config.model!r} does not compute its activity; "
                f"expected 0, got {self._config.activity_cost}"
            )
        return self.value * window.activity

    def zeros(self, window: Window) -> Tensor:
        """Fraction of zeros among the latents at the end of a window, []."""
        return (window.z.abs() <= self._zero_threshold).float().mean()

    @torch.no_grad()
    def steer(self, window: Window) -> None:
        """Raise the cost if too many neurons fired in this window, lower it otherwise."""
        if self._config.target_zeros is not None:
            share = len(window.z) / self._config.batch_size
            (zeros,) = self._ranks.sum_values([share * float(self.zeros(window))])
            factor = math.exp(_GAIN * (self._config.target_zeros - zeros))
            self.value = max(self.value * factor, _LOWEST)
