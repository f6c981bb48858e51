"""A job for a board, and what is found beside the integers. Knows nothing of Lava."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pvae_neuro.sim.lava.board.board import Board
from pvae_neuro.sim.lava.board.stages import HostStage, Stage
from pvae_neuro.sim.lava.exchange import Job

_FOUND = "found.json"


@dataclass(frozen=True, eq=False)
class BoardJob(Job):
    """Samples to run through on a board.

    Attributes
    ----------
    board : Board
    stage : Stage
    cost_steps : int
        Lava steps of each reading of power; 0 reads none.
    """

    board: Board = field(default_factory=Board)
    stage: Stage = field(default_factory=HostStage)
    cost_steps: int = 0

    def write_found(self, found: dict[str, Any]) -> None:
        """Leave what was found for the caller."""
        (Path(self.folder) / _FOUND).write_text(json.dumps(found))

    def read_found(self) -> dict[str, Any]:
        """Read it."""
        found: dict[str, Any] = json.loads((Path(self.folder) / _FOUND).read_text())
        return found
