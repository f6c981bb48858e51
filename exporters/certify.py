"""The certificate of a network: ranges, accuracy of the sampler, stability of recurrent inhibition.

Nothing is sampled here. The ranges come from :attr:`IntegerNetwork.ranges`, which follows every
operation by interval arithmetic over all inputs and all noise; the distance of draws from their law
is counted over every potential that a population can reach. That law is Poisson's for counts; a
rule that compares random words itself has a line in ``LAWS``, or no law that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pvae_neuro.exporters.remedies import refused
from pvae_neuro.exporters.spectrum import smallest_eigenvalue
from pvae_neuro.network import IntegerNetwork, Interval, Population, Range
from pvae_neuro.network.program import Program
from pvae_neuro.network.sampler import (
    LOWEST_POTENTIAL,
    MAX_TAIL,
    largest_potential,
    tail,
    total_variation,
)
from pvae_neuro.neurons import bernoulli
from pvae_neuro.utils.arguments import checked

# Largest total variation of draws from their law, by the largest count up to which it is asked for.
TOTAL_VARIATION_LIMITS = ((127, 3e-4), (255, 6e-4))
LOOSEST_TOTAL_VARIATION = 1e-3
# An inhibition matrix whose smallest eigenvalue is this far below zero, in units of its largest
# entry, is no rounding of a positive semidefinite one. Milder cases are decided by a trial run of
# 1,000 iterations, because leak and rates decide with them (docs/decisions.md).
EIGENVALUE_TOLERANCE = 1.0
# Far beyond every count; `exp` of it is still a number.
LARGEST_LOG_RATE = 64


class Law(NamedTuple):
    """What a program draws.

    Attributes
    ----------
    name : str
    of : tuple of str
        Variables of which it draws, in the unit of the sampler; those that the population has.
    total_variation : callable
        Largest distance from the law, of a population between two values.
    """

    name: str
    of: tuple[str, ...]
    total_variation: Callable[[Population, int, int], float]


def _instructions(program: Program) -> tuple[tuple[str, ...], ...]:
    """What a program does, by which programs of any origin can be compared."""
    return tuple((i.operation, *i.arguments, i.result) for i in program.instructions)


_BERNOULLI = Law("Bernoulli", ("u", "t"), bernoulli.total_variation)
LAWS = {_instructions(each): _BERNOULLI for each in (bernoulli.FIRE, bernoulli.FIRE_AND_COMPARE)}
"""Laws of programs that compare random words, by their instructions."""


@dataclass(frozen=True)
class SamplerAccuracy:
    """How far the draws of one population are from their law.

    Attributes
    ----------
    population : str
    law : str
    max_count : int
    low, high : int
        Proved range of the log-rate or log-odds, unit 2**-frac_bits of the sampler.
    total_variation : float
        Largest exact distance over that range; 1 where the range leaves the sampler's.
    limit : float
        What is accepted.
    tail : float
        Probability of a larger count at the largest log-rate.
    """

    population: str
    law: str
    max_count: int
    low: int
    high: int
    total_variation: float
    limit: float
    tail: float


@dataclass(frozen=True)
class Certificate:
    """What was computed of a network; :func:`certify` returns one only if all of it is proved.

    Attributes
    ----------
    rows : tuple of Range
        Every word: accumulators, results of operations, variables, sums of the host.
    unbounded : tuple of str
        Variables whose programs keep them within no range.
    samplers : tuple of SamplerAccuracy
        One for each population that draws counts, or otherwise by a law that is known.
    eigenvalue : float or None
        Smallest eigenvalue of the rounded inhibition matrix over its largest entry; None where no
        population inhibits itself through a connection.
    """

    rows: tuple[Range, ...]
    unbounded: tuple[str, ...]
    samplers: tuple[SamplerAccuracy, ...]
    eigenvalue: float | None

    def __repr__(self) -> str:
        unfit = sum(not row.fits for row in self.rows) + len(self.unbounded)
        return (
            f"<Certificate: {len(self.rows)} words, {unfit} beyond their width; total variation "
            f"{self.total_variation:.2g}, limit {self.total_variation_limit:g}>"
        )

    @property
    def total_variation(self) -> float:
        """Largest distance of any population's draws from their law; 0 where none draws."""
        return max((s.total_variation for s in self.samplers), default=0.0)

    @property
    def law(self) -> str:
        """Laws of all samplers, in words."""
        return " or ".join(dict.fromkeys(s.law for s in self.samplers))

    @property
    def total_variation_limit(self) -> float:
        """Limit of the population that :attr:`total_variation` is of."""
        worst = max(self.samplers, key=lambda s: s.total_variation, default=None)
        return LOOSEST_TOTAL_VARIATION if worst is None else worst.limit

    def widest(self) -> tuple[Range, ...]:
        """For each program, connection, variable and host part the row with fewest bits left."""
        found: dict[tuple[str, str], Range] = {}
        for row in self.rows:
            key = row.part, row.where
            if row.part == "shift":  # Constants, which say nothing of room that is left.
                continue
            if key not in found or _spare_bits(row) < _spare_bits(found[key]):
                found[key] = row
        return tuple(found.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "total_variation": self.total_variation}


