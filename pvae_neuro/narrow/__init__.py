"""How narrow integers can be: trials against float, the narrowest ones, and what they save."""

from __future__ import annotations

from pvae_neuro.narrow.narrowest import Narrowest, narrowest
from pvae_neuro.narrow.pareto import Pareto, Point, pareto
from pvae_neuro.narrow.trials import Trial

__all__ = ["Narrowest", "Pareto", "Point", "Trial", "narrowest", "pareto"]
