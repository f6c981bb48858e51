"""How long the adapters that stand in for the board's keep a message. Knows nothing of Lava."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError


@dataclass(frozen=True)
class Delays:
    """Steps that adapters keep a message.

    Attributes
    ----------
    least, most : int
        Each adapter draws one number of steps of these.
    seed : int
        Of the draw.
    jitter : bool
        Draw anew for each message, so that messages may even overtake each other.
    """

    least: int = 1
    most: int = 1
    seed: int = 0
    jitter: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise InputError(
                f"delays: expected 1 <= least <= most steps, got {self.least} to {self.most}"
            )

    def draw(self, adapter: int) -> NDArray[np.int64]:
        """Delays of an adapter's messages, int64: one for all, or a list to go round in."""
        drawn = np.random.default_rng((self.seed, adapter))
        return drawn.integers(self.least, self.most + 1, 4096 if self.jitter else 1)