@checked
def certify(network: IntegerNetwork) -> Certificate:
    """Prove that no word leaves its width, that draws have their law, that inhibition is stable.

    Raises
    ------
    CertificateError
        At the first fact that cannot be proved; its ``remedy`` says what would help.
    """
    certificate = examine(network)
    for name in certificate.unbounded:
        raise refused(f"{name}: its programs do not keep it within a range", "clip")
    for sampler in certificate.samplers:
        if sampler.population in network.ranges.log_rates:
            _judge_reach(network.population_of[sampler.population], sampler)
        if sampler.total_variation > sampler.limit:
            raise refused(
                f"{sampler.population}: the sampler's total variation from {sampler.law} is "
                f"{sampler.total_variation:.2e} for counts to {sampler.max_count}, expected at "
                f"most {sampler.limit:g}",
                "narrower",
            )
    for row in certificate.rows:
        if not row.fits:
            raise refused(str(row), "inputs" if row.part == "host" else "narrower")
    # Only where a lowering knows that the exact matrix is positive semidefinite is a negative
    # eigenvalue a fault of rounding; a network of somebody's own may be excitatory on purpose.
    lowered = network.measurements.smallest_eigenvalue_float is not None
    eigenvalue = certificate.eigenvalue
    if lowered and eigenvalue is not None and eigenvalue < -EIGENVALUE_TOLERANCE:
        raise refused(
            f"recurrent inhibition: its smallest eigenvalue is {eigenvalue:.3f} of its largest "
            f"entry, expected at least -{EIGENVALUE_TOLERANCE}; rounded like this it excites "
            f"itself and diverges",
            "predictive",
        )
    return certificate


def examine(network: IntegerNetwork) -> Certificate:
    """Compute the certificate without judging it."""
    ranges = network.ranges
    return Certificate(
        rows=ranges.rows,
        unbounded=ranges.unbounded,
        samplers=tuple(
            _accuracy(network.population_of[name], log_rate)
            for name, log_rate in ranges.log_rates.items()
        )
        + tuple(_by_law(network)),
        eigenvalue=smallest_eigenvalue(network),
    )


def _by_law(network: IntegerNetwork) -> Iterator[SamplerAccuracy]:
    """Populations that draw by comparing words."""
    known = network.ranges.variables
    for population in network.drawing:
        programs = map(_instructions, population.programs)
        for law in (LAWS[each] for each in programs if each in LAWS):
            names = [f"{population.name}.{variable}" for variable in law.of]
            found = [known[name] for name in names if name in known]
            low = min(interval.smallest for interval in found)
            high = max(interval.largest for interval in found)
            count = population.drawn_by.max_count
            yield SamplerAccuracy(
                population.name, law.name, count, low, high,
                law.total_variation(population, low, high), _total_variation_limit(count), 0.0,
            )  # fmt: skip


def _accuracy(population: Population, log_rate: Interval) -> SamplerAccuracy:
    sampler = population.sampler
    if sampler is None:
        raise ValueError(f"{population.name}: draws without a sampler")  # Excluded when built.
    count, bits = sampler.max_count, sampler.frac_bits
    low, high = log_rate.smallest, log_rate.largest
    floor, ceiling = _reach(count, bits)
    inside = floor <= low and high <= ceiling
    return SamplerAccuracy(
        population=population.name,
        law="Poisson",
        max_count=count,
        low=low,
        high=high,
        total_variation=total_variation(low, high, count, bits) if inside else 1.0,
        limit=_total_variation_limit(count),
        tail=tail(min(high, LARGEST_LOG_RATE << bits), count, bits),
    )


def _total_variation_limit(max_count: int) -> float:
    fitting = [limit for most, limit in TOTAL_VARIATION_LIMITS if max_count <= most]
    return fitting[0] if fitting else LOOSEST_TOTAL_VARIATION


def _reach(max_count: int, frac_bits: int) -> tuple[int, int]:
    """Log-rates that the sampler's rule is defined for, and whose tail is small."""
    return LOWEST_POTENTIAL << frac_bits, max(largest_potential(max_count, frac_bits), 0)


def _judge_reach(population: Population, found: SamplerAccuracy) -> None:
    bits = population.drawn_by.frac_bits
    unit = 2.0**-bits
    floor, ceiling = _reach(found.max_count, bits)
    name, count = found.population, found.max_count
    if found.low < floor:
        raise refused(
            f"{name}: log-rates can reach {found.low * unit:.4g}, expected at least "
            f"{LOWEST_POTENTIAL}, the lowest that the sampler draws from",
            "clip",
        )
    if found.high > ceiling:
        raise refused(
            f"{name}: log-rates can reach {found.high * unit:.4g}, where {found.tail:.2g} of all "
            f"counts exceed {count}; expected at most {ceiling * unit:.4g}, where {MAX_TAIL:g} do",
            "counts",
        )


def _spare_bits(row: Range) -> int:
    return row.limit_bits - row.bits
