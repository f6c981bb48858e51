"""Cuts a program into loops over neurons, and the draws between them.

A draw works on a whole population, so it ends a loop. Instructions run in the first loop in which
all their arguments are known; what a later loop or a draw needs is spilled to an array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pvae_neuro.network import Interval, Program
from pvae_neuro.network.operations import LITERALS
from pvae_neuro.sim.fast.programs import Cell, Loop, RandomWord, Reading, Step


@dataclass(frozen=True)
class Draw:
    """One draw.

    Attributes
    ----------
    stage : int
        Number of the loop that it follows.
    log_rate, counts : int
        Places of its argument and of its result.
    interval : Interval
        Of the argument.
    variable : str or None
        Variable that its result is stored in at once.
    """

    stage: int
    log_rate: int
    counts: int
    interval: Interval
    variable: str | None = None


@dataclass(frozen=True)
class Cut:
    """A program as loops and draws: after loop i come the draws of stage i."""

    loops: tuple[Loop, ...]
    draws: tuple[Draw, ...]


def cut_program(
    program: Program,
    reads: dict[str, Reading],
    words: dict[str, Interval],
    variables: dict[str, int],
    new_place: Callable[[], int],
) -> Cut:
    """Cut a program.

    Parameters
    ----------
    program : Program
    reads : dict of str to Reading
        Where the names that it reads are found.
    words : dict of str to Interval
        Bounds of all names.
    variables : dict of str to int
        Places of the population's variables.
    new_place : callable
        Gives the place of a new array.
    """
    # A random word is read anew by each loop that needs it.
    random = {i.result: RandomWord() for i in program.instructions if i.operation == "word"}
    cutter = _Cutter(program, {**reads, **random}, words, new_place)
    for instruction in program.instructions:
        if instruction.operation == "draw":
            cutter.draw(instruction.arguments[0], instruction.result)
        elif instruction.operation != "word":
            cutter.compute(Step(instruction.operation, instruction.arguments, instruction.result))
    last = len(cutter.loops) - 1
    for output in program.outputs:
        cutter.need(output.value, last)
        cutter.loops[last].writes.append((output.value, variables[output.variable]))
    cutter.store_counts(variables)
    return Cut(tuple(cutter.loops), tuple(cutter.draws))


class _Cutter:
    def __init__(
        self,
        program: Program,
        reads: dict[str, Reading],
        words: dict[str, Interval],
        new_place: Callable[[], int],
    ) -> None:
        self.reads, self.words, self.new_place = reads, words, new_place
        # The loop in which a result is known; a draw's is the one after it.
        self.stage: dict[str, int] = {}
        for i in program.instructions:
            known = max((self.stage.get(a, 0) for a in i.arguments), default=0)
            self.stage[i.result] = known + (i.operation == "draw")
        self.loops = [Loop() for _ in range(max(self.stage.values(), default=0) + 1)]
        self.draws: list[Draw] = []
        self.spilled: dict[str, int] = {}

    def compute(self, step: Step) -> None:
        """Add an instruction to its loop."""
        stage = self.stage[step.result]
        for argument in step.arguments:
            self.need(argument, stage)
        self.loops[stage].steps.append(step)
        self.loops[stage].intervals[step.result] = self.words[step.result]

    def draw(self, argument: str, result: str) -> None:
        """Add a draw after its loop."""
        before = self.stage[result] - 1
        reading = self.reads.get(argument)
        if isinstance(reading, Cell) and not reading.shared:
            log_rate = reading.place
        else:
            log_rate = self._spill(argument, self.stage.get(argument, before))
        self.spilled[result] = self.new_place()
        self.draws.append(Draw(before, log_rate, self.spilled[result], self.words[argument]))

    def need(self, name: str, stage: int) -> None:
        """Make a name known in a loop."""
        loop = self.loops[stage]
        if name in LITERALS or name in loop.reads or name in loop.intervals:
            return
        reading = self.reads.get(name)
        if reading is None:
            if name not in self.spilled:
                self._spill(name, self.stage[name])
            reading = Cell(self.spilled[name])
        loop.reads[name] = reading
        loop.intervals[name] = self.words[name]

    def _spill(self, name: str, stage: int) -> int:
        """Write a value to an array at the end of a loop; returns its place."""
        if name not in self.spilled:
            self.need(name, stage)
            self.spilled[name] = self.new_place()
            self.loops[stage].writes.append((name, self.spilled[name]))
        return self.spilled[name]

    def store_counts(self, variables: dict[str, int]) -> None:
        """Let draws write to their variables at once where nobody reads those any more."""
        last = self.loops[-1]
        for number, draw in enumerate(self.draws):
            name = next(n for n, place in self.spilled.items() if place == draw.counts)
            found = [v for v, place in variables.items() if (name, place) in last.writes]
            if not found:
                continue
            place = variables[found[0]]
            read = {p for loop in self.loops[draw.stage + 1 :] for p in loop.read_places()}
            read |= {d.log_rate for d in self.draws if d.stage >= draw.stage}
            if place in read:
                continue
            last.writes.remove((name, place))
            self._rename(draw.counts, place)
            self.draws[number] = replace(draw, counts=place, variable=found[0])

    def _rename(self, old: int, new: int) -> None:
        """Read an array from another place."""
        for loop in self.loops:
            for name, reading in loop.reads.items():
                if reading == Cell(old):
                    loop.reads[name] = Cell(new)
        self.draws = [replace(d, log_rate=new) if d.log_rate == old else d for d in self.draws]
