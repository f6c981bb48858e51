"""Settings of a run of fine-tuning."""

from __future__ import annotations

import math

from pydantic import Field, model_validator
from typing_extensions import Self

from pvae_neuro.utils.settings import Settings

_MOST = (1 << 31) - 1
WARM_UP = 0.05


class FinetuneConfig(Settings):
    """Settings of one run; with the model, the images and the quantization they give the result.

    Attributes
    ----------
    updates : int
        Steps of the optimiser.
    batch_size : int
        Images per update.
    window : int
        Iterations per update; slopes flow back through all of them, from the errors of the second
        half.
    horizon : int
        Iterations on an image, in whole windows one after the other; batches of all ages take
        turns.
    learning_rate : float
        Of weights, in units of a mantissa for each update; it falls to 0 as half a cosine.
    activity : float
        How fast leaks follow: for each update and each unit of the share of zeros that is missing
        so much is added to their logarithms. What the float model shows at the same iterations is
        aimed at.
    damping : float
        Of the weights of a linear model, which begin rounded together: weight of a mantissa's own
        error beside that of predictions; 0 begins with what the quantization rounds to.
    fitted_images : int
        Images by whose counts weights are rounded together, and the readout of a linear model is
        fitted after the updates; 0 leaves both out.
    seed : int
        Of the order of images and of all random words.
    """

    updates: int = Field(default=100, ge=0, le=_MOST)
    batch_size: int = Field(default=100, ge=1, le=_MOST)
    window: int = Field(default=32, ge=2, le=1 << 12)
    horizon: int = Field(default=128, ge=2, le=1 << 16)
    learning_rate: float = Field(default=0.01, gt=0.0, le=100.0)
    activity: float = Field(default=0.2, ge=0.0, le=10.0)
    damping: float = Field(default=4.0, ge=0.0, le=1e6)
    fitted_images: int = Field(default=10_000, ge=0, le=_MOST)
    seed: int = Field(default=0, ge=0, lt=1 << 64)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.horizon % self.window:
            raise ValueError(
                f"horizon: expected a multiple of the window, {self.window}, got {self.horizon}"
            )
        return self

    @property
    def ages(self) -> int:
        """Number of batches that take turns, each a window older than the one before."""
        return self.horizon // self.window

    def rate_at(self, update: int) -> float:
        """Learning rate: a rise over the first twentieth, then half a cosine."""
        rise = min(1.0, (update + 1) / (WARM_UP * self.updates))
        return self.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * update / self.updates))
