"""How digits move, and which motions a budget tries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pvae_neuro.data import Feeder, Images, make_feeder

ROTATING, JITTERING, MORPHING = "rotating", "jittering", "morphing"
UNITS = {ROTATING: "°/frame", JITTERING: " px sd", MORPHING: " digits/frame"}
"""Of speeds, by kind."""


@dataclass(frozen=True)
class Motion:
    """How digits move."""

    kind: str
    """:data:`ROTATING`, :data:`JITTERING` or :data:`MORPHING`."""

    speed: float
    """Degrees per frame, standard deviation of the shifts in pixels, or digits per frame."""

    steps: int
    """Iterations on each frame."""

    @property
    def title(self) -> str:
        """Kind, speed and iterations."""
        return f"{self.kind} {self.speed:g}{UNITS[self.kind]}, {self.steps} a frame"

    def feeder(self, digits: Images, iterations: int, seed: int) -> Feeder:
        """Frames of the digits for a number of iterations."""
        own: dict[str, dict[str, Any]] = {
            ROTATING: {"degrees_per_frame": self.speed},
            JITTERING: {"sd": self.speed, "seed": seed},
            MORPHING: {"images_per_frame": self.speed},
        }
        frames = -(-iterations // self.steps)
        return make_feeder(
            self.kind, digits, frames=frames, steps_per_frame=self.steps, **own[self.kind]
        )


def motions(quick: bool) -> list[Motion]:
    """All speeds with all numbers of iterations per frame."""
    speeds = (
        {ROTATING: (2.0, 10.0), JITTERING: (1.0,), MORPHING: (0.1,)}
        if quick
        else {
            ROTATING: (1.0, 2.0, 5.0, 10.0, 30.0),
            JITTERING: (0.5, 1.0, 2.0),
            MORPHING: (0.05, 0.1, 0.2, 0.5),
        }
    )
    counts = (1, 4, 16) if quick else (1, 2, 4, 8, 16, 32)
    return [Motion(kind, v, n) for kind, values in speeds.items() for v in values for n in counts]
