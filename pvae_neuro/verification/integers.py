"""Compare two engines, integer by integer, and report the first difference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.compare import Divergence, compare
from pvae_neuro.sim.recording import Recording

__all__ = ["Divergence", "PairCheck"]


@dataclass
class PairCheck:
    """Comparison of two engines, over every variable of every population and step.

    Attributes
    ----------
    a, b : str
        Names of the engines.
    differing_integers, compared_integers : int
    first_divergence : Divergence or None
        Of the first block in which something differs.
    """

    a: str
    b: str
    differing_integers: int = 0
    compared_integers: int = 0
    first_divergence: Divergence | None = None

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing differed."""
        return self.differing_integers == 0 and self.compared_integers > 0

    def add(
        self, network: IntegerNetwork, a: Recording, b: Recording, first_sample: int = 0
    ) -> None:
        """Compare two full recordings of the same samples, the first with this index."""
        found = compare(network, a.variables, b.variables, first_sample, a.held)
        self.differing_integers += found.differing
        self.compared_integers += found.compared
        self.first_divergence = self.first_divergence or found.first

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        first = self.first_divergence and self.first_divergence.to_dict()
        return {**asdict(self), "first_divergence": first, "passed": self.passed}
