"""When each activation happens on Lava: phases and a period for any schedule.

The schedule of a network is a sequence; Lava's processes all act in every step, and what a
population sends in one step reaches its target, through a connection, in the next. So activation i
of an iteration is given a phase p_i, in Lava steps from the start of the iteration, and iterations
start every P steps: activation i of iteration t acts in step ``t P + p_i``. A phase may exceed the
period; iterations then overlap. A population that acts several times in one step does so in order
of (iteration, index), and sends its variables once, as they are afterwards.

The meaning is that of the sequence if

1. a population's activations keep their order,
2. an activation that reads a variable through a connection acts after the step of the activation
   that set it last,
3. an activation that sets a variable does not act before the steps of the activations that read
   its value before, which was sent the step before they act.

These are differences of phases, between activations of one iteration and of two that follow each
other. :func:`timing_of` finds the smallest period that allows them, and the smallest phases.
Knows nothing of Lava.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pvae_neuro.network import Connection, IntegerNetwork, OneToOne
from pvae_neuro.network.schedule import Activation


@dataclass(frozen=True)
class Act:
    """What timing needs to know of an activation.

    Attributes
    ----------
    population : str
    reads, writes : frozenset of str
        Variables that it receives through connections, and those of its own that it sets.
    """

    population: str
    reads: frozenset[str]
    writes: frozenset[str]


@dataclass(frozen=True)
class Timing:
    """When activations act.

    Attributes
    ----------
    period : int
        Lava steps from one iteration to the next.
    lead : int
        Steps before the first iteration in which initial values are sent: 0 or 1.
    iteration, final : tuple of int
        Phase of each activation; those of ``final`` count from where the iteration after the last
        one would start.
    """

    period: int
    lead: int
    iteration: tuple[int, ...]
    final: tuple[int, ...]

    def steps(self, iterations: int) -> int:
        """Lava steps of a run: ``final`` included."""
        last = max((p - self.period for p in self.iteration), default=0)
        last = max((last, *self.final))
        return self.lead + iterations * self.period + last + 1


class _Bound(NamedTuple):
    """``phase[after] >= phase[before] + steps - periods * period``."""

    after: int
    before: int
    steps: int
    periods: int


def timing_of(iteration: Sequence[Act], final: Sequence[Act]) -> Timing:
    """Smallest period, and the smallest phases in it."""
    inside = list(_iteration_bounds(iteration))
    count, period = len(iteration), 1
    # It ends: one step for each activation, one after the other, is always possible.
    while (phases := _smallest([0] * count, inside, period)) is None:
        period += 1
    after = list(_final_bounds(iteration, final))
    both = _smallest([*phases, *(0 for _ in final)], after, period) or phases
    lead = int(any(phases[a] == 0 for a in _reading_initial_values(iteration)))
    return Timing(period, lead, tuple(phases), tuple(both[count:]))


def _smallest(start: list[int], bounds: list[_Bound], period: int) -> list[int] | None:
    """Smallest phases within the bounds; None where a cycle of them has no solution."""
    phases = list(start)
    for _ in range(len(phases) + 1):
        changed = False
        for after, before, steps, periods in bounds:
            least = phases[before] + steps - periods * period
            if phases[after] < least:
                phases[after], changed = least, True
        if not changed:
            return phases
    return None


def _iteration_bounds(acts: Sequence[Act]) -> Iterator[_Bound]:
    yield from _order(acts, 0)
    for population in {a.population for a in acts}:
        own = [i for i, a in enumerate(acts) if a.population == population]
        yield _Bound(own[0], own[-1], 0, 1)
    for reader, act in enumerate(acts):
        for variable in act.reads:
            writers = _writers(acts, variable)
            if not writers:
                continue
            before = [w for w in writers if w < reader]
            after = [w for w in writers if w > reader]
            if before:
                yield _Bound(reader, before[-1], 1, 0)
            else:
                yield _Bound(reader, writers[-1], 1, 1)
            if after:
                yield _Bound(after[0], reader, 0, 0)
            yield _Bound(writers[0], reader, 0, 1)


def _final_bounds(iteration: Sequence[Act], final: Sequence[Act]) -> Iterator[_Bound]:
    """Bounds of the final activations, whose indices follow those of the iteration."""
    first = len(iteration)
    yield from _order(final, first)
    for number, act in enumerate(final):
        own = [i for i, a in enumerate(iteration) if a.population == act.population]
        if own:
            yield _Bound(first + number, own[-1], 0, 1)
        for variable in act.reads:
            before = [w for w in _writers(final, variable) if w < number]
            earlier = _writers(iteration, variable)
            if before:
                yield _Bound(first + number, first + before[-1], 1, 0)
            elif earlier:
                yield _Bound(first + number, earlier[-1], 1, 1)
        for variable in act.writes:
            for reader, other in enumerate(iteration):
                if variable in other.reads:
                    yield _Bound(first + number, reader, 0, 1)
            for reader, other in enumerate(final[:number]):
                if variable in other.reads:
                    yield _Bound(first + number, first + reader, 0, 0)


def _order(acts: Sequence[Act], first: int) -> Iterator[_Bound]:
    """Activations of one population keep their order."""
    latest: dict[str, int] = {}
    for number, act in enumerate(acts):
        if act.population in latest:
            yield _Bound(first + number, first + latest[act.population], 0, 0)
        latest[act.population] = number


def _writers(acts: Sequence[Act], variable: str) -> list[int]:
    return [i for i, a in enumerate(acts) if variable in a.writes]


def _reading_initial_values(acts: Sequence[Act]) -> Iterator[int]:
    """Activations that, in the first iteration, read a variable that nothing has set yet."""
    written: set[str] = set()
    for number, act in enumerate(acts):
        if act.reads - written:
            yield number
        written |= act.writes


# ------------------------------------------------------------------------------ of a network


def is_held(network: IntegerNetwork, connection: Connection) -> bool:
    """Whether a connection needs no process: its target holds what the host sets.

    So it is with an input that reaches its target neuron by neuron, with weights of 1.
    """
    from_input = network.population_of[connection.source].is_input
    return from_input and isinstance(connection, OneToOne) and connection.is_identity


@dataclass(frozen=True, eq=False)
class NetworkTiming:
    """Timing of a network.

    Attributes
    ----------
    timing : Timing
    loads : dict of str to int
        Phase on which an input population, whose values travel through connections, takes on
        those of the iteration's frame.
    sending : dict of str to frozenset of int
        For each variable that travels, the steps of the period on which what is sent is used;
        on the others zeros may be sent.
    """

    timing: Timing
    loads: dict[str, int]
    sending: dict[str, frozenset[int]]

    def phase(self, number: int) -> int:
        """Phase of an activation of the iteration."""
        return self.timing.iteration[len(self.loads) + number]


def network_timing(network: IntegerNetwork) -> NetworkTiming:
    """Timing of a network; inputs that travel are loaded before everything else."""
    used = {name for a in network.activations for name in a.connections}
    carried = {c.name for c in network.connections if c.name in used and not is_held(network, c)}
    sources = {network.connection_of[name].source for name in carried}
    inputs = [p for p in network.populations if p.is_input and p.name in sources]
    loads = [
        Act(p.name, frozenset(), frozenset(f"{p.name}.{v.name}" for v in p.variables))
        for p in inputs
    ]
    iteration = [*loads, *(_act(network, a, carried) for a in network.iteration)]
    final = [_act(network, a, carried) for a in network.final]
    timing = timing_of(iteration, final)
    sending: dict[str, set[int]] = {}
    for act, phase in zip((*iteration, *final), (*timing.iteration, *timing.final), strict=True):
        for variable in act.reads:
            sending.setdefault(variable, set()).add((phase - 1) % timing.period)
    return NetworkTiming(
        timing,
        {p.name: phase for p, phase in zip(inputs, timing.iteration, strict=False)},
        {variable: frozenset(steps) for variable, steps in sending.items()},
    )


def _act(network: IntegerNetwork, activation: Activation, carried: set[str]) -> Act:
    program = network.population_of[activation.population].program(activation.program)
    connections = (network.connection_of[n] for n in activation.connections if n in carried)
    return Act(
        activation.population,
        frozenset(f"{c.source}.{c.variable}" for c in connections),
        frozenset(f"{activation.population}.{o.variable}" for o in program.outputs),
    )
