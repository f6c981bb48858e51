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

    Returns
    -------
    dict of str to [B, n]
        New values of the variables that the program sets.
    """
    known: Values = {c.name: _wide(c.values) for c in population.constants}
    known.update(values)
    known.update(literals)
    for i in program.instructions:
        formula = random[i.operation] if i.operation in random else formulas[i.operation]
        known[i.result] = formula(*(known[a] for a in i.arguments))
    shape = next(iter(values.values())).shape
    return {o.variable: np.broadcast_to(known[o.value], shape) for o in program.outputs}


def _wide(values: NDArray[Any]) -> NDArray[Any]:
    """Constants are stored in 32 bits; what is computed of two of them alone may need more."""
    return values.astype(np.int64) if values.dtype == np.int32 else values
