"""A board that is not there. Importing this module does not import Lava."""

from __future__ import annotations

from dataclasses import dataclass, field

from pvae_neuro.sim.checks import Check, package_check
from pvae_neuro.sim.lava.board.board import LAVA_NC, Board
from pvae_neuro.sim.lava.board.stand_in.delays import Delays


@dataclass(frozen=True)
class StandIn(Board):
    """Lava's CPU simulation behind the names of lava-loihi, with adapters that delay messages.

    It shows that graph, phases, selection of models and record are right; it shows nothing of a
    chip.

    Attributes
    ----------
    delays : Delays
        Of the adapters between the host and cores.
    sums : Delays or None
        Of sums on cores on their way to wherever they go; None keeps none.
    """

    accumulator: str | None = "pvae_neuro.sim.lava.board.stand_in.cores:NcModelGradedVec"
    delays: Delays = field(default_factory=Delays)
    sums: Delays | None = None

    @property
    def name(self) -> str:
        """Says that it is none."""
        return "stand-in, no chip"

    def checks(self) -> list[Check]:
        """Lava itself."""
        return [package_check("lava-nc", "pip install 'pvae-neuro[lava]'", LAVA_NC)]

    def select(self) -> None:
        """Enter what stands in for lava-loihi."""
        from pvae_neuro.sim.lava.board.stand_in.modules import enter_modules

        enter_modules()
        from pvae_neuro.sim.lava.board.stand_in import adapters, cores

        adapters.DELAYS[0], cores.DELAYS[0] = self.delays, self.sums
