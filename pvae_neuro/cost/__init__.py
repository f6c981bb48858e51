"""What a network would cost on a chip: counts of a real run, published prices, and levers."""

from __future__ import annotations

from pvae_neuro.cost.cost import Cost, cost_of
from pvae_neuro.cost.dead_zone import error_variables, with_dead_zone

__all__ = ["Cost", "cost_of", "error_variables", "with_dead_zone"]
