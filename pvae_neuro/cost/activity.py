"""An activity target: the leak of the latents is scaled until so many fire. It changes the network.

Training to a target (``--target-zeros``) gives a better network at the same activity; this shows
what activity costs without training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.network import Constant, IntegerNetwork, Measurements, Population
from pvae_neuro.network.population import WORD_MAX

LEAK = "leak"
# Relative distance from the target at which the search ends, and most networks that it tries.
CLOSE, MOST_TRIES = 0.02, 12
# Factors of the leak within which it searches.
LEAST, MOST = 2.0**-6, 2.0**8


def with_leak(network: IntegerNetwork, factor: float) -> IntegerNetwork:
    """The network whose latents leak so many times as much.

    Raises
    ------
    InputError
        If the latents have no constant ``leak``.
    """
    latents = network.latents
    if latents is None or LEAK not in {c.name for c in latents.constants}:
        raise InputError(
            f"activity: the latents of the network {network.name!r} have no constant {LEAK!r} to "
            f"scale; train another model with a target of zeros"
        )
    scaled = np.clip(np.rint(latents.constant(LEAK) * factor), -WORD_MAX, WORD_MAX)
    return replace(
        network,
        populations=tuple(
            _with_constant(p, scaled.astype(np.int32)) if p is latents else p
            for p in network.populations
        ),
        measurements=Measurements(),
    )


def _with_constant(population: Population, values: np.ndarray) -> Population:  # type: ignore[type-arg]
    constants = (Constant(LEAK, values) if c.name == LEAK else c for c in population.constants)
    return replace(population, constants=tuple(constants))


def check_target(network: IntegerNetwork, target: float) -> None:
    """Raise :class:`InputError` if a target is no share, or the latents have no leak."""
    if not 0.0 < target < 1.0:
        raise InputError(f"activity: expected a share above 0 and below 1, got {target:g}")
    with_leak(network, 1.0)


def reach_activity(
    network: IntegerNetwork, target: float, share: Callable[[IntegerNetwork], float]
) -> tuple[IntegerNetwork, float]:
    """The network nearest to a share of latents that fire, and the factor of its leak.

    Parameters
    ----------
    network : IntegerNetwork
    target : float
        Share of the latents that fire in an iteration, within 0 and 1.
    share : callable
        Measures it.

    Raises
    ------
    InputError
        As :func:`check_target`.
    """
    check_target(network, target)
    # A larger leak silences: the share falls with the factor.
    low, high = np.log2(LEAST), np.log2(MOST)
    exponent, best = 0.0, (network, 1.0, float("inf"))
    for _ in range(MOST_TRIES):
        factor = float(2.0**exponent)
        changed = with_leak(network, factor)
        try:
            changed.require_proof()
        except NetworkError:
            # Too much for 24 bits.
            high = exponent
        else:
            found = share(changed)
            distance = abs(found / target - 1.0)
            if distance < best[2]:
                best = changed, factor, distance
            if distance < CLOSE:
                break
            low, high = (exponent, high) if found > target else (low, exponent)
        exponent = (low + high) / 2
    return best[0], best[1]
