"""Nodes of a chain by family: their programs, their constants, and what they send.

A family has one line in ``NODES``; a family without one has no integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pvae_neuro.exporters.scales import LARGEST_SUM, Scales
from pvae_neuro.network import Constant, Sampler, shared
from pvae_neuro.network.program import Program
from pvae_neuro.network.sampler import LOWEST_POTENTIAL, largest_potential
from pvae_neuro.neurons import bernoulli, categorical, node
from pvae_neuro.neurons.poisson import FIRE
from pvae_neuro.utils.reproducible import power_below

HEADROOM = 1.25  # Over what calibration reached.


class Sent(NamedTuple):
    """What a neuron sends: its largest magnitude, in integers, and its fixed-point position."""

    limit: int
    bits: int = 0


def graded(name: str, reach: int, largest: float, scales: Scales, finest: int) -> Sent:
    """Limit and unit of a graded spike.

    The limit is the largest at which no sum of such spikes leaves 24 bits, ``reach`` being the
    largest sum of mantissas; the unit is the finest, at most 2**-finest, in which what calibration
    reached lies below it.
    """
    limit = scales.message_limit(name, LARGEST_SUM // max(1, reach))
    fine = power_below(limit, HEADROOM * largest) if largest > 0.0 else finest
    return Sent(limit, min(finest, fine))


@dataclass(frozen=True)
class Spiking:
    """Nodes that draw whole numbers.

    Attributes
    ----------
    fire, compare : Program
        What the neurons of a node draw that nothing predicts, and of one that is predicted.
    variance : tuple of float or None
        Derivative of the variance of a draw z by its mean, ``variance[0] - variance[1] z``; None
        where nothing varies.
    most : int or None
        Largest draw, where it is not that of the sampler.
    settle : Program
        How a node moves.
    grouped : bool
        Whether normalizer neurons count its draws.
    draws : bool
        Whether it takes random words.
    """

    fire: Program
    compare: Program
    variance: tuple[float, float] | None = (1.0, 0.0)
    most: int | None = None
    settle: Program = node.SETTLE
    grouped: bool = False
    draws: bool = True

    def real_sampler(self, stream: int) -> Sampler | None:
        """Of real numbers, by which counts have no end."""
        return Sampler(255, 14, stream) if self.draws else None

    def sampler(self, scales: Scales, stream: int) -> Sampler | None:
        """Of integers."""
        return Sampler(self.count(scales), scales.frac_bits, stream) if self.draws else None

    def count(self, scales: Scales) -> int:
        """Largest draw."""
        return scales.max_count if self.most is None else self.most

    def highest(self, scales: Scales) -> int:
        """Largest parameter that the neurons take, in units of the potential."""
        return largest_potential(scales.max_count, scales.frac_bits)

    def sent(self, name: str, reach: int, largest: float, scales: Scales) -> Sent:
        """What ``name`` sends, z or e."""
        return Sent(self.count(scales))

    def real(self) -> tuple[Constant, ...]:
        """Constants of their own, in real numbers."""
        return ()

    def constants(self, scales: Scales, z: Sent, e: Sent) -> tuple[Constant, ...]:
        """The same in integers, for what they send down and up."""
        return ()

    def hops(self, name: str) -> tuple[str, ...]:
        """Graded spikes whose widths can be chosen."""
        return ()


class Switches(Spiking):
    """Bernoulli neurons."""

    def highest(self, scales: Scales) -> int:
        """The exponential takes as much as the lowest potential has below 0."""
        return -LOWEST_POTENTIAL << scales.frac_bits

    def real(self) -> tuple[Constant, ...]:
        """Of the comparison."""
        return bernoulli.firing_constants(None)

    def constants(self, scales: Scales, z: Sent, e: Sent) -> tuple[Constant, ...]:
        """Of the comparison and of the exponential."""
        return bernoulli.firing_constants(scales.frac_bits)


class Grouped(Spiking):
    """Categorical neurons; their log-sums hold rates near what one spike in an iteration takes."""

    def highest(self, scales: Scales) -> int:
        """Any: the log-sum is subtracted first."""
        return -LOWEST_POTENTIAL << scales.frac_bits

    def real(self) -> tuple[Constant, ...]:
        """No bounds of log-rates."""
        return Constant("r_min", shared(float("-inf"))), Constant("r_max", shared(float("inf")))

    def constants(self, scales: Scales, z: Sent, e: Sent) -> tuple[Constant, ...]:
        """What the sampler takes."""
        low = LOWEST_POTENTIAL << scales.frac_bits
        high = largest_potential(scales.max_count, scales.frac_bits)
        return Constant("r_min", shared(low)), Constant("r_max", shared(high))


class Rectified(Spiking):
    """Gaussian nodes: values, rectified; nothing is drawn."""

    def highest(self, scales: Scales) -> int:
        """A quarter of a word: the sum of a step has four terms."""
        return LARGEST_SUM // 4

    def sent(self, name: str, reach: int, largest: float, scales: Scales) -> Sent:
        """Graded spikes."""
        return graded(name, reach, largest, scales, scales.frac_bits)

    def real(self) -> tuple[Constant, ...]:
        """No limits."""
        infinite = float("inf")
        return _graded(infinite, infinite, 0.0, 0.0)

    def constants(self, scales: Scales, z: Sent, e: Sent) -> tuple[Constant, ...]:
        """Of both graded spikes."""
        return _graded(z.limit, e.limit, scales.frac_bits - z.bits, scales.frac_bits - e.bits)

    def hops(self, name: str) -> tuple[str, ...]:
        """Values and errors."""
        return f"{name}.z", f"{name}.e"


def _graded(z: float, e: float, z_shift: float, e_shift: float) -> tuple[Constant, ...]:
    values = {"z_high": z, "z_shift": z_shift, "e_high": e, "e_low": -e, "e_shift": e_shift}
    return tuple(Constant(name, shared(value)) for name, value in values.items())


NODES: dict[str, Spiking] = {
    "poisson": Spiking(FIRE, node.COUNT_AND_COMPARE),
    "bernoulli": Switches(bernoulli.FIRE, bernoulli.FIRE_AND_COMPARE, (1.0, 2.0), 1),
    "categorical": Grouped(categorical.FIRE, categorical.FIRE_AND_COMPARE, grouped=True),
    "gaussian": Rectified(
        node.RECTIFY,
        node.RECTIFY_AND_COMPARE,
        None,
        settle=node.SETTLE_RECTIFIED,
        draws=False,
    ),
}

REASONS = {
    "gaussian-learned": "its samples are normal, and no word operation draws one of a random word",
}
"""Why families of nodes have no neurons, where there is more to say than that."""
