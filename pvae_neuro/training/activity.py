"""The cost of activity: a price on neurons that fire, steered to a share of silent ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import Window
from pvae_neuro.training.config import TrainConfig
from pvae_neuro.training.ranks import Ranks

_GAIN = 0.2
"""How fast the cost follows the share of zeros."""

_LEAST = 0.05
"""A cost that fell further while few neurons fire would take too long to come back."""


class ActivityCost:
    """What a firing neuron costs now.

    Attributes
    ----------
    value : float
        Nats per neuron and iteration; part of a run's state where it is steered.
    """

    def __init__(self, config: TrainConfig, ranks: Ranks, silence: float) -> None:
        self._config, self._ranks, self._silence = config, ranks, silence
        self.value = config.activity_cost

    def of(self, window: Window) -> Tensor | float:
        """Term of a window's loss, in nats per input.

        Raises
        ------
        InputError
            If activity has a price and the family does not say how active it is.
        """
        if not self._config.activity_cost:
            return 0.0
        if window.activity is None:
            raise InputError(
                f"activity cost: the family {self._config.model!r} knows none; expected 0, got "
                f"{self._config.activity_cost}"
            )
        return self.value * window.activity

    def zeros(self, window: Window) -> Tensor:
        """Share of silent latents at the end of a window, []."""
        return (window.z.abs() <= self._silence).float().mean()

    @torch.no_grad()
    def steer(self, window: Window) -> None:
        """Let the cost grow while too many neurons fire, and fall otherwise."""
        if self._config.target_zeros is not None:
            share = len(window.z) / self._config.batch_size
            (zeros,) = self._ranks.sum_values([share * float(self.zeros(window))])
            factor = math.exp(_GAIN * (self._config.target_zeros - zeros))
            self.value = max(self.value * factor, _LEAST)
