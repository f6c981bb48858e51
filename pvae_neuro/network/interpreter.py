"""Runs programs: the same instructions over integers, the definition, or over floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network.population import Population
from pvae_neuro.network.program import Program

Values = dict[str, NDArray[Any]]
Formula = Callable[..., NDArray[Any]]
INTEGER_LITERALS: Values = {"0": np.zeros(1, np.int64), "1": np.ones(1, np.int64)}


def run_program(
    population: Population,
    program: Program,
    values: Values,
    formulas: Mapping[str, Formula],
    random: Mapping[str, Formula],
    literals: Values = INTEGER_LITERALS,
    functions: Mapping[str, Formula] | None = None,
) -> Values:
    """Run a program on a batch.

    Parameters
    ----------
    population : Population
    program : Program
    values : dict of str to [B, n]
        Variables and received sums by name.
    formulas : mapping of str to callable
        Meaning of each operation.
    random : mapping of str to callable
        Meaning of ``word`` and ``draw`` in this step.
    literals : dict of str to [1]
        The numbers ``0`` and ``1`` in the type that is computed in.
    functions : mapping of str to callable, optional
        Meaning of composites as wholes; without it their instructions run.

    Returns
    -------
    dict of str to [B, n]
        New values of the variables that the program sets.
    """
    known: Values = {c.name: _wide(c.values) for c in population.constants}
    known.update(values)
    known.update(literals)
    wholes = {c.first: c for c in program.composites} if functions is not None else {}
    skipped = -1
    for number, i in enumerate(program.instructions):
        if functions is not None and number in wholes:
            whole = wholes[number]
            skipped = whole.last
            known[f"t{skipped}"] = functions[whole.function](*(known[a] for a in whole.arguments))
        if number <= skipped:
            continue
        formula = random[i.operation] if i.operation in random else formulas[i.operation]
        known[i.result] = formula(*(known[a] for a in i.arguments))
    shape = next(iter(values.values())).shape
    return {o.variable: np.broadcast_to(known[o.value], shape) for o in program.outputs}


def _wide(values: NDArray[Any]) -> NDArray[Any]:
    """Constants are stored in 32 bits; what is computed of two of them alone may need more."""
    return values.astype(np.int64) if values.dtype == np.int32 else values
