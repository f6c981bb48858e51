"""Where programs cut values off: limits of graded spikes and of potentials.

A program that stores ``min(max(x, low), high)`` with constants ``low`` and ``high`` cuts x off. A
value at such a limit may have been larger, so a network that is often there computes something
else than its model. Found in the programs themselves, for any circuit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network.circuit import Circuit
from pvae_neuro.network.population import Population
from pvae_neuro.network.program import Instruction, Program

Ends = tuple[tuple[str, ...], tuple[str, ...]]
"""Names of the constants that a value is at least, and at most."""
# Above every word.
_NO_END = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Limit:
    """Ends at which the values of a variable are cut off.

    A lower end counts only where it mirrors the upper one, as that of a graded spike with a sign
    does: at the lower clamp of a log-rate, or at the 0 of a rectifier, nothing is lost.

    Attributes
    ----------
    variable : str
        ``population.variable``.
    high : int64 [n] or [1]
        Upper end of each neuron, or of all; beyond every word where there is none.
    has_low : bool [n] or [1]
        Whether ``-high`` is an end too.
    is_log_rate : bool
        Whether neurons draw of the variable, counts or by comparing their random word.
    """

    variable: str
    high: NDArray[np.int64]
    has_low: NDArray[np.bool_]
    is_log_rate: bool

    @property
    def largest(self) -> int:
        """The largest upper end of all neurons."""
        return int(self.high[self.high < _NO_END].max())

    def reached(self, values: NDArray[np.integer]) -> int:  # type: ignore[type-arg]
        """How many of the values [..., n] are at an end of their neuron."""
        high = self.high
        if high.max() <= np.iinfo(values.dtype).max:  # Compared in its own type, a tenth the time.
            high = high.astype(values.dtype)
        count = int(np.count_nonzero(values >= high))
        if self.has_low.any() and values.dtype.kind == "i":
            count += int(np.count_nonzero((values <= -high) & self.has_low))
        return count


def limits_of(circuit: Circuit) -> tuple[Limit, ...]:
    """Limits of a circuit's variables that have any, in the order of the variables."""
    found = (
        _limit(population, variable.name)
        for population in circuit.populations
        for variable in population.variables
    )
    return tuple(limit for limit in found if limit is not None)


def _limit(population: Population, variable: str) -> Limit | None:
    """Limit of one variable; where several programs cut it off, the widest of each end."""
    highs, mirrored = list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    log_rate = False
    for program in population.programs:
        drawn_of = _drawn_of(program)
        log_rate |= variable in drawn_of
        for output in program.outputs:
            if output.variable == variable:
                log_rate |= output.value in drawn_of
                lower, upper = _ends(population, program, output.value)
                highs += [_values(population, name) for name in upper]
                mirrored += [-_values(population, name) for name in lower]
    if not highs:
        return None
    high = _widest(highs)
    has_low = np.zeros(1, bool) if log_rate or not mirrored else _widest(mirrored) == high
    # A neuron that is held at 0 or below, such as one without a weight, has nothing to lose.
    live = high > 0
    if not live.any():
        return None
    ends = np.where(live, high, _NO_END)
    return Limit(f"{population.name}.{variable}", ends, has_low & live, log_rate)


def _drawn_of(program: Program) -> frozenset[str]:
    """What the log-rates of counts, and all that random words are compared with, come from."""
    arguments = {i.result: i.arguments for i in program.instructions}
    random, left = set[str](), list[str]()
    for i in program.instructions:
        if i.operation == "word" or random.intersection(i.arguments):
            random.add(i.result)
        if i.operation == "draw" or (i.operation == "ge" and random.intersection(i.arguments)):
            left += i.arguments
    found = set[str]()
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += arguments.get(name, ())
    return frozenset(found - random)


def _values(population: Population, constant: str) -> NDArray[np.int64]:
    return population.constant(constant).astype(np.int64)


def _widest(ends: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    widest = ends[0]
    for end in ends[1:]:
        widest = np.maximum(widest, end)
    return widest


def _ends(population: Population, program: Program, value: str) -> Ends:
    """Constants that cut a stored value off.

    Looked for through ``min``, ``max``, ``select``, and products with a bit, which keep a value or
    make it 0 as ``select`` does.
    """
    made: dict[str, Instruction] = {i.result: i for i in program.instructions}
    constants = {c.name for c in population.constants}
    lower, upper, left = list[str](), list[str](), [value]
    while left:
        instruction = made.get(left.pop())
        if instruction is None:
            continue
        arguments = instruction.arguments
        if instruction.operation == "select":
            left += arguments[1:]
        elif instruction.operation in ("min", "max"):
            ends = upper if instruction.operation == "min" else lower
            ends += [a for a in arguments if a in constants]
            left += [a for a in arguments if a not in constants]
        elif instruction.operation == "mul" and arguments[2] == "0":
            a, b, _ = arguments
            left += [kept for kept, by in ((a, b), (b, a)) if _is_bit(made, by)]
    return tuple(lower), tuple(upper)


def _is_bit(made: dict[str, Instruction], value: str) -> bool:
    """Whether a result is 0 or 1: a comparison, or a product of such."""
    instruction = made.get(value)
    if instruction is None or instruction.operation not in ("ge", "mul"):
        return False
    first, second, *shift = instruction.arguments
    whole = shift == ["0"] and _is_bit(made, first) and _is_bit(made, second)
    return instruction.operation == "ge" or whole
