"""How many parameters a family has, without drawing their values."""

from __future__ import annotations

import math

from pvae_neuro.models.registry import build_model
from pvae_neuro.network import ImageShape
from pvae_neuro.saved.model_file import ModelConfig
from pvae_neuro.utils.optional import require


def count_parameters(name: str, latents: int, image_shape: ImageShape) -> int:
    """Number of parameters of an untrained model with the family's default architecture.

    Raises
    ------
    InputError
        If there is no such family, or it cannot be built at that size.
    MissingDependencyError
        If torch is not installed.
    """
    config = ModelConfig(
        family=name, pixels=math.prod(image_shape), latents=latents, steps=1, beta=1.0,
        input_low=0.0, input_high=1.0, image_shape=image_shape,
    )  # fmt: skip
    with require("torch", "train", "numbers of parameters").device("meta"):
        return build_model(config).parameter_count
