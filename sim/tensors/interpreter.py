"""Runs activations on tensors. What an operation means comes from outside: integers, or slopes too.

An :class:`Act` is an activation made ready: connections as functions, instructions with the formula
of each, constants on the device. :func:`run` goes through some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pvae_neuro.network import Activation, Circuit
from pvae_neuro.network.program import Instruction

if TYPE_CHECKING:
    from torch import Tensor

    from pvae_neuro.sim.tensors.operations import Formula
    from pvae_neuro.sim.tensors.products import Product

State = dict[str, "Tensor"]
"""Variables by ``population.variable``, each [B, n]."""
# What the operations of chance read besides their arguments; no name of a rule has a blank.
WORD = "random word"


class Sum(NamedTuple):
    """What is received under one name.

    Attributes
    ----------
    senders : tuple of (str, callable)
        ``population.variable`` that is sent, and the product that it goes through.
    scale : callable
        From the sum to the target's unit.
    """

    senders: tuple[tuple[str, Product], ...]
    scale: Callable[[Tensor], Tensor]


class Step(NamedTuple):
    """An instruction: the name of its result, what computes it, and of what."""

    result: str
    formula: Formula
    arguments: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Act:
    """An activation that is ready to run.

    Attributes
    ----------
    population : str
    size : int
        Of the population.
    variables : dict of str to str
        ``population.variable`` by the name in the program.
    received : dict of str to Sum
    known : dict of str to tensor [n] or [1]
        Constants, literals, and what is computed of them alone.
    steps : tuple of Step
    outputs : dict of str to str
        Name in the program by ``population.variable``.
    """

    population: str
    size: int
    variables: dict[str, str]
    received: dict[str, Sum]
    known: dict[str, Tensor]
    steps: tuple[Step, ...]
    outputs: dict[str, str]


def act(
    circuit: Circuit,
    activation: Activation,
    received: dict[str, Sum],
    constants: dict[str, Tensor],
    formula: Callable[[Instruction], Formula],
) -> Act:
    """Make an activation ready: what depends on constants alone is computed now, once."""
    population = circuit.population_of[activation.population]
    program = population.program(activation.program)
    known, steps = dict(constants), []
    for i in program.instructions:
        arguments = (*i.arguments, WORD) if i.operation in ("draw", "word") else i.arguments
        if all(a in known for a in arguments):
            known[i.result] = formula(i)(*(known[a] for a in arguments))
        else:
            steps.append(Step(i.result, formula(i), arguments))
    return Act(
        population=population.name,
        size=population.size,
        variables={v.name: f"{population.name}.{v.name}" for v in population.variables},
        received=received,
        known=known,
        steps=tuple(steps),
        outputs={f"{population.name}.{o.variable}": o.value for o in program.outputs},
    )


def run(acts: Sequence[Act], state: State, words: Mapping[str, Tensor]) -> None:
    """Run activations in order on a state; ``words`` are those of this step by population."""
    for each in acts:
        values = dict(each.known)
        values.update({name: state[full] for name, full in each.variables.items()})
        for name, received in each.received.items():
            total, *more = (product(state[sent]) for sent, product in received.senders)
            for one in more:
                total = total + one
            values[name] = received.scale(total)
        if each.population in words:
            values[WORD] = words[each.population]
        for result, formula, arguments in each.steps:
            values[result] = formula(*(values[a] for a in arguments))
        samples = len(next(iter(state.values())))
        for name, value in each.outputs.items():
            state[name] = values[value].expand(samples, each.size)
