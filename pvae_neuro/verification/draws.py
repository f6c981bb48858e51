"""Whether counts that a generator of its own has drawn are distributed as the sampler's rule says.

A count and the potential that it was drawn of leave an interval of words that could have given it.
A position drawn at random in that interval is uniform over all words if and only if counts are
distributed as they should, whatever the potentials are. So one test serves all neurons, iterations
and potentials: that positions are uniform, and of one neuron and iteration independent of the next.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import erfc, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork, Population
from pvae_neuro.network.sampler import WORDS, cumulative
from pvae_neuro.sim.recording import Recording

BINS = 16
SIGNIFICANCE = 1e-3
"""Of each of the three tests: a sound generator fails one of them in some 3 of 1,000 trials."""

POWER = 0.99
# Standard normal quantiles of 1 - SIGNIFICANCE, 1 - SIGNIFICANCE / 2 and POWER.
_ONE_SIDED, _TWO_SIDED, _OF_POWER = 3.0902, 3.2905, 2.3263


@dataclass(frozen=True)
class DrawTest:
    """What the counts of a population say of the generator that drew them.

    Attributes
    ----------
    population : str
    draws : int
    impossible : int
        Counts that no word gives, of the potential that they were drawn of.
    chi_square, limit : float
        Of positions in :data:`BINS` bins of equal width, and what it may reach.
    detectable_variation : float
        Total variation, over these bins, of a generator that fails with a probability of
        at least :data:`POWER`.
    in_time, in_space : float
        Correlation of positions with those of the next iteration and of the next neuron.
    correlation_limit : float
    """

    population: str
    draws: int
    impossible: int
    chi_square: float
    limit: float
    detectable_variation: float
    in_time: float
    in_space: float
    correlation_limit: float

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the generator."""
        largest = max(abs(self.in_time), abs(self.in_space))
        sound = self.chi_square <= self.limit and largest <= self.correlation_limit
        return sound and self.impossible == 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "passed": self.passed}


def check_draws(
    network: IntegerNetwork, recording: Recording, seed: int = 0
) -> tuple[DrawTest, ...]:
    """Test the counts of every population that draws of a variable of its own.

    Parameters
    ----------
    network : IntegerNetwork
    recording : Recording
        With these variables of every iteration, of still images.
    seed : int
        Of the positions within the intervals.

    Raises
    ------
    InputError
        If there is no such population, or its variables were not recorded.
    """
    found = []
    for population in network.drawing:
        drawn = _drawn(network, population)
        if drawn is not None:
            potential, count = (f"{population.name}.{name}" for name in drawn)
            if not {potential, count} <= recording.variables.keys():
                raise InputError(f"recording: expected {potential} and {count}; record='full'")
            u, z = recording.variables[potential], recording.variables[count]
            found.append(_test(population, u, z, seed))
    if not found:
        raise InputError(f"network {network.name!r}: no population draws of a variable of its own")
    return tuple(found)


def _drawn(network: IntegerNetwork, population: Population) -> tuple[str, str] | None:
    """Variables that counts are drawn of and stored in, if an iteration begins with that."""
    own = [a.program for a in network.iteration if a.population == population.name]
    program = population.program(own[0])
    names = {v.name for v in population.variables}
    for number, i in enumerate(program.instructions):
        if i.operation == "draw" and i.arguments[0] in names:
            stored = [o.variable for o in program.outputs if o.value == i.result]
            if stored and number == 0:
                return i.arguments[0], stored[0]
    return None


def _test(
    population: Population, potentials: NDArray[Any], counts: NDArray[Any], seed: int
) -> DrawTest:
    # The potential at the end of an iteration is what the next one draws of.
    u, z = potentials[:, :-1], counts[:, 1:]
    low, high = _intervals(population, u.ravel(), z.ravel())
    rng = np.random.default_rng(seed)
    positions = (low + (high - low) * rng.random(low.shape)) / WORDS
    placed = np.minimum((positions * BINS).astype(np.int64), BINS - 1)
    expected = len(placed) / BINS
    chi_square = float(((np.bincount(placed, minlength=BINS) - expected) ** 2 / expected).sum())
    limit = _chi_square_limit(BINS - 1)
    shaped = positions.reshape(z.shape) - 0.5
    pairs = [size for size in (shaped[:, 1:].size, shaped[..., 1:].size) if size]
    return DrawTest(
        population=population.name,
        draws=len(placed),
        impossible=int(np.count_nonzero(low == high)),
        chi_square=chi_square,
        limit=limit,
        detectable_variation=sqrt(_noncentrality(BINS - 1, limit) / (4 * len(placed))),
        in_time=_correlation(shaped[:, 1:], shaped[:, :-1]),
        in_space=_correlation(shaped[..., 1:], shaped[..., :-1]),
        correlation_limit=_TWO_SIDED / sqrt(min(pairs, default=1)),
    )


def _intervals(
    population: Population, u: NDArray[Any], z: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First word, and word after the last, that gives each count; equal where none does."""
    sampler = population.drawn_by
    distinct, place = np.unique(u.astype(np.int64), return_inverse=True)
    # No word gives -1 or one more than the most.
    table = np.zeros((len(distinct), sampler.max_count + 4), np.int64)
    table[:, 2:-1] = cumulative(distinct, sampler.max_count, sampler.frac_bits)
    table[:, -1] = table[:, -2]
    counts = np.clip(z.astype(np.int64), -1, sampler.max_count + 1) + 1
    return table[place, counts], table[place, counts + 1]


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of positions about their mean under the rule; their variance is 1/12."""
    return 12 * float((a * b).mean()) if a.size else 0.0


def _chi_square_limit(freedom: int) -> float:
    """Quantile of the chi-square distribution (Wilson and Hilferty)."""
    part = 2 / (9 * freedom)
    return freedom * (1 - part + _ONE_SIDED * sqrt(part)) ** 3


def _noncentrality(freedom: int, limit: float) -> float:
    """Noncentrality at which the limit is exceeded with a probability of ``POWER``.

    A total variation V over bins gives at least 4 n V^2 of it for n draws, by Cauchy and Schwarz.
    """
    low, high = 0.0, 1e4
    while high - low > 1e-6:
        middle = (low + high) / 2
        spread = sqrt(2 * (freedom + 2 * middle))
        enough = erfc((limit - freedom - middle) / spread / sqrt(2)) / 2 >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high
