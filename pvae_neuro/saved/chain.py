"""Settings of a chain of nodes, for its PyTorch model and for its circuit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveFloat, model_validator
from typing_extensions import Self

from pvae_neuro.saved.model_file import ModelConfig, Size
from pvae_neuro.utils.settings import Settings

Rate = Annotated[float, Field(gt=0.0, le=1.0)]
PIXEL_RANGES = {"bernoulli": (0.0, 1.0)}
"""Inputs that families of pixels take; those that are not here take any."""


class ChainSettings(Settings):
    """Settings of a chain of nodes.

    Attributes
    ----------
    families : tuple of str
        Families of the nodes, from that which predicts the pixels upwards.
    above : tuple of int
        Neurons of the nodes above the first, whose size is the model's ``latents``.
    groups : int
        Groups of each categorical node, all of one size.
    pixels : str
        Family of the pixels.
    trust : float
        Weight of the energies of the nodes against that of the pixels.
    step_size : float
        Rate of inference.
    bound : float
        Largest change of a parameter in an iteration.
    normalizer : float or None
        Rate of the normalizer neurons of categorical nodes; None normalizes exactly, at once, which
        takes a division and so has no integers.
    """

    families: tuple[str, ...] = Field(default=("poisson", "bernoulli", "categorical"), min_length=1)
    above: tuple[Size, ...] = (32, 16)
    groups: Size = 2
    pixels: str = "gaussian"
    trust: PositiveFloat = 1.0
    step_size: PositiveFloat = 0.1
    bound: PositiveFloat = 0.5
    normalizer: Rate | None = 0.02

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.above) != len(self.families) - 1:
            raise ValueError(
                f"above: expected one size for each of {len(self.families)} families but the "
                f"first, {len(self.families) - 1} in all, got {len(self.above)}"
            )
        return self

    def sizes(self, latents: int, grouped: Sequence[bool]) -> tuple[int, ...]:
        """Neurons of all nodes, upwards; ``grouped`` says which of them have groups.

        Raises
        ------
        ValueError
            If the groups do not divide such a node.
        """
        found = (latents, *self.above)
        for number, (divided, size) in enumerate(zip(grouped, found, strict=True), 1):
            if divided and size % self.groups:
                raise ValueError(
                    f"node {number}: expected a size that {self.groups} groups divide, got {size}"
                )
        return found

    def unfit_inputs(self, config: ModelConfig) -> str | None:
        """Why the pixels do not take a model's inputs; None where they do."""
        low, high = PIXEL_RANGES.get(self.pixels, (-math.inf, math.inf))
        if low <= config.input_low and config.input_high <= high:
            return None
        return (
            f"pixels: expected inputs within [{low:g}, {high:g}] for the family {self.pixels!r}, "
            f"got [{config.input_low:g}, {config.input_high:g}]; scale the inputs"
        )
