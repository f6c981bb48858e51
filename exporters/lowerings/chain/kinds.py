"""Nodes of a chain by family: their programs, their constants, and what they send.

A family has one line in ``NODES``; a family without one has no integers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from pvae_neuro.exporters.scales import LARGEST_SUM, Scales, Sent, graded
from pvae_neuro.network import Constant, Sampler, shared
from pvae_neuro.network.program import Program
from pvae_neuro.network.sampler import LOWEST_POTENTIAL, largest_potential
from pvae_neuro.neurons import bernoulli, categorical, node
from pvae_neuro.neurons.poisson import FIRE


class Variance(NamedTuple):
    """Variance of a draw z: its derivative by the mean, ``constant - slope z``.

    ``settle`` is how a node moves that pays for it.
    """

    constant: float
    slope: float
    settle: Program = node.SETTLE_AND_PAY


@dataclass(frozen=True)
class Kind(ABC):
    """Nodes of a family.

    Attributes
    ----------
    fire, compare : Program
        What the neurons of a node hand on that nothing predicts, and of one that is predicted.
    settle : Program
        How a node moves whose variance costs nothing.
    variance : Variance or None
        None where nothing varies.
    grouped, draws : bool
        Class attributes: whether normalizer neurons count what is drawn, and whether it takes
        random words.
    """

    fire: Program
    compare: Program
    settle: Program = node.SETTLE
    variance: Variance | None = None
    grouped: ClassVar[bool] = False
    draws: ClassVar[bool] = False

    def real_sampler(self, stream: int) -> Sampler | None:
        """Of real numbers, by which counts have no end."""
        return None

    def sampler(self, scales: Scales, stream: int) -> Sampler | None:
        """Of integers."""
        return None

    @abstractmethod
    def highest(self, scales: Scales) -> int:
        """Largest parameter that the neurons take, in units of the potential."""

    @abstractmethod
    def sent(self, name: str, reach: int, largest: float, scales: Scales) -> Sent:
        """What ``name`` sends, z or e; ``reach`` is the largest sum of mantissas that it meets."""

    def real(self) -> tuple[Constant, ...]:
        """Constants of their own, in real numbers."""
        return ()

    def constants(self, scales: Scales, z: Sent, e: Sent) -> tuple[Constant, ...]:
        """The same in integers, for what they send down and up."""
        return ()

    def hops(self, name: str) -> tuple[str, ...]:
        """Graded spikes whose widths can be chosen."""
        return ()


class CountNodes(Kind):
    """Nodes that draw whole numbers; Poisson neurons."""

    draws = True

    def real_sampler(self, stream: int) -> Sampler | None:
        """Of the widest counts."""
        return Sampler(255, 14, stream)

    def sampler(self, scales: Scales, stream: int) -> Sampler | None:
        """Of integers."""
        return Sampler(self.count(scales), scales.frac_bits, stream)

    def count(self, scales: Scales) -> int:
        """Largest draw."""
        return scales.max_count

    def highest(self, scales: Scales) -> int:
        """The largest log-rate at which few counts are cut off."""
        return largest_potential(scales.max_count, scales.frac_bits)

    def sent(self, name: str, reach: int, largest: float, scales: Scales) -> Sent:
        """Whole numbers."""
        return Sent(self.count(scales))


class BernoulliNodes(CountNodes):
    """Bernoulli neurons."""

    def count(self, scales: Scales) -> int:
        """One."""
        return 1

    def highest(self, scales: Scales) -> int:
        """The exponential takes as much as the lowest potential has below 0."""
        return -LOWEST_POTENTIAL << scales.frac_bits

    def real(self) -> tuple[Constant, ...]:
        """Of the comparison."""
        return bernoulli.firing_constants(None)

    def constants(self, scales: Scales, z: Sent, e: Sent) -> tuple[Constant, ...]:
        """Of the comparison and of the exponential."""
        return bernoulli.firing_constants(scales.frac_bits)


class CategoricalNodes(CountNodes):
    """Categorical neurons; their log-sums hold rates near what one spike in an iteration takes."""

    grouped = True

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


class GaussianNodes(Kind):
    """Gaussian nodes: values, rectified; nothing is drawn."""

    def highest(self, scales: Scales) -> int:
        """A quarter of a word: the sum of a step has four terms."""
        return LARGEST_SUM // 4

    def sent(self, name: str, reach: int, largest: float, scales: Scales) -> Sent:
        """Graded spikes."""
        return graded(name, LARGEST_SUM // max(1, reach), largest, scales, scales.frac_bits)

    def real(self) -> tuple[Constant, ...]:
        """No limits."""
        infinite = float("inf")
        return _limits(infinite, infinite, 0.0, 0.0)

    def constants(self, scales: Scales, z: Sent, e: Sent) -> tuple[Constant, ...]:
        """Of both graded spikes."""
        return _limits(z.limit, e.limit, scales.frac_bits - z.bits, scales.frac_bits - e.bits)

    def hops(self, name: str) -> tuple[str, ...]:
        """Values and errors."""
        return f"{name}.z", f"{name}.e"


def _limits(z: float, e: float, z_shift: float, e_shift: float) -> tuple[Constant, ...]:
    values = {"z_high": z, "z_shift": z_shift, "e_high": e, "e_low": -e, "e_shift": e_shift}
    return tuple(Constant(name, shared(value)) for name, value in values.items())


_OF_COUNTS = Variance(1.0, 0.0)
NODES: dict[str, Kind] = {
    "poisson": CountNodes(FIRE, node.COUNT_AND_COMPARE, variance=_OF_COUNTS),
    "bernoulli": BernoulliNodes(
        bernoulli.FIRE, bernoulli.FIRE_AND_COMPARE, variance=Variance(1.0, 2.0)
    ),
    "categorical": CategoricalNodes(
        categorical.FIRE, categorical.FIRE_AND_COMPARE, variance=_OF_COUNTS
    ),
    "gaussian": GaussianNodes(node.RECTIFY, node.RECTIFY_AND_COMPARE, node.SETTLE_RECTIFIED),
}

REASONS = {
    "gaussian-learned": "its samples are normal, and no word operation draws one of a random word",
}
"""Why families of nodes have no neurons, where there is more to say than that."""
