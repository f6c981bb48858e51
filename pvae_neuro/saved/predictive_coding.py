"""Settings of predictive coding, for its PyTorch models and for its circuits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pvae_neuro.saved.model_file import Size
from pvae_neuro.utils.settings import Settings


class PredictiveCodingSettings(Settings):
    """Settings of predictive coding.

    Attributes
    ----------
    hidden : tuple of int
        Nodes of the layers between top and input, downwards.
    activation : {"tanh", "relu"}
        The nonlinearity f.
    step_size : float
        Step of inference, as a multiple of the energy's gradient.
    """

    hidden: tuple[Size, ...] = Field(default=(128, 128), min_length=1)
    activation: Literal["tanh", "relu"] = "tanh"
    step_size: float = Field(default=0.1, gt=0.0)
