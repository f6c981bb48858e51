"""Populations: neurons with variables, constants and programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import NetworkError
from pvae_neuro.network.bounds import Array, Items, Name, Optional, Whole, bounded
from pvae_neuro.network.operations import WORD_WIDTH
from pvae_neuro.network.program import Program, is_reserved
from pvae_neuro.network.sampler import LARGEST_MAX_COUNT
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.show import short_repr, show

LARGEST_SIZE = 1 << 20
WORD_MAX = (1 << (WORD_WIDTH - 1)) - 1


@dataclass(frozen=True, eq=False)
class Variable:
    """A word of state per neuron.

    Attributes
    ----------
    name : str
    initial : int32 [n], or [1] where all neurons share it
        Value at the start of a run.
    bits : int
        Declared width, sign included; proved to hold every value.
    """

    name: str = bounded(Name())
    initial: NDArray[Any] = bounded(Array("int32", 1, -WORD_MAX - 1, WORD_MAX))
    bits: int = bounded(Whole(2, WORD_WIDTH), default=WORD_WIDTH)

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Constant:
    """A number per neuron, or one that all neurons share.

    Attributes
    ----------
    name : str
    values : int32 [n] or [1]
    """

    name: str = bounded(Name())
    values: NDArray[Any] = bounded(Array("int32", 1, -WORD_MAX - 1, WORD_MAX))

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Sampler:
    """Where a population's random words come from, and how its counts are drawn.

    Attributes
    ----------
    max_count : int
        Largest count of ``draw``; the tail of the distribution is gathered there.
    frac_bits : int
        Fixed-point position of the log-rate that ``draw`` is given.
    stream : int
        Noise stream: the last number of the counter (see ``docs/artifact.md``).
    first : int
        Position of the population's first neuron in its stream, so that a population that is
        split draws the same words.
    """

    max_count: int = bounded(Whole(1, LARGEST_MAX_COUNT))
    frac_bits: int = bounded(Whole(4, 16))
    stream: int = bounded(Whole(0, (1 << 32) - 1), default=0)
    first: int = bounded(Whole(0, (1 << 32) - 1), default=0)


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of one kind. A population without programs is an input, which the host sets.

    Attributes
    ----------
    name : str
    size : int
        Number of neurons.
    variables : tuple of Variable
        State; what connections send and recordings hold.
    constants : tuple of Constant
    programs : tuple of Program
        What the neurons can do; the schedule says when.
    sampler : Sampler or None
        Needed by the operations ``word`` and ``draw``.
    """

    name: str = bounded(Name())
    size: int = bounded(Whole(1, LARGEST_SIZE))
    variables: tuple[Variable, ...] = bounded(Items(Variable, most=64, least=1))
    constants: tuple[Constant, ...] = bounded(Items(Constant, most=64), default=())
    programs: tuple[Program, ...] = bounded(Items(Program, most=64), default=())
    sampler: Sampler | None = bounded(Optional(Sampler), default=None)

    def __repr__(self) -> str:
        programs = show(", ".join(p.name for p in self.programs) or "input")[1:-1]
        return f"<Population {self.name}: {self.size} neurons, {programs}>"

    @property
    def is_input(self) -> bool:
        """Whether the host sets this population, once per frame."""
        return not self.programs

    def variable(self, name: str) -> Variable:
        """Variable of that name."""
        return next(v for v in self.variables if v.name == name)

    def constant(self, name: str) -> NDArray[Any]:
        """Values of the constant of that name."""
        return next(c.values for c in self.constants if c.name == name)

    def program(self, name: str) -> Program:
        """Program of that name."""
        return next(p for p in self.programs if p.name == name)

    @property
    def drawn_by(self) -> Sampler:
        """Sampler of a population that draws; raises :class:`NetworkError` where there is none."""
        if self.sampler is None:
            raise NetworkError(f"population {self.name!r}: expected a sampler, by which it draws")
        return self.sampler

    def received_names(self, program: Program) -> tuple[str, ...]:
        """Names that a program reads and that neither a variable nor a constant has."""
        own = {v.name for v in self.variables} | {c.name for c in self.constants}
        return tuple(name for name in program.reads if name not in own)

    def faults(self, path: str) -> Iterator[str]:
        """Yield a message for each part that does not fit the others."""
        parts: tuple[Variable | Constant, ...] = (*self.variables, *self.constants)
        names = [p.name for p in parts]
        for name in sorted({n for n in names if names.count(n) > 1}):
            yield f"{path}: {name!r} names more than one variable or constant"
        for name in names:
            if is_reserved(name):
                yield f"{path}: {name!r} is the name of an operation or a result; choose another"
        for part in parts:
            values = part.initial if isinstance(part, Variable) else part.values
            if values.shape not in ((1,), (self.size,)):
                yield (
                    f"{path}.{part.name}: expected one value, or one for each of {self.size} "
                    f"neurons, got {len(values)}"
                )
        programs = [p.name for p in self.programs]
        if len(set(programs)) != len(programs):
            yield f"{path}.programs: expected different names, got {programs}"
        for program in self.programs:
            yield from self._program_faults(f"{path}.{program.name}", program)

    def _program_faults(self, path: str, program: Program) -> Iterator[str]:
        variables = {v.name for v in self.variables}
        for output in program.outputs:
            if output.variable not in variables:
                yield f"{path}: sets {output.variable!r}, which is no variable of {self.name!r}"
        if program.operations & {"word", "draw"} and self.sampler is None:
            yield f"{path}: draws, but the population {self.name!r} has no sampler"


@checked
def shared(value: int | float) -> NDArray[Any]:
    """A constant that all neurons share: an integer as int32 [1], a float as float64 [1].

    Raises :class:`NetworkError` for an integer of more than 32 bits.
    """
    if isinstance(value, int) and not -(1 << 31) <= value < 1 << 31:
        raise NetworkError(f"shared: expected an integer of 32 bits, got {show(value)}")
    return np.array([value], np.float64 if isinstance(value, float) else np.int32)
