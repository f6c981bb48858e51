"""The schedule: which program of which population acts, in which order."""

from __future__ import annotations

from dataclasses import dataclass

from pvae_neuro.network.bounds import Items, Name, bounded
from pvae_neuro.utils.show import short_repr


@dataclass(frozen=True)
class Activation:
    """One action: these connections deliver, then the population runs the program.

    Attributes
    ----------
    population, program : str
    connections : tuple of str
        Each delivers the present value of its source's variable.
    """

    population: str = bounded(Name())
    program: str = bounded(Name())
    connections: tuple[str, ...] = bounded(Items(Name(), most=1024), default=())

    __repr__ = short_repr

    def __str__(self) -> str:
        received = f" <- {', '.join(self.connections)}" if self.connections else ""
        return f"{self.population}.{self.program}{received}"
