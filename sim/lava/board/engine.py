"""Engine that runs on Loihi 2, where there is one. Importing this module does not import Lava."""

from __future__ import annotations

from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.sim.checks import Check
from pvae_neuro.sim.engine import Block, BlockResult, Engine
from pvae_neuro.sim.lava.available import require_lava
from pvae_neuro.sim.lava.board.board import Board


class Loihi2Engine(Engine):
    """Loihi 2 hardware; refuses, with the reasons, where it is not there.

    Nothing in this package has run on a chip.
    """

    name = "loihi2"
    packages = ("lava-nc", "lava-loihi")

    def __init__(self) -> None:
        self.board = Board()

    def checks(self) -> list[Check]:
        """What a run on the board needs."""
        return self.board.checks()

    def require(self) -> None:
        """Raise :class:`EngineUnavailableError` with everything that is missing."""
        require_lava()
        self.board.require()

    def run_block(self, block: Block) -> BlockResult:
        """Never reached: :meth:`require` refuses first."""
        raise EngineUnavailableError("loihi2: cannot run on hardware")
