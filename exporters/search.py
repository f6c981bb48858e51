"""Exponents of weights, chosen by what the whole network loses on its calibration inputs.

The rule of ``scales.py`` looks at weights alone. Here the network of each exponent beside it runs,
and the exponent moves on as long as the mean squared error falls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import CertificateError
from pvae_neuro.exporters.widths import ITERATIONS, squared_errors
from pvae_neuro.network import Choice, IntegerNetwork
from pvae_neuro.network.partly_rounded import percent_above

Steps = dict[str, int]
Lower = Callable[[Mapping[str, int]], IntegerNetwork]
# More than that no exponent is worth trying.
FARTHEST = 4


def best_exponents(
    lower: Lower, connections: Sequence[str], images: NDArray[np.floating[Any]]
) -> tuple[Steps, tuple[Choice, ...]]:
    """Steps from the exponents of the rule at which the mean squared error is least.

    Parameters
    ----------
    lower : callable
        Makes the network of some steps, by the name of the connection.
    connections : sequence of str
        Moved in turn.
    images : float [B, M]
        Calibration inputs, at least two.

    Returns
    -------
    dict of str to int
        Steps other than 0.
    tuple of Choice
        What was measured.
    """
    found, choices = Steps(), list[Choice]()
    best = by_rule = squared_errors(lower({}), images)
    for name in connections:
        tried = {0: best}
        for direction in (-1, 1):
            for step in range(direction, direction * (FARTHEST + 1), direction):
                errors = _errors_of(lower, {**found, name: step}, images)
                if errors is None:
                    break
                tried[step] = errors
                # Not-a-number is below nothing.
                if not errors.mean() < tried[step - direction].mean():
                    break
        taken = min(tried, key=lambda step: (tried[step].mean(), abs(step)))
        if taken:
            found[name], best = taken, tried[taken]
        measured = ", ".join(
            f"{step:+d}: {percent_above(tried[step], by_rule)[0]:+.2f} %" for step in sorted(tried)
        )
        why = (
            f"from the exponent of the rule to that at which the MSE of {len(images)} calibration "
            f"inputs over {ITERATIONS} iterations is least; {measured}"
        )
        choices.append(Choice(f"step of the exponent of {name}", taken, why))
    return found, tuple(choices)


def _errors_of(
    lower: Lower, steps: Steps, images: NDArray[np.floating[Any]]
) -> NDArray[np.float64] | None:
    """Squared errors of a network; None where its ranges cannot be proved."""
    try:
        network = lower(steps)
    except CertificateError:
        return None
    if any(network.ranges.faults()):
        return None
    return squared_errors(network, images)
